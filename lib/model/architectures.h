#ifndef DFI_MODEL_ARCHITECTURES_H
#define DFI_MODEL_ARCHITECTURES_H

#include "io/archive.h"
#include "model/model.h"

/* Entry of that name, or NULL. */
static inline const struct dfi_archive_entry *dfi_named_entry(const struct diffc_archive *archive,
                                                              const char *name)
{
    const int position = dfi_archive_find(archive, name);
    return position < 0 ? NULL : dfi_archive_entry(archive, position);
}

extern const struct dfi_architecture dfi_architecture_cs180_unet, dfi_architecture_lenet,
    dfi_architecture_if_unet;

#endif
