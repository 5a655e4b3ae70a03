#include "kernel/c/activation.h"

void KERNEL(gate)(const void *a_, const void *b_, void *y_, size_t n, enum dfi_act act)
{
    const real *a = a_, *b = b_;
    real *y = y_;
    for (size_t i = 0; i < n; i++)
        y[i] = act_value(act, a[i]) * b[i];
}

void KERNEL(gate_backward)(const void *a_, const void *b_, const void *dy_, void *da_, void *db_, size_t n,
                           enum dfi_act act, int accumulate_a, int accumulate_b)
{
    const real *a = a_, *b = b_, *dy = dy_;
    real *da = da_, *db = db_;
    for (size_t i = 0; i < n; i++) {
        const real value = act_value(act, a[i]), slope = act_slope(act, a[i]);
        if (da)
            da[i] = (accumulate_a ? da[i] : 0) + dy[i] * b[i] * slope;
        if (db)
            db[i] = (accumulate_b ? db[i] : 0) + dy[i] * value;
    }
}
