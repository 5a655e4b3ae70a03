/* Values of bfloat16 side by side, for products that take in two in a step. */

#include "kernel/x86/pair.h"

void KERNEL(pair_rows)(const void *x_, ptrdiff_t ldx, int rows, size_t n, void *y_, ptrdiff_t ldy)
{
    const float *x = x_;
    uint16_t *y = y_;
    for (int r = 0; r < rows; r += 2, x += 2 * ldx, y += 2 * ldy)
        for (size_t i = 0; i < n; i += LANES) {
            const mask m = first_lanes(n - i < LANES ? (int)(n - i) : LANES);
            const vec odd = r + 1 < rows ? load_some(x + ldx + i, m) : zero();
            store_pair(y + 2 * i, m, load_some(x + i, m), odd);
        }
}
