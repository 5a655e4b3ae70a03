/* The products between Winograd's transforms: a tile of rows x vectors stays in registers. */

#include "kernel/x86/vec.h"

#define ROWS DFI_WINOGRAD_TILES
#if LANES == 16
#define VECTORS 4 /* 24 accumulators, 4 of b, 1 broadcast of 32 registers */
#else
#define VECTORS 2 /* 12, 2 and 1 of 16 */
#endif

/* c[6][width] = a[6][k] b[k][width]; `vectors` is a constant where this is inlined. */
DFI_INLINE void run_product(const float *a, const float *b, float *c, int k, const int vectors)
{
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = zero();
    for (int p = 0; p < k; p++, b += vectors * LANES) {
        vec row[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            row[v] = load(b + v * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const vec factor = set(a[i * (ptrdiff_t)k + p]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = madd(factor, row[v], sum[i][v]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(c + (i * vectors + v) * LANES, sum[i][v]);
}

#define MULTIPLY(vectors) \
    static DFI_NOINLINE void multiply_##vectors(const struct dfi_winograd_multiply_args *args) \
    { \
        for (int p = 0; p < args->positions; p++) \
            for (int g = 0; g < args->groups; g++) { \
                const int call = p * args->groups + g, calls = args->positions * args->groups; \
                prefetch_part(&args->next[0], call, calls); \
                prefetch_part(&args->next[1], call, calls); \
                run_product((const float *)args->a + g * args->a_group + p * args->a_position, \
                            (const float *)args->b + (ptrdiff_t)p * args->k * args->width, \
                            (float *)args->c + g * args->c_group + p * args->c_position, args->k, vectors); \
            } \
    }

/* c[6][width] += sum over tiles of a[tile][6] b[tile][width]. */
DFI_INLINE void run_outer(const struct dfi_winograd_outer_args *args, const float *a, const float *b,
                          float *c, const int vectors)
{
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = args->accumulate ? load(c + i * args->ldc + v * LANES) : zero();
    for (int t = 0; t < args->tiles; t++, a += args->lda, b += args->ldb) {
        vec row[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            row[v] = load(b + v * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const vec factor = set(a[i]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = madd(factor, row[v], sum[i][v]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(c + i * args->ldc + v * LANES, sum[i][v]);
}

#define OUTER(vectors) \
    static DFI_NOINLINE void outer_##vectors(const struct dfi_winograd_outer_args *args, const float *a, \
                                             const float *b, float *c, int call, int calls) \
    { \
        for (int i = 0; i < args->rows; i += ROWS, call++) { \
            prefetch_part(&args->next[0], call, calls); \
            prefetch_part(&args->next[1], call, calls); \
            run_outer(args, a + i, b, c + i * args->ldc, vectors); \
        } \
    }

#define BOTH(vectors) MULTIPLY(vectors) OUTER(vectors)
BOTH(1)
BOTH(2)
#if VECTORS == 4
BOTH(3)
BOTH(4)
#endif

void KERNEL(winograd_multiply)(const struct dfi_winograd_multiply_args *args)
{
    switch (args->width / LANES) {
    case 1: multiply_1(args); break;
    case 2: multiply_2(args); break;
#if VECTORS == 4
    case 3: multiply_3(args); break;
    case 4: multiply_4(args); break;
#endif
    default: break;
    }
}

static void outer(const struct dfi_winograd_outer_args *args, int vectors, const float *a, const float *b,
                  float *c, int call, int calls)
{
    switch (vectors) {
    case 1: outer_1(args, a, b, c, call, calls); break;
    case 2: outer_2(args, a, b, c, call, calls); break;
#if VECTORS == 4
    case 3: outer_3(args, a, b, c, call, calls); break;
    case 4: outer_4(args, a, b, c, call, calls); break;
#endif
    default: break;
    }
}

void KERNEL(winograd_outer)(const struct dfi_winograd_outer_args *args)
{
    const int row_tiles = (args->rows + ROWS - 1) / ROWS, step = VECTORS * LANES;
    const int calls = args->positions * ((args->width + step - 1) / step) * row_tiles;
    int call = 0;
    for (int p = 0; p < args->positions; p++)
        for (int j = 0; j < args->width; j += step, call += row_tiles) {
            const int left = (args->width - j) / LANES;
            outer(args, left < VECTORS ? left : VECTORS, (const float *)args->a + p * args->a_position,
                  (const float *)args->b + p * args->b_position + j,
                  (float *)args->c + p * args->c_position + j, call, calls);
        }
}
