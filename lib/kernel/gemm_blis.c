/* BLIS as a framework: its packing and loops, its own micro-kernels where all instruction sets are in use and
 * it knows the CPU (BLIS 0.9 knows no CPU of AMD's with AVX-512), ours elsewhere. A private context carries
 * our micro-kernels and block sizes; nothing of BLIS's own state is changed, and every call runs on the
 * calling thread alone. */

#include <blis.h>
#include <diffc/context.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "kernel/gemm_parts.h"

typedef void (*tile_function)(size_t k, const float *a, const float *b, float *c, ptrdiff_t ldc,
                              int accumulate);

#define MAX_TILE (DFI_TILE_ROWS_AVX512 * DFI_TILE_COLUMNS_AVX512)

/* A micro-kernel as BLIS 0.9 calls it: c = beta c + alpha a b for m x n <= the tile. The product is always
 * formed as a whole tile, so the bits of an element do not depend on where it lies. */
static void run_tile(tile_function tile, dim_t columns, dim_t m, dim_t n, dim_t k, const float *alpha,
                     const float *a, const float *b, const float *beta, float *c, inc_t rs_c, inc_t cs_c)
{
    float product[MAX_TILE];
    tile((size_t)k, a, b, product, columns, 0);
    for (dim_t i = 0; i < m; i++)
        for (dim_t j = 0; j < n; j++) {
            float *out = c + i * rs_c + j * cs_c;
            const float value = *alpha * product[i * columns + j];
            *out = *beta == 0 ? value : *beta * *out + value;
        }
}

#define MICRO_KERNEL(isa, ISA) \
    static void micro_kernel_##isa(dim_t m, dim_t n, dim_t k, float *alpha, float *a, float *b, float *beta, \
                                   float *c, inc_t rs_c, inc_t cs_c, auxinfo_t *data, cntx_t *cntx) \
    { \
        (void)data; \
        (void)cntx; \
        run_tile(dfi_gemm_tile_##isa, DFI_TILE_COLUMNS_##ISA, m, n, k, alpha, a, b, beta, c, rs_c, cs_c); \
    }

#if DFI_HAVE_AVX2
MICRO_KERNEL(avx2, AVX2)
#endif
#if DFI_HAVE_AVX512
MICRO_KERNEL(avx512, AVX512)
#endif

enum { SET_NONE = -1, SET_BLIS, SET_AVX2, SET_AVX512, SET_COUNT };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static cntx_t contexts[SET_COUNT]; /* written once, under `once` */
static char names[SET_COUNT][32];
static int blis_knows; /* BLIS has kernels of its own for this CPU */

typedef void (*micro_kernel_function)(dim_t m, dim_t n, dim_t k, float *alpha, float *a, float *b,
                                      float *beta, float *c, inc_t rs_c, inc_t cs_c, auxinfo_t *data,
                                      cntx_t *cntx);

static void fill_context(cntx_t *context, micro_kernel_function micro_kernel, dim_t mr, dim_t nr, dim_t mc,
                         dim_t kc, dim_t nc)
{
    blksz_t sizes[BLIS_NC + 1];
    const dim_t values[BLIS_NC + 1] = { 1, mr, nr, mc, kc, nc };
    union { /* BLIS keeps functions as object pointers, which ISO C has no cast for */
        micro_kernel_function function;
        void_fp pointer;
    } kernel = { micro_kernel };
    bli_gks_init_ref_cntx(context);
    for (int i = BLIS_MR; i <= BLIS_NC; i++)
        bli_blksz_init_easy(&sizes[i], values[i], values[i], values[i], values[i]);
    bli_cntx_set_l3_nat_ukrs(1, BLIS_GEMM_UKR, BLIS_FLOAT, kernel.pointer, TRUE, context);
    bli_cntx_set_blkszs(BLIS_NAT, 5, BLIS_NC, &sizes[BLIS_NC], BLIS_NR, BLIS_KC, &sizes[BLIS_KC], BLIS_KR,
                        BLIS_MC, &sizes[BLIS_MC], BLIS_MR, BLIS_NR, &sizes[BLIS_NR], BLIS_NR, BLIS_MR,
                        &sizes[BLIS_MR], BLIS_MR, context);
    /* The loops take the virtual micro-kernel. */
    bli_cntx_l3_vir_ukrs_buf(context)[BLIS_GEMM_UKR] = bli_cntx_l3_nat_ukrs_buf(context)[BLIS_GEMM_UKR];
}

static void set_up(void)
{
    bli_init();
    const char *arch = bli_arch_string(bli_arch_query_id());
    blis_knows = strcmp(arch, "generic") != 0;
    snprintf(names[SET_BLIS], sizeof(names[SET_BLIS]), "blis-%s", arch);
#if DFI_HAVE_AVX2
    fill_context(&contexts[SET_AVX2], micro_kernel_avx2, DFI_TILE_ROWS_AVX2, DFI_TILE_COLUMNS_AVX2, 168, 256,
                 4080);
    strcpy(names[SET_AVX2], "blis+diffc-avx2");
#endif
#if DFI_HAVE_AVX512
    fill_context(&contexts[SET_AVX512], micro_kernel_avx512, DFI_TILE_ROWS_AVX512, DFI_TILE_COLUMNS_AVX512,
                 480, 384, 3072);
    strcpy(names[SET_AVX512], "blis+diffc-avx512");
#endif
}

/* BLIS chooses by the CPU and not by our mask: its own kernels are taken only where the mask hides nothing
 * that they might use. */
static int choose(uint32_t cpu_flags)
{
    pthread_once(&once, set_up);
#if DFI_HAVE_AVX512
    if ((cpu_flags & DIFFC_CPU_AVX512) && !blis_knows)
        return SET_AVX512;
#endif
#if DFI_HAVE_AVX2
    if ((cpu_flags & DIFFC_CPU_AVX2) && (!blis_knows || !(cpu_flags & DIFFC_CPU_AVX512)))
        return SET_AVX2;
#endif
    return blis_knows && (cpu_flags & DIFFC_CPU_AVX2) ? SET_BLIS : SET_NONE;
}

int dfi_gemm_blis(uint32_t cpu_flags, const struct dfi_gemm *args)
{
    const int set = choose(cpu_flags);
    float one = 1, beta = args->accumulate ? 1 : 0;
    rntm_t runtime = BLIS_RNTM_INITIALIZER;
    if (set == SET_NONE)
        return -1;
    bli_rntm_init(&runtime);
    bli_rntm_set_num_threads(1, &runtime);
    bli_rntm_disable_l3_sup(&runtime); /* its small-matrix path adds up in another order */
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, (dim_t)args->m, (dim_t)args->n, (dim_t)args->k, &one,
                 (float *)(uintptr_t)args->a, args->a_row, args->a_col, (float *)(uintptr_t)args->b,
                 args->b_row, args->b_col, &beta, args->c, args->c_row, args->c_col,
                 set == SET_BLIS ? NULL : &contexts[set], &runtime);
    return 0;
}

const char *dfi_gemm_blis_prepare(uint32_t cpu_flags)
{
    const int set = choose(cpu_flags);
    if (set == SET_NONE)
        return NULL;
    /* The first product makes BLIS allocate its packing buffers. */
    float a[4] = { 0 }, b[4] = { 0 }, c[4];
    const struct dfi_gemm warm = { 2, 2, 2, a, 2, 1, b, 2, 1, c, 2, 1, 0 };
    dfi_gemm_blis(cpu_flags, &warm);
    return names[set];
}
