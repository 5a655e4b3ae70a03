#ifndef DFI_TENSOR_STORAGE_H
#define DFI_TENSOR_STORAGE_H

#include "base/context.h"

/* Memory behind tensors: a block of the allocator, the caller's memory, or memory inside another handle. */
struct dfi_storage {
    atomic_int references;
    void *block;                   /* to free, or NULL */
    const void *owner;             /* handle to let go of, or NULL */
    void (*release)(void *opaque); /* to call, or NULL */
    void *opaque;
};

struct dfi_storage *dfi_storage_new(struct diffc_context *context);
struct dfi_storage *dfi_storage_retain(struct dfi_storage *storage);
void dfi_storage_release(struct diffc_context *context, struct dfi_storage *storage);

#endif
