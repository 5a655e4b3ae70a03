/* The products between Winograd's transforms: a tile of rows x vectors stays in registers. */

#include "kernel/x86/vec.h"

#define ROWS DFI_WINOGRAD_TILES
#if LANES == 16
#define VECTORS 4 /* 24 accumulators, 4 of b, 1 broadcast of 32 registers */
#else
#define VECTORS 2 /* 12, 2 and 1 of 16 */
#endif

/* c[6][width] (+)= sum over `count` steps of a's column times b's row: a at a[i * a_row + step * a_step].
 * What does not vary is constant where this is inlined. */
DFI_INLINE void run_tile(const float *a, ptrdiff_t a_row, ptrdiff_t a_step, const float *b, ptrdiff_t b_step,
                         float *c, ptrdiff_t ldc, int count, const int accumulate, const int vectors)
{
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = accumulate ? load(c + i * ldc + v * LANES) : zero();
    for (int step = 0; step < count; step++, a += a_step, b += b_step) {
        vec row[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            row[v] = load(b + v * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const vec factor = set(a[i * a_row]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = madd(factor, row[v], sum[i][v]);
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store(c + i * ldc + v * LANES, sum[i][v]);
}

#define MULTIPLY(vectors) \
    static DFI_NOINLINE void multiply_##vectors(const struct dfi_winograd_multiply_args *args) \
    { \
        for (int p = 0; p < args->positions; p++) \
            for (int g = 0; g < args->groups; g++) { \
                const int call = p * args->groups + g, calls = args->positions * args->groups; \
                prefetch_part(&args->next[0], call, calls); \
                prefetch_part(&args->next[1], call, calls); \
                run_tile((const float *)args->a + g * args->a_group + p * args->a_position, args->k, 1, \
                         (const float *)args->b + (ptrdiff_t)p * args->k * args->width, vectors * LANES, \
                         (float *)args->c + g * args->c_group + p * args->c_position, vectors * LANES, \
                         args->k, 0, vectors); \
            } \
    }

#define OUTER(vectors) \
    static DFI_NOINLINE void outer_##vectors(const struct dfi_winograd_outer_args *args, const float *a, \
                                             const float *b, float *c, int call, int calls) \
    { \
        for (int i = 0; i < args->rows; i += ROWS, call++) { \
            prefetch_part(&args->next[0], call, calls); \
            prefetch_part(&args->next[1], call, calls); \
            run_tile(a + i, 1, args->lda, b, args->ldb, c + i * args->ldc, args->ldc, args->tiles, \
                     args->accumulate, vectors); \
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
