/* Gated activations over flat arrays, and RMS norm of rows. */

#include <math.h>

#include "kernel/x86/activation.h"

#define RUN (64 * LANES) /* floats within, doubles beyond */

static int left(size_t n, size_t done)
{
    return n - done < LANES ? (int)(n - done) : LANES;
}

DFI_INLINE void gate_all(const float *a, const float *b, float *y, size_t n, const enum dfi_act act)
{
    for (size_t i = 0; i < n; i += LANES) {
        const int count = left(n, i);
        store_upto(y + i, count, multiply(activate(load_upto(a + i, count), act), load_upto(b + i, count)));
    }
}

void KERNEL(gate)(const void *a, const void *b, void *y, size_t n, enum dfi_act act)
{
#define GATE(constant) gate_all(a, b, y, n, constant)
    FOR_EACH_ACT(act, GATE)
}

struct gradients {
    float *da, *db;
    int accumulate_a, accumulate_b;
};

DFI_INLINE void give(float *to, int count, vec value, int accumulate)
{
    if (to)
        store_upto(to, count, accumulate ? add(load_upto(to, count), value) : value);
}

DFI_INLINE void gate_back(const float *a, const float *b, const float *dy, const struct gradients *g,
                          size_t n, const enum dfi_act act)
{
    for (size_t i = 0; i < n; i += LANES) {
        const int count = left(n, i);
        const vec z = load_upto(a + i, count), d = load_upto(dy + i, count);
        const vec da = times_slope(multiply(d, load_upto(b + i, count)), z, act);
        const vec db = multiply(d, activate(z, act));
        give(g->da ? g->da + i : NULL, count, da, g->accumulate_a);
        give(g->db ? g->db + i : NULL, count, db, g->accumulate_b);
    }
}

void KERNEL(gate_backward)(const void *a, const void *b, const void *dy, void *da, void *db, size_t n,
                           enum dfi_act act, int accumulate_a, int accumulate_b)
{
    const struct gradients g = { da, db, accumulate_a, accumulate_b };
#define GATE_BACK(constant) gate_back(a, b, dy, &g, n, constant)
    FOR_EACH_ACT(act, GATE_BACK)
}

static double row_squares(const float *x, int c)
{
    double total = 0;
    for (int first = 0; first < c; first += RUN) {
        vec sum = zero();
        for (int i = first; i < c && i < first + RUN; i += LANES) {
            const vec value = load_upto(x + i, left((size_t)c, (size_t)i));
            sum = madd(value, value, sum);
        }
        total += sum_lanes(sum);
    }
    return total;
}

void KERNEL(rms_norm)(const void *x_, ptrdiff_t ldx, void *y_, ptrdiff_t ldy, size_t rows, int c,
                      const void *weight_, double epsilon)
{
    const float *x = x_, *weight = weight_;
    float *y = y_;
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        const vec inverse = set((float)(1 / sqrt(row_squares(x, c) / c + epsilon)));
        for (int i = 0; i < c; i += LANES) {
            const int n = left((size_t)c, (size_t)i);
            store_upto(y + i, n, multiply(multiply(load_upto(x + i, n), inverse), load_upto(weight + i, n)));
        }
    }
}
