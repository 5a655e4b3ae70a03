#ifndef DFI_BASE_CHECKED_H
#define DFI_BASE_CHECKED_H

#include <stddef.h>
#include <stdint.h>

/* Sizes from files or callers are only ever combined with these. Each returns 0, or -1 on overflow. */
static inline int dfi_ck_mul(size_t a, size_t b, size_t *out)
{
    return __builtin_mul_overflow(a, b, out) ? -1 : 0;
}

static inline int dfi_ck_add(size_t a, size_t b, size_t *out)
{
    return __builtin_add_overflow(a, b, out) ? -1 : 0;
}

/* Whether [offset, offset + length) lies within [0, total). */
static inline int dfi_ck_range(size_t offset, size_t length, size_t total)
{
    return offset <= total && length <= total - offset ? 0 : -1;
}

/* Product of `count` sizes, none negative. */
static inline int dfi_ck_product(const int64_t *sizes, int count, size_t *out)
{
    size_t product = 1;
    int zero = 0;
    for (int i = 0; i < count; i++) {
        if (sizes[i] < 0)
            return -1;
        zero |= sizes[i] == 0;
        if (sizes[i] != 0 && dfi_ck_mul(product, (size_t)sizes[i], &product))
            return -1;
    }
    *out = zero ? 0 : product;
    return 0;
}

#endif
