#include "kernel/x86/winograd.h"

/* G x G^T for r x r taps, or with `back` its adjoint G^T x G; n and r are constants. */
DFI_INLINE void weights_1d(const float g[N][DFI_WINOGRAD_R], const int back, const int n, const int r,
                           const vec *x, const ptrdiff_t step, vec *y)
{
    const int in = back ? n : r, out = back ? r : n;
#pragma GCC unroll 9
    for (int i = 0; i < out; i++) {
        vec sum = multiply(set(back ? g[0][i] : g[i][0]), x[0]);
#pragma GCC unroll 9
        for (int k = 1; k < in; k++)
            sum = madd(set(back ? g[k][i] : g[i][k]), x[k * step], sum);
        y[i] = sum;
    }
}

DFI_INLINE void weights_2d(const float g[N][DFI_WINOGRAD_R], const int back, const int n, const int r,
                           vec x[N][N])
{
    const int in = back ? n : r, out = back ? r : n;
    vec half[N][N];
    for (int j = 0; j < in; j++)
        weights_1d(g, back, n, r, &x[0][j], N, half[j]);
    for (int i = 0; i < out; i++)
        weights_1d(g, back, n, r, &half[0][i], N, x[i]);
}

struct weights {
    float g[N][DFI_WINOGRAD_R];
    const float *from;
    float *to;
    const int *number; /* of a tap, on the way back */
    ptrdiff_t tap, position;
    size_t count;
};

DFI_INLINE void transform_weights(const struct weights *w, const int n, const int r)
{
    for (size_t at = 0; at < w->count; at += LANES) {
        const int left = w->count - at < LANES ? (int)(w->count - at) : LANES;
        vec x[N][N];
        for (int t = 0; t < r * r; t++)
            x[t / r][t % r] = load_upto(w->from + t * w->tap + (ptrdiff_t)at, left);
        weights_2d(w->g, 0, n, r, x);
        for (int p = 0; p < n * n; p++)
            store_upto(w->to + p * w->position + (ptrdiff_t)at, left, x[p / n][p % n]);
    }
}

DFI_INLINE void transform_weights_back(const struct weights *w, const int n, const int r)
{
    for (size_t at = 0; at < w->count; at += LANES) {
        const int left = w->count - at < LANES ? (int)(w->count - at) : LANES;
        vec x[N][N];
        for (int p = 0; p < n * n; p++)
            x[p / n][p % n] = load_upto(w->from + p * w->position + (ptrdiff_t)at, left);
        weights_2d(w->g, 1, n, r, x);
        for (int t = 0; t < r * r; t++) {
            float *y = w->to + w->number[t] * w->tap + (ptrdiff_t)at;
            store_upto(y, left, add(load_upto(y, left), x[t / r][t % r]));
        }
    }
}

#define WEIGHTS(name, m, r, has_zero, pairs) \
    static DFI_NOINLINE void weights_##name(const struct weights *args) \
    { \
        transform_weights(args, m + r - 1, r); \
    } \
    static DFI_NOINLINE void weights_back_##name(const struct weights *args) \
    { \
        transform_weights_back(args, m + r - 1, r); \
    }
SCHEMES(WEIGHTS)

static void fill_matrix(const struct dfi_winograd *scheme, struct weights *w)
{
    to_float(scheme->g[0], N * DFI_WINOGRAD_R, w->g[0]);
}

void KERNEL(winograd_weights)(const struct dfi_winograd *scheme, const void *taps, ptrdiff_t tap,
                              void *values, ptrdiff_t position, size_t count)
{
    struct weights w = { .from = taps, .to = values, .tap = tap, .position = position, .count = count };
    const struct weights *args = &w;
    fill_matrix(scheme, &w);
#define RUN(name) weights_##name
    switch (SCHEME_NUMBER(scheme)) {
        SCHEMES(CASE)
    }
#undef RUN
}

void KERNEL(winograd_weights_back)(const struct dfi_winograd *scheme, const void *values, ptrdiff_t position,
                                   void *taps, const int *number, ptrdiff_t tap, size_t count)
{
    struct weights w = {
        .from = values, .to = taps, .number = number, .tap = tap, .position = position, .count = count
    };
    const struct weights *args = &w;
    fill_matrix(scheme, &w);
#define RUN(name) weights_back_##name
    switch (SCHEME_NUMBER(scheme)) {
        SCHEMES(CASE)
    }
#undef RUN
}
