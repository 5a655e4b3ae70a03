#include "model/architectures.h"

static const struct dfi_architecture *const architectures[] = { &dfi_architecture_cs180_unet,
                                                                &dfi_architecture_lenet,
                                                                &dfi_architecture_if_unet };

const struct dfi_architecture *dfi_architecture_at(int index)
{
    return index >= 0 && index < DFI_COUNT(architectures) ? architectures[index] : NULL;
}

const struct dfi_architecture *dfi_architecture_find(const char *name)
{
    struct dfi_entry entries[DFI_COUNT(architectures)];
    for (int i = 0; i < DFI_COUNT(architectures); i++)
        entries[i] = architectures[i]->entry;
    const struct dfi_entry *found = dfi_registry_find(entries, sizeof(*entries), DFI_COUNT(architectures),
                                                      "architecture", name);
    return found ? architectures[found - entries] : NULL;
}
