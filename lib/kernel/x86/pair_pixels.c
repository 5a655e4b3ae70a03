/* Pixels of two images side by side, for products of bfloat16 that take in two in a step. */

#include "kernel/x86/pair.h"
#include "kernel/x86/pixel.h"

void PIXEL_KERNEL(pair_pixels)(const void *a_, const void *b_, ptrdiff_t ld, size_t pixels, int c, void *y_)
{
    const pixel *a = a_, *b = b_;
    uint16_t *y = y_;
    for (size_t p = 0; p < pixels; p++, a += ld, b += b ? ld : 0, y += 2 * c)
        for (int i = 0; i < c; i += LANES) {
            const int n = c - i < LANES ? c - i : LANES;
            store_pair(y + 2 * i, first_lanes(n), load_pixel_upto(a + i, n),
                       b ? load_pixel_upto(b + i, n) : zero());
        }
}
