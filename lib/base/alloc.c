#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "base/context.h"

#define ALIGNMENT 64
#define HUGE_BLOCK ((size_t)4 << 20)
#define HUGE_PAGE ((uintptr_t)2 << 20)

/* The weights and activations of a network are read over and over: with 4 KiB pages the TLB misses cost more
 * than the cache misses. Only a hint, so its failure is no concern. */
static void advise_huge(void *block, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t start = ((uintptr_t)block + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    const uintptr_t end = ((uintptr_t)block + bytes) & ~(HUGE_PAGE - 1);
    if (end > start)
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)block;
    (void)bytes;
#endif
}

void *dfi_alloc(struct diffc_context *context, size_t bytes)
{
    size_t total;
    if (dfi_ck_add(bytes, ALIGNMENT + sizeof(void *), &total) || total > PTRDIFF_MAX) {
        dfi_fail(DIFFC_ERR_NOMEM, "out of memory: %zu bytes wanted", bytes);
        return NULL;
    }
    char *raw = context->allocator.alloc(context->allocator.opaque, total);
    if (!raw) {
        dfi_fail(DIFFC_ERR_NOMEM, "out of memory: %zu bytes wanted", bytes);
        return NULL;
    }
    const size_t skip = sizeof(void *) + ALIGNMENT - 1 -
                        ((uintptr_t)raw + sizeof(void *) + ALIGNMENT - 1) % ALIGNMENT;
    char *block = raw + skip;
    ((void **)(void *)block)[-1] = raw;
    if (bytes >= HUGE_BLOCK)
        advise_huge(block, bytes);
    return block;
}

void *dfi_calloc(struct diffc_context *context, size_t count, size_t size)
{
    size_t bytes;
    if (dfi_ck_mul(count, size, &bytes)) {
        dfi_fail(DIFFC_ERR_NOMEM, "out of memory: %zu times %zu bytes wanted", count, size);
        return NULL;
    }
    void *block = dfi_alloc(context, bytes);
    if (block)
        memset(block, 0, bytes);
    return block;
}

void *dfi_realloc(struct diffc_context *context, void *block, size_t old_bytes, size_t bytes)
{
    void *bigger = dfi_alloc(context, bytes);
    if (bigger && block) {
        memcpy(bigger, block, old_bytes < bytes ? old_bytes : bytes);
        dfi_free(context, block);
    }
    return bigger;
}

char *dfi_strdup(struct diffc_context *context, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = dfi_alloc(context, bytes);
    if (copy)
        memcpy(copy, text, bytes);
    return copy;
}

void dfi_free(struct diffc_context *context, void *block)
{
    if (block)
        context->allocator.release(context->allocator.opaque, ((void **)block)[-1]);
}
