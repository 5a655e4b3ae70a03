#include "kernel/gemm_wide.h"

#include <diffc/context.h>
#include <diffc/tensor.h>
#include <string.h>

#include "kernel/gemm_parts.h"
#include "kernel/kernels.h"

#define MAX_ROWS DFI_TILE_ROWS_AVX512
#define MAX_COLUMNS DFI_TILE_COLUMNS_AVX512

/* Steps of k at a time: a tile of weights and a slice of A share a second-level cache, and sums are seldom
 * put aside. Pairs are made from others by the CHUNK. */
#define DEPTH 1024
#define CHUNK 64
_Static_assert(MAX_COLUMNS *(DEPTH + 2 * CHUNK) <= DFI_WIDE_SCRATCH, "a tile and a chunk fit");

/* Columns of a band. */
#define ENOUGH_BANDS 16
#define SMALLEST_BAND 64
#define LARGEST_BAND 256

typedef void (*tile_function)(int rows, size_t k, const float *a, int stride, const float *b,
                              const float *start, float *c, ptrdiff_t ldc, const struct dfi_prefetch *next);

struct tile {
    int rows, columns;
    tile_function run;
};

/* The plain C twin of the micro-kernels of x86/gemm_tile.c. */
#define ROWS_C 4
#define COLUMNS_C 8

static void rows_c(int rows, size_t k, const float *a, int stride, const float *b, const float *start,
                   float *c, ptrdiff_t ldc, const struct dfi_prefetch *next)
{
    (void)next;
    const ptrdiff_t start_row = start == c ? ldc : 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < COLUMNS_C; j++) {
            float sum = start[i * start_row + j];
            for (size_t l = 0; l < k; l++)
                sum += a[l * (size_t)stride + (size_t)i] * b[l * COLUMNS_C + (size_t)j];
            c[i * ldc + j] = sum;
        }
}

int dfi_wide_has_dots(uint32_t cpu_flags, size_t k)
{
#if DFI_HAVE_AVX512
    return k % 2 == 0 && (cpu_flags & DIFFC_CPU_AVX512) && (cpu_flags & DIFFC_CPU_AVX512_BF16);
#else
    (void)cpu_flags;
    (void)k;
    return 0;
#endif
}

/* Pairs count as single values in what follows: they are of the size of a float. */
static size_t steps_of(int dots, size_t k)
{
    return dots ? k / 2 : k;
}

static struct tile choose(uint32_t cpu_flags, int dots)
{
    (void)dots;
#if DFI_HAVE_AVX512
    if (dots)
        return (struct tile) { DFI_TILE_ROWS_AVX512, DFI_TILE_COLUMNS_AVX512, dfi_gemm_rows_avx512dots };
    if (cpu_flags & DIFFC_CPU_AVX512)
        return (struct tile) { DFI_TILE_ROWS_AVX512, DFI_TILE_COLUMNS_AVX512, dfi_gemm_rows_avx512 };
#endif
#if DFI_HAVE_AVX2
    if (cpu_flags & DIFFC_CPU_AVX2)
        return (struct tile) { DFI_TILE_ROWS_AVX2, DFI_TILE_COLUMNS_AVX2, dfi_gemm_rows_avx2 };
#endif
    (void)cpu_flags;
    return (struct tile) { ROWS_C, COLUMNS_C, rows_c };
}

