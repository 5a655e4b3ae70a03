/* The products between Winograd's transforms on bfloat16: each step takes in a pair of values, summed in
 * float. */

#include "kernel/x86/bf16.h"

#define ROWS DFI_WINOGRAD_TILES
#define VECTORS 4 /* 24 accumulators, 4 of b, 1 broadcast of 32 registers */

/* c[ROWS][vectors] (+)= sum over `steps` pairs: pairs of a at a[i * a_row + step * a_step], vectors of pairs
 * of b b_step apart. What does not vary is constant where this is inlined. */
DFI_INLINE void run_tile(const uint16_t *a, ptrdiff_t a_row, ptrdiff_t a_step, const uint16_t *b,
                         ptrdiff_t b_step, float *c, ptrdiff_t ldc, int steps, const int accumulate,
                         const int vectors)
{
    vec sum[ROWS][VECTORS];
#pragma GCC unroll 6
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = accumulate ? load(c + i * ldc + v * LANES) : zero();
    for (int step = 0; step < steps; step++, a += a_step, b += b_step) {
        __m512i row[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            row[v] = _mm512_loadu_si512(b + 2 * v * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < ROWS; i++) {
            const __m512i pair = broadcast_pair(a + i * a_row);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = dot(sum[i][v], pair, row[v]);
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
                run_tile((const uint16_t *)args->a + g * args->a_group + p * args->a_position, args->a_tile, \
                         2, (const uint16_t *)args->b + p * args->b_position, 2 * vectors * LANES, \
                         (float *)args->c + g * args->c_group + p * args->c_position, vectors * LANES, \
                         args->k / 2, args->accumulate, vectors); \
            } \
    }

#define OUTER(vectors) \
    static DFI_NOINLINE void outer_##vectors(const struct dfi_winograd_outer_args *args, const uint16_t *a, \
                                             const uint16_t *b, float *c, int call, int calls) \
    { \
        for (int i = 0; i < args->rows; i += ROWS, call++) { \
            prefetch_part(&args->next[0], call, calls); \
            prefetch_part(&args->next[1], call, calls); \
            run_tile(a + 2 * i, 2, 2 * args->lda, b, 2 * args->ldb, c + i * args->ldc, args->ldc, \
                     args->tiles / 2, args->accumulate, vectors); \
        } \
    }

MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
MULTIPLY(4)
OUTER(1)
OUTER(2)
OUTER(3)
OUTER(4)

void KERNEL(winograd_multiply_bf16)(const struct dfi_winograd_multiply_args *args)
{
    switch (args->width / LANES) {
    case 1: multiply_1(args); break;
    case 2: multiply_2(args); break;
    case 3: multiply_3(args); break;
    case 4: multiply_4(args); break;
    default: break;
    }
}

static void outer(const struct dfi_winograd_outer_args *args, int vectors, const uint16_t *a,
                  const uint16_t *b, float *c, int call, int calls)
{
    switch (vectors) {
    case 1: outer_1(args, a, b, c, call, calls); break;
    case 2: outer_2(args, a, b, c, call, calls); break;
    case 3: outer_3(args, a, b, c, call, calls); break;
    case 4: outer_4(args, a, b, c, call, calls); break;
    default: break;
    }
}

void KERNEL(winograd_outer_bf16)(const struct dfi_winograd_outer_args *args)
{
    const int row_tiles = (args->rows + ROWS - 1) / ROWS, step = VECTORS * LANES;
    const int calls = args->positions * ((args->width + step - 1) / step) * row_tiles;
    int call = 0;
    for (int p = 0; p < args->positions; p++)
        for (int j = 0; j < args->width; j += step, call += row_tiles) {
            const int left = (args->width - j) / LANES;
            outer(args, left < VECTORS ? left : VECTORS, (const uint16_t *)args->a + 2 * p * args->a_position,
                  (const uint16_t *)args->b + 2 * p * args->b_position + 2 * j,
                  (float *)args->c + p * args->c_position + j, call, calls);
        }
}

/* LANES values of two rows, side by side. */
DFI_INLINE __m512i pair(vec even, vec odd)
{
    const __m512i low = _mm512_cvtepu16_epi32(narrow(even)), high = _mm512_cvtepu16_epi32(narrow(odd));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

void KERNEL(pair_rows)(const void *x_, ptrdiff_t ldx, int rows, size_t n, void *y_, ptrdiff_t ldy)
{
    const float *x = x_;
    uint16_t *y = y_;
    for (int r = 0; r < rows; r += 2, x += 2 * ldx, y += 2 * ldy)
        for (size_t i = 0; i < n; i += LANES) {
            const mask m = first_lanes(n - i < LANES ? (int)(n - i) : LANES);
            const vec odd = r + 1 < rows ? load_some(x + ldx + i, m) : zero();
            _mm512_mask_storeu_epi32(y + 2 * i, m, pair(load_some(x + i, m), odd));
        }
}
