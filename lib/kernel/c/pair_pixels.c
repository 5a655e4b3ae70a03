/* Pixels of two images side by side, for products of bfloat16 that take in two in a step. */

#include "kernel/c/pixel.h"

void PIXEL_KERNEL(pair_pixels)(const void *a_, const void *b_, ptrdiff_t ld, size_t pixels, int c, void *y_)
{
    const pixel *a = a_, *b = b_;
    uint16_t *y = y_;
    for (size_t p = 0; p < pixels; p++)
        for (int i = 0; i < c; i++, y += 2) {
            const size_t at = p * (size_t)ld + (size_t)i;
            y[0] = dfi_bf16_round((float)get(a[at]));
            y[1] = b ? dfi_bf16_round((float)get(b[at])) : 0;
        }
}
