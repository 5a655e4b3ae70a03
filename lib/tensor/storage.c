#include "tensor/storage.h"

struct dfi_storage *dfi_storage_new(struct diffc_context *context)
{
    struct dfi_storage *storage = dfi_calloc(context, 1, sizeof(*storage));
    if (storage)
        atomic_init(&storage->references, 1);
    return storage;
}

struct dfi_storage *dfi_storage_retain(struct dfi_storage *storage)
{
    if (storage)
        atomic_fetch_add_explicit(&storage->references, 1, memory_order_relaxed);
    return storage;
}

void dfi_storage_release(struct diffc_context *context, struct dfi_storage *storage)
{
    if (!storage || atomic_fetch_sub_explicit(&storage->references, 1, memory_order_acq_rel) != 1)
        return;
    dfi_free(context, storage->block);
    if (storage->release)
        storage->release(storage->opaque);
    dfi_release((void *)(uintptr_t)storage->owner);
    dfi_free(context, storage);
}
