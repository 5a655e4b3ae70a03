/* The products between Winograd's transforms: a tile of rows x vectors stays in registers. Compiled once more
 * for pairs of bfloat16: what the kernels count in values is counted in factors here. */

#include "kernel/x86/tile.h"

#define ROWS DFI_WINOGRAD_TILES
_Static_assert(ROWS == TILE_ROWS, "a group of tiles is a register tile");

static const float *factors(const void *values, ptrdiff_t at)
{
    return (const float *)values + at / FACTOR_VALUES;
}

/* The values at a position, if the layer is not too wide, stay in the first-level cache for all blocks of
 * weights. */
#define MULTIPLY(vectors) \
    static DFI_NOINLINE void multiply_##vectors(const struct dfi_winograd_multiply_args *args) \
    { \
        const int calls = args->positions * args->blocks * args->groups; \
        struct fetch next[2] = { fetch_begin(&args->next[0]), fetch_begin(&args->next[1]) }; \
        for (int p = 0; p < args->positions; p++) \
            for (int block = 0; block < args->blocks; block++) { \
                const float *b = factors(args->b, block * args->b_block + p * args->b_position); \
                float *c = (float *)args->c + block * args->c_block + p * args->c_position; \
                for (int g = 0; g < args->groups; g++) { \
                    fetch_part(&next[0], calls); \
                    fetch_part(&next[1], calls); \
                    run_tile(factors(args->a, g * args->a_group + p * args->a_position), \
                             args->a_tile / FACTOR_VALUES, 1, b, vectors * LANES, c + g * args->c_group, \
                             vectors * LANES, args->k / FACTOR_VALUES, args->accumulate, ROWS, vectors); \
                } \
            } \
    }

#define OUTER(vectors) \
    static DFI_NOINLINE void outer_##vectors(const struct dfi_winograd_outer_args *args, const float *a, \
                                             const float *b, float *c, struct fetch next[2], int calls) \
    { \
        for (int i = 0; i < args->rows; i += ROWS) { \
            fetch_part(&next[0], calls); \
            fetch_part(&next[1], calls); \
            run_tile(a + i / args->a_width * args->a_panel + i % args->a_width, 1, args->a_width, b, \
                     args->b_width, c + i * args->ldc, args->ldc, args->tiles / FACTOR_VALUES, \
                     args->accumulate, ROWS, vectors); \
        } \
    }

#define BOTH(vectors) MULTIPLY(vectors) OUTER(vectors)
BOTH(1)
BOTH(2)
#if TILE_VECTORS == 4
BOTH(3)
BOTH(4)
#endif

void PRODUCT_KERNEL(winograd_multiply)(const struct dfi_winograd_multiply_args *args)
{
    switch (args->width / LANES) {
    case 1: multiply_1(args); break;
    case 2: multiply_2(args); break;
#if TILE_VECTORS == 4
    case 3: multiply_3(args); break;
    case 4: multiply_4(args); break;
#endif
    default: break;
    }
}

static void outer(const struct dfi_winograd_outer_args *args, int vectors, const float *a, const float *b,
                  float *c, struct fetch next[2], int calls)
{
    switch (vectors) {
    case 1: outer_1(args, a, b, c, next, calls); break;
    case 2: outer_2(args, a, b, c, next, calls); break;
#if TILE_VECTORS == 4
    case 3: outer_3(args, a, b, c, next, calls); break;
    case 4: outer_4(args, a, b, c, next, calls); break;
#endif
    default: break;
    }
}

void PRODUCT_KERNEL(winograd_outer)(const struct dfi_winograd_outer_args *args)
{
    const int row_tiles = (args->rows + ROWS - 1) / ROWS, step = TILE_VECTORS * LANES;
    const int calls = args->positions * ((args->width + step - 1) / step) * row_tiles;
    struct fetch next[2] = { fetch_begin(&args->next[0]), fetch_begin(&args->next[1]) };
    for (int p = 0; p < args->positions; p++)
        for (int j = 0; j < args->width; j += step) {
            const int left = (args->width - j) / LANES;
            outer(args, left < TILE_VECTORS ? left : TILE_VECTORS,
                  (const float *)args->a + p * args->a_position,
                  (const float *)args->b + p * args->b_position + j / args->b_width * args->b_panel +
                      j % args->b_width,
                  (float *)args->c + p * args->c_position + j, next, calls);
        }
}