static size_t stored_size(int dtype)
{
    return dtype == DIFFC_F32 ? 4 : 2;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t panels_of(size_t m, size_t rows)
{
    return (m + rows - 1) / rows;
}

/* As few panels as there must be, of as equal a height as can be. */
int dfi_wide_panel(uint32_t cpu_flags, size_t m)
{
    const size_t panels = panels_of(m, (size_t)choose(cpu_flags, 0).rows);
    return panels ? (int)panels_of(m, panels) : 1;
}

size_t dfi_wide_packed(uint32_t cpu_flags, size_t m, size_t k)
{
    const size_t rows = (size_t)dfi_wide_panel(cpu_flags, m);
    return panels_of(m, rows) * rows * k;
}

/* [k / DEPTH][panels][DEPTH][rows] for `k` steps: what one step over k reads lies together. */
static size_t packed_at(size_t rows, size_t panels, size_t k, size_t from, size_t panel)
{
    return (from * panels + panel * least(k - from, DEPTH)) * rows;
}

/* Rows of `width` factors from `depth` steps, of any type, to a panel; scratch is for as many floats as CHUNK
 * pairs have values.
 */
static void make_panel(const struct dfi_kernels *kernels, int dots, const void *from, int dtype, ptrdiff_t ld,
                       size_t rows, size_t depth, size_t width, float *panel, float *scratch)
{
    if (!dots) {
        kernels->widen_panel(from, dtype, ld, (int)rows, depth, (int)width, panel);
    } else if (dtype == DIFFC_BF16 && ld % 2 == 0) { /* pairs lie there already, of the size of a float */
        kernels->widen_panel(from, DIFFC_F32, ld / 2, (int)rows, depth, (int)width, panel);
    } else {
        for (size_t l = 0; l < depth; l += CHUNK) {
            const int values = 2 * (int)least(depth - l, CHUNK);
            kernels->widen_panel((const char *)from + 2 * l * stored_size(dtype), dtype, ld, (int)rows,
                                 (size_t)values, (int)width, scratch);
            kernels->pair_rows(scratch, (ptrdiff_t)width, values, width, panel + l * width, (ptrdiff_t)width);
        }
    }
}

void dfi_wide_pack(uint32_t cpu_flags, int dots, const float *a, ptrdiff_t a_ld, size_t m, size_t k,
                   size_t panel, float *packed)
{
    float scratch[2 * CHUNK * MAX_ROWS];
    const size_t steps = steps_of(dots, k);
    const size_t rows = (size_t)dfi_wide_panel(cpu_flags, m), panels = panels_of(m, rows);
    const size_t filled = least(m - panel * rows, rows);
    const struct dfi_kernels *kernels = dfi_kernels_get(cpu_flags, DIFFC_F32);
    for (size_t from = 0; from < steps; from += DEPTH) {
        const size_t depth = least(steps - from, DEPTH);
        make_panel(kernels, dots, a + (ptrdiff_t)(panel * rows) * a_ld + (dots ? 2 * from : from), DIFFC_F32,
                   a_ld, filled, depth, rows, packed + packed_at(rows, panels, steps, from, panel), scratch);
    }
}

/* One tile of C; `panel` rows lie in a step of A. `start`: what the sums begin with, NULL: C. */
static void run_tile(const struct tile *tile, const struct dfi_wide *args, size_t row, size_t column,
                     size_t panel, size_t depth, const float *a, const float *b, const float *start,
                     const struct dfi_prefetch *next)
{
    float *c = args->c + (ptrdiff_t)row * args->c_ld + column, edge[MAX_ROWS * MAX_COLUMNS];
    const size_t rows = least(args->m - row, panel), columns = least(args->n - column, (size_t)tile->columns);
    if (columns == (size_t)tile->columns) {
        tile->run((int)rows, depth, a, (int)panel, b, start ? start : c, c, args->c_ld, next);
        return;
    }
    memset(edge, 0, sizeof(edge));
    for (size_t i = 0; !start && i < rows; i++)
        memcpy(edge + i * MAX_COLUMNS, c + (ptrdiff_t)i * args->c_ld, columns * sizeof(*c));
    tile->run((int)rows, depth, a, (int)panel, b, start ? start : edge, edge, MAX_COLUMNS, next);
    for (size_t i = 0; i < rows; i++)
        memcpy(c + (ptrdiff_t)i * args->c_ld, edge + i * MAX_COLUMNS, columns * sizeof(*c));
}

/* A band of columns while it is multiplied. */
struct band {
    const struct dfi_wide *args;
    struct tile tile;
    size_t rows, panels;       /* of a panel of A; in A */
    size_t first, end;         /* columns */
    size_t steps, step_stored; /* of k; bytes of a step where the weights are stored */
};

/* A tile of its weights: columns from `column`, steps from `from` on. */
struct place {
    size_t column, from;
};

static struct place after(const struct band *b, struct place at)
{
    at.column += (size_t)b->tile.columns;
    return at.column < b->end ? at : (struct place) { b->first, at.from + DEPTH };
}

static size_t columns_at(const struct band *b, struct place at)
{
    return least(b->end - at.column, (size_t)b->tile.columns);
}

static ptrdiff_t row_stored(const struct dfi_wide *args)
{
    return args->w_ld * (ptrdiff_t)stored_size(args->w_dtype);
}

static const char *weights_at(const struct band *b, struct place at)
{
    return (const char *)b->args->w + (ptrdiff_t)at.column * row_stored(b->args) + at.from * b->step_stored;
}

/* Rows of weights are far apart and each is read in short pieces, which no hardware foresees: a panel's share
 * of a tile's is fetched beside the products. */
static struct dfi_prefetch share_of(const struct band *b, struct place at, size_t panel)
{
    if (at.from >= b->steps)
        return (struct dfi_prefetch) { NULL, 0, 0, 0 };
    const size_t rows = columns_at(b, at), first = panel * rows / b->panels,
                 end = (panel + 1) * rows / b->panels;
    return (struct dfi_prefetch) { weights_at(b, at) + (ptrdiff_t)first * row_stored(b->args),
                                   row_stored(b->args), (int)(end - first),
                                   (int)(least(b->steps - at.from, DEPTH) * b->step_stored) };
}

static void multiply_tile(const struct band *b, const struct dfi_kernels *kernels, struct place at,
                          float *scratch)
{
    const struct dfi_wide *args = b->args;
    const size_t columns = columns_at(b, at), depth = least(b->steps - at.from, DEPTH);
    float bias[MAX_COLUMNS] = { 0 };
    if (args->bias)
        memcpy(bias, args->bias + at.column, columns * sizeof(*bias));
    make_panel(kernels, args->dots, weights_at(b, at), args->w_dtype, args->w_ld, columns, depth,
               (size_t)b->tile.columns, scratch, scratch + MAX_COLUMNS * DEPTH);
    for (size_t panel = 0; panel < b->panels; panel++) {
        const struct dfi_prefetch next = share_of(b, after(b, at), panel);
        const size_t a = packed_at(b->rows, b->panels, b->steps, at.from, panel);
        run_tile(&b->tile, args, panel * b->rows, at.column, b->rows, depth,
                 (const float *)args->a_packed + a, scratch, at.from > 0 ? NULL : bias, &next);
    }
}

/* A multiple of the columns of any tile. */
static size_t band_columns(size_t n)
{
    const size_t share = panels_of(n, ENOUGH_BANDS), most = LARGEST_BAND;
    return share < SMALLEST_BAND ? SMALLEST_BAND : least(panels_of(share, MAX_COLUMNS) * MAX_COLUMNS, most);
}

size_t dfi_wide_bands(size_t n)
{
    return panels_of(n, band_columns(n));
}

void dfi_wide_band(uint32_t cpu_flags, const struct dfi_wide *args, size_t band, float *scratch)
{
    const size_t columns = band_columns(args->n), rows = (size_t)dfi_wide_panel(cpu_flags, args->m);
    const struct band b = { .args = args,
                            .tile = choose(cpu_flags, args->dots),
                            .rows = rows,
                            .panels = panels_of(args->m, rows),
                            .first = band * columns,
                            .end = least((band + 1) * columns, args->n),
                            .steps = steps_of(args->dots, args->k),
                            .step_stored = stored_size(args->w_dtype) * (args->dots ? 2 : 1) };
    const struct dfi_kernels *kernels = dfi_kernels_get(cpu_flags, DIFFC_F32);
    for (struct place at = { b.first, 0 }; at.from < b.steps; at = after(&b, at))
        multiply_tile(&b, kernels, at, scratch);
}
