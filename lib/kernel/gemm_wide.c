#include "kernel/gemm_wide.h"

#include <diffc/context.h>
#include <diffc/tensor.h>
#include <string.h>

#include "kernel/gemm_parts.h"
#include "kernel/kernels.h"

#define MAX_ROWS DFI_TILE_ROWS_AVX512
#define LINE 64 /* bytes of a cache line */
#define MAX_COLUMNS DFI_TILE_COLUMNS_AVX512

typedef void (*tile_function)(int rows, size_t k, const float *a, int stride, const float *b,
                              const float *start, float *c, ptrdiff_t ldc);

struct tile {
    int rows, columns;
    tile_function run;
};

/* The plain C twin of the micro-kernels of x86/gemm_tile.c. */
#define ROWS_C 4
#define COLUMNS_C 8

static void rows_c(int rows, size_t k, const float *a, int stride, const float *b, const float *start,
                   float *c, ptrdiff_t ldc)
{
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
    return (from * panels + panel * least(k - from, DFI_WIDE_DEPTH)) * rows;
}

/* Rows of `width` factors from `depth` steps, of any type, to a panel; scratch is for as many floats as pairs
 * have values.
 */
static void make_panel(const struct dfi_kernels *kernels, int dots, const void *from, int dtype, ptrdiff_t ld,
                       size_t rows, size_t depth, size_t width, float *panel, float *scratch)
{
    if (!dots) {
        kernels->widen_panel(from, dtype, ld, (int)rows, depth, (int)width, panel);
    } else if (dtype == DIFFC_BF16 && ld % 2 == 0) { /* pairs lie there already, of the size of a float */
        kernels->widen_panel(from, DIFFC_F32, ld / 2, (int)rows, depth, (int)width, panel);
    } else {
        kernels->widen_panel(from, dtype, ld, (int)rows, 2 * depth, (int)width, scratch);
        kernels->pair_rows(scratch, (ptrdiff_t)width, 2 * (int)depth, width, panel, (ptrdiff_t)width);
    }
}

void dfi_wide_pack(uint32_t cpu_flags, int dots, const float *a, ptrdiff_t a_ld, size_t m, size_t k,
                   size_t panel, float *packed)
{
    float scratch[2 * DFI_WIDE_DEPTH * MAX_ROWS];
    const size_t steps = steps_of(dots, k);
    const size_t rows = (size_t)dfi_wide_panel(cpu_flags, m), panels = panels_of(m, rows);
    const size_t filled = least(m - panel * rows, rows);
    const struct dfi_kernels *kernels = dfi_kernels_get(cpu_flags, DIFFC_F32);
    for (size_t from = 0; from < steps; from += DFI_WIDE_DEPTH) {
        const size_t depth = least(steps - from, DFI_WIDE_DEPTH);
        make_panel(kernels, dots, a + (ptrdiff_t)(panel * rows) * a_ld + (dots ? 2 * from : from), DIFFC_F32,
                   a_ld, filled, depth, rows, packed + packed_at(rows, panels, steps, from, panel), scratch);
    }
}

/* One tile of C; `panel` rows lie in a step of A. `start`: what the sums begin with, NULL: C. */
static void run_tile(const struct tile *tile, const struct dfi_wide *args, size_t row, size_t column,
                     size_t panel, size_t depth, const float *a, const float *b, const float *start)
{
    float *c = args->c + (ptrdiff_t)row * args->c_ld + column, edge[MAX_ROWS * MAX_COLUMNS];
    const size_t rows = least(args->m - row, panel), columns = least(args->n - column, (size_t)tile->columns);
    if (columns == (size_t)tile->columns) {
        tile->run((int)rows, depth, a, (int)panel, b, start ? start : c, c, args->c_ld);
        return;
    }
    memset(edge, 0, sizeof(edge));
    for (size_t i = 0; !start && i < rows; i++)
        memcpy(edge + i * MAX_COLUMNS, c + (ptrdiff_t)i * args->c_ld, columns * sizeof(*c));
    tile->run((int)rows, depth, a, (int)panel, b, start ? start : edge, edge, MAX_COLUMNS);
    for (size_t i = 0; i < rows; i++)
        memcpy(c + (ptrdiff_t)i * args->c_ld, edge + i * MAX_COLUMNS, columns * sizeof(*c));
}

/* The weights of some steps: rows first .. end - 1, from step `from` of `steps` on; element: bytes of a step.
 */
struct weights {
    const struct dfi_wide *args;
    size_t element, first, end, from, steps;
};

static const char *weight_at(const struct weights *w, size_t row)
{
    const size_t stored = w->element / (w->args->dots ? 2 : 1);
    return (const char *)w->args->w + (size_t)((ptrdiff_t)row * w->args->w_ld) * stored +
           w->from * w->element;
}

static void widen(const struct weights *w, const struct dfi_kernels *kernels, size_t width, size_t depth,
                  float *scratch)
{
    for (size_t column = w->first; column < w->end; column += width)
        make_panel(kernels, w->args->dots, weight_at(w, column), w->args->w_dtype, w->args->w_ld,
                   least(w->end - column, width), depth, width,
                   scratch + (column - w->first) * DFI_WIDE_DEPTH, scratch + DFI_WIDE_SCRATCH / 2);
}

/* Rows are far apart and each is read in short pieces, which no hardware foresees: part `part` of `parts` of
 * the next step's is asked for while this step's are multiplied. */
static void ask_for_next(const struct weights *w, size_t part, size_t parts)
{
    const struct weights next = { w->args, w->element, w->first, w->end, w->from + DFI_WIDE_DEPTH, w->steps };
    if (next.from >= w->steps)
        return;
    const size_t rows = w->end - w->first, bytes = least(w->steps - next.from, DFI_WIDE_DEPTH) * w->element;
    for (size_t row = part * rows / parts; row < (part + 1) * rows / parts; row++)
        for (size_t at = 0; at < bytes; at += LINE)
            __builtin_prefetch(weight_at(&next, w->first + row) + at, 0, 2);
}

void dfi_wide_band(uint32_t cpu_flags, const struct dfi_wide *args, size_t band, float *scratch)
{
    const struct tile tile = choose(cpu_flags, args->dots);
    const size_t rows = (size_t)dfi_wide_panel(cpu_flags, args->m), width = (size_t)tile.columns;
    const size_t panels = panels_of(args->m, rows), first = band * DFI_WIDE_BAND;
    float bias[DFI_WIDE_BAND] = { 0 };
    const size_t stored = args->w_dtype == DIFFC_F32 ? 4 : 2;
    struct weights w = { .args = args,
                         .element = args->dots ? 2 * stored : stored,
                         .first = first,
                         .end = least(first + DFI_WIDE_BAND, args->n),
                         .steps = steps_of(args->dots, args->k) };
    if (args->bias)
        memcpy(bias, args->bias + first, (w.end - first) * sizeof(*bias));
    for (; w.from < w.steps; w.from += DFI_WIDE_DEPTH) {
        const size_t depth = least(w.steps - w.from, DFI_WIDE_DEPTH);
        widen(&w, dfi_kernels_get(cpu_flags, DIFFC_F32), width, depth, scratch);
        for (size_t panel = 0; panel < panels; panel++) {
            ask_for_next(&w, panel, panels);
            for (size_t column = first; column < w.end; column += width)
                run_tile(&tile, args, panel * rows, column, rows, depth,
                         (const float *)args->a_packed + packed_at(rows, panels, w.steps, w.from, panel),
                         scratch + (column - first) * DFI_WIDE_DEPTH,
                         w.from > 0 ? NULL : bias + (column - first));
        }
    }
}
