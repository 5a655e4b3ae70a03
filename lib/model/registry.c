#include "model/architectures.h"

static const struct dfi_architecture *const architectures[] = { &dfi_architecture_cs180_unet,
                                                                &dfi_architecture_lenet,
                                                                &dfi_architecture_if_unet };

const struct dfi_architecture *dfi_architecture_at(int index)
{
    return index >= 0 && index < DFI_COUNT(architectures) ? architectures[index] : NULL;
}
