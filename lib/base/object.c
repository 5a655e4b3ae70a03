#include "base/context.h"
#include "base/object.h"

void *dfi_object_new(struct diffc_context *context, size_t size, void (*destroy)(void *handle))
{
    struct dfi_object *object = dfi_calloc(context, 1, size);
    if (!object)
        return NULL;
    atomic_init(&object->references, 1);
    object->destroy = destroy;
    object->context = dfi_retain(context);
    return object;
}

void dfi_object_free(void *handle)
{
    struct dfi_object *object = handle;
    struct diffc_context *context = object->context;
    dfi_free(context, object);
    dfi_release(context);
}

void *dfi_retain(const void *handle)
{
    struct dfi_object *object = (struct dfi_object *)(uintptr_t)handle;
    if (object)
        atomic_fetch_add_explicit(&object->references, 1, memory_order_relaxed);
    return object;
}

void dfi_release(void *handle)
{
    struct dfi_object *object = handle;
    if (object && atomic_fetch_sub_explicit(&object->references, 1, memory_order_acq_rel) == 1)
        object->destroy(object);
}
