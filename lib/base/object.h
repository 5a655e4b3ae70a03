#ifndef DFI_BASE_OBJECT_H
#define DFI_BASE_OBJECT_H

#include <diffc/common.h>
#include <stdatomic.h>

/* What every handle begins with. `destroy` frees what the handle owns and the handle itself; it must cope
 * with a handle that was only partly built, so that constructors release on failure. */
struct dfi_object {
    atomic_int references;
    void (*destroy)(void *handle);
    struct diffc_context *context; /* kept alive by the handle; NULL in a context itself */
};

/* Allocates a zeroed handle of `size` bytes with one reference, keeping `context`; NULL without memory (the
 * message is set). */
void *dfi_object_new(struct diffc_context *context, size_t size, void (*destroy)(void *handle));

/* Last line of every destroy function: frees the handle and lets its context go. */
void dfi_object_free(void *handle);

/* Type-safe enough inside the library: `handle` is any handle. */
void *dfi_retain(const void *handle);
void dfi_release(void *handle);

#endif
