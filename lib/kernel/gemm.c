#include <diffc/context.h>
#include <diffc/tensor.h>

#include "kernel/gemm_parts.h"
#include "kernel/kernels.h"

#define CHUNK_ROWS 16
#define CHUNK_K 64
#define MAX_BLOCK 32

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void run_f64(const struct dfi_gemm *args)
{
    for (size_t i = 0; i < args->m; i++)
        for (size_t j = 0; j < args->n; j++) {
            const double *a = (const double *)args->a + (ptrdiff_t)i * args->a_row;
            const double *b = (const double *)args->b + (ptrdiff_t)j * args->b_col;
            double *c = (double *)args->c + (ptrdiff_t)i * args->c_row + (ptrdiff_t)j * args->c_col;
            double sum = args->accumulate ? *c : 0;
            for (size_t k = 0; k < args->k; k++, a += args->a_col, b += args->b_row)
                sum += *a * *b;
            *c = sum;
        }
}

static void copy_block(float *to, ptrdiff_t ld, const float *from, ptrdiff_t row, ptrdiff_t column,
                       size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            to[(ptrdiff_t)i * ld + (ptrdiff_t)j] = from[(ptrdiff_t)i * row + (ptrdiff_t)j * column];
}

/* One chunk of C from one chunk of k. A product is a convolution with one tap, rows of A are its pixels;
 * operands whose strides do not fit go through small copies. */
static void run_chunk(const struct dfi_kernels *kernels, const struct dfi_gemm *args, const float *w,
                      size_t row, size_t rows, size_t column, size_t columns, size_t k, size_t depth)
{
    static const ptrdiff_t no_offset[1] = { 0 };
    float a_copy[CHUNK_ROWS * CHUNK_K], c_copy[CHUNK_ROWS * MAX_BLOCK] = { 0 };
    const float *a = (const float *)args->a + (ptrdiff_t)row * args->a_row + (ptrdiff_t)k * args->a_col;
    float *c = (float *)args->c + (ptrdiff_t)row * args->c_row + (ptrdiff_t)column * args->c_col;
    const int accumulate = args->accumulate || k > 0;
    /* Few columns would be taken for a narrow convolution, whose weights lie otherwise: make them more in the
     * copy. */
    const int narrow = columns <= DFI_NARROW, copies = narrow || args->c_col != 1;
    if (args->a_col != 1)
        copy_block(a_copy, CHUNK_K, a, args->a_row, args->a_col, rows, depth);
    if (copies && accumulate)
        copy_block(c_copy, MAX_BLOCK, c, args->c_row, args->c_col, rows, columns);
    const struct dfi_taps_args taps = { .x = args->a_col == 1 ? a : a_copy,
                                        .x_pixel = args->a_col == 1 ? args->a_row : CHUNK_K,
                                        .taps = 1,
                                        .offset = no_offset,
                                        .cin = (int)depth,
                                        .cout = narrow ? DFI_NARROW + 1 : (int)columns,
                                        .w = w,
                                        .y = copies ? c_copy : c,
                                        .y_pixel = copies ? MAX_BLOCK : args->c_row,
                                        .width = (int)rows,
                                        .rows = 1,
                                        .accumulate = accumulate };
    kernels->taps(&taps);
    for (size_t i = 0; copies && i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            c[(ptrdiff_t)i * args->c_row + (ptrdiff_t)j * args->c_col] = c_copy[i * MAX_BLOCK + j];
}

static void clear(const struct dfi_gemm *args)
{
    for (size_t i = 0; i < args->m; i++)
        for (size_t j = 0; j < args->n; j++)
            ((float *)args->c)[(ptrdiff_t)i * args->c_row + (ptrdiff_t)j * args->c_col] = 0;
}

void dfi_gemm_plain(uint32_t cpu_flags, const struct dfi_gemm *args)
{
    const struct dfi_kernels *kernels = dfi_kernels_get(cpu_flags, DIFFC_F32);
    const size_t block = (size_t)kernels->conv_block;
    float w[CHUNK_K * MAX_BLOCK];
    if (args->k == 0 && !args->accumulate)
        clear(args);
    for (size_t column = 0; column < args->n; column += block)
        for (size_t k = 0; k < args->k; k += CHUNK_K) {
            const size_t columns = least(args->n - column, block), depth = least(args->k - k, CHUNK_K);
            const float *b = (const float *)args->b + (ptrdiff_t)k * args->b_row +
                             (ptrdiff_t)column * args->b_col;
            copy_block(w, (ptrdiff_t)block, b, args->b_row, args->b_col, depth, columns);
            for (size_t i = 0; i < depth; i++)
                for (size_t j = columns; j < block; j++)
                    w[i * block + j] = 0;
            for (size_t row = 0; row < args->m; row += CHUNK_ROWS)
                run_chunk(kernels, args, w, row, least(args->m - row, CHUNK_ROWS), column, columns, k, depth);
        }
}

void dfi_gemm(uint32_t cpu_flags, int dtype, const struct dfi_gemm *args)
{
    if (dtype == DIFFC_F64)
        run_f64(args);
#if DFI_HAVE_BLIS
    else if (args->k > 0 && dfi_gemm_blis(cpu_flags, args) == 0)
        return;
#endif
    else
        dfi_gemm_plain(cpu_flags, args);
}

const char *dfi_gemm_prepare(uint32_t cpu_flags)
{
#if DFI_HAVE_BLIS
    const char *name = dfi_gemm_blis_prepare(cpu_flags);
    if (name)
        return name;
#endif
    const struct dfi_kernels *kernels = dfi_kernels_get(cpu_flags, DIFFC_F32);
    return kernels->conv_block == 32 ? "diffc-avx512" : kernels->conv_block == 16 ? "diffc-avx2" : "diffc-c";
}
