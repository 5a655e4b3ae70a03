#include "kernel/gemm_wide.h"

#include <diffc/context.h>
#include <diffc/tensor.h>
#include <string.h>

#include "kernel/gemm_parts.h"
#include "kernel/kernels.h"

#define MAX_ROWS DFI_TILE_ROWS_AVX512
#define MAX_COLUMNS DFI_TILE_COLUMNS_AVX512

typedef void (*tile_function)(size_t k, const float *a, const float *b, float *c, ptrdiff_t ldc,
                              int accumulate);

struct tile {
    int rows, columns;
    tile_function run;
};

/* The plain C twin of the micro-kernels of x86/gemm_tile.c. */
#define ROWS_C 4
#define COLUMNS_C 8

static void tile_c(size_t k, const float *a, const float *b, float *c, ptrdiff_t ldc, int accumulate)
{
    for (int i = 0; i < ROWS_C; i++)
        for (int j = 0; j < COLUMNS_C; j++) {
            float sum = accumulate ? c[i * ldc + j] : 0;
            for (size_t l = 0; l < k; l++)
                sum += a[l * ROWS_C + (size_t)i] * b[l * COLUMNS_C + (size_t)j];
            c[i * ldc + j] = sum;
        }
}

static struct tile choose(uint32_t cpu_flags)
{
#if DFI_HAVE_AVX512
    if (cpu_flags & DIFFC_CPU_AVX512)
        return (struct tile) { DFI_TILE_ROWS_AVX512, DFI_TILE_COLUMNS_AVX512, dfi_gemm_tile_avx512 };
#endif
#if DFI_HAVE_AVX2
    if (cpu_flags & DIFFC_CPU_AVX2)
        return (struct tile) { DFI_TILE_ROWS_AVX2, DFI_TILE_COLUMNS_AVX2, dfi_gemm_tile_avx2 };
#endif
    (void)cpu_flags;
    return (struct tile) { ROWS_C, COLUMNS_C, tile_c };
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

int dfi_wide_panel(uint32_t cpu_flags)
{
    return choose(cpu_flags).rows;
}

static size_t panels_of(size_t m, size_t rows)
{
    return (m + rows - 1) / rows;
}

size_t dfi_wide_packed(uint32_t cpu_flags, size_t m, size_t k)
{
    const size_t rows = (size_t)choose(cpu_flags).rows;
    return panels_of(m, rows) * rows * k;
}

/* [k / DEPTH][panels][DEPTH][rows]: what one step over k reads lies together. */
static size_t packed_at(size_t rows, size_t panels, size_t k, size_t from, size_t panel)
{
    return (from * panels + panel * least(k - from, DFI_WIDE_DEPTH)) * rows;
}

void dfi_wide_pack(uint32_t cpu_flags, const float *a, ptrdiff_t a_ld, size_t m, size_t k, size_t panel,
                   float *packed)
{
    const size_t rows = (size_t)choose(cpu_flags).rows, panels = panels_of(m, rows);
    const size_t filled = least(m - panel * rows, rows);
    for (size_t from = 0; from < k; from += DFI_WIDE_DEPTH) {
        const size_t depth = least(k - from, DFI_WIDE_DEPTH);
        float *to = packed + packed_at(rows, panels, k, from, panel);
        for (size_t i = 0; i < rows; i++) {
            const float *row = a + (ptrdiff_t)(panel * rows + i) * a_ld + from;
            for (size_t l = 0; l < depth; l++)
                to[l * rows + i] = i < filled ? row[l] : 0;
        }
    }
}

/* One tile of C, whole or at an edge. */
static void run_tile(const struct tile *tile, const struct dfi_wide *args, size_t row, size_t column,
                     size_t depth, const float *a, const float *b, int accumulate)
{
    float *c = args->c + (ptrdiff_t)row * args->c_ld + column, edge[MAX_ROWS * MAX_COLUMNS];
    const size_t rows = least(args->m - row, (size_t)tile->rows),
                 columns = least(args->n - column, (size_t)tile->columns);
    if (rows == (size_t)tile->rows && columns == (size_t)tile->columns) {
        tile->run(depth, a, b, c, args->c_ld, accumulate);
        return;
    }
    memset(edge, 0, sizeof(edge));
    for (size_t i = 0; accumulate && i < rows; i++)
        memcpy(edge + i * MAX_COLUMNS, c + (ptrdiff_t)i * args->c_ld, columns * sizeof(*c));
    tile->run(depth, a, b, edge, MAX_COLUMNS, accumulate);
    for (size_t i = 0; i < rows; i++)
        memcpy(c + (ptrdiff_t)i * args->c_ld, edge + i * MAX_COLUMNS, columns * sizeof(*c));
}

void dfi_wide_band(uint32_t cpu_flags, const struct dfi_wide *args, size_t band, float *scratch)
{
    const struct tile tile = choose(cpu_flags);
    const struct dfi_kernels *kernels = dfi_kernels_get(cpu_flags, DIFFC_F32);
    const size_t rows = (size_t)tile.rows, width = (size_t)tile.columns, panels = panels_of(args->m, rows);
    const size_t first = band * DFI_WIDE_BAND, end = least(first + DFI_WIDE_BAND, args->n);
    const size_t element = args->w_dtype == DIFFC_F32 ? 4 : 2;
    for (size_t from = 0; from < args->k; from += DFI_WIDE_DEPTH) {
        const size_t depth = least(args->k - from, DFI_WIDE_DEPTH);
        for (size_t column = first; column < end; column += width)
            kernels->widen_panel((const char *)args->w +
                                     ((size_t)((ptrdiff_t)column * args->w_ld) + from) * element,
                                 args->w_dtype, args->w_ld, (int)least(end - column, width), depth,
                                 tile.columns, scratch + (column - first) * DFI_WIDE_DEPTH);
        for (size_t panel = 0; panel < panels; panel++)
            for (size_t column = first; column < end; column += width)
                run_tile(&tile, args, panel * rows, column, depth,
                         (const float *)args->a_packed + packed_at(rows, panels, args->k, from, panel),
                         scratch + (column - first) * DFI_WIDE_DEPTH, from > 0);
    }
}
