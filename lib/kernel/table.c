#include <diffc/context.h>
#include <diffc/tensor.h>

#include "kernel/prototypes.h"

/* One constant table per instruction set and type of pixels, grown from the list: a row that has no version
 * of its own takes the C one. FIND_isa(NAME, SIMD, C, PIXELS, C_PIXELS) picks a version by what the row has:
 * SIMD and C are the suffixes for plain rows, the others for rows of pixels. */

#define FIND_C(name, simd, c, simd_pixels, c_pixels) dfi_##name##_##c
#define FIND_C_AVX2_AVX512(name, simd, c, simd_pixels, c_pixels) dfi_##name##_##simd
#define FIND_PIXELS_C(name, simd, c, simd_pixels, c_pixels) dfi_##name##_##c_pixels
#define FIND_PIXELS_C_AVX2_AVX512(name, simd, c, simd_pixels, c_pixels) dfi_##name##_##simd_pixels

#define MEMBER_DOUBLE(name, isa, result, arguments) .name = FIND_##isa(name, double, double, double, double),
static const struct dfi_kernels kernels_double = { .name = "double",
                                                   .pixel = sizeof(double),
                                                   .conv_block = 8,
                                                   .winograd_block = 8,
                                                   .winograd_grain = 1,
                                                   DFI_KERNEL_LIST(MEMBER_DOUBLE) };

#define BLOCKS_C .conv_block = 8, .winograd_block = 8, .winograd_grain = 1
#define BLOCKS_AVX2 .conv_block = 16, .winograd_block = 16, .winograd_grain = 8, .narrow = 1
#define BLOCKS_AVX512 .conv_block = 32, .winograd_block = 64, .winograd_grain = 16, .narrow = 1

#define MEMBER_C(name, isa, result, arguments) .name = FIND_##isa(name, c, c, c, c),
#define MEMBER_C_BF16(name, isa, result, arguments) .name = FIND_##isa(name, c, c, c_bf16, c_bf16),
static const struct dfi_kernels kernels_c_bf16 = {
    .name = "c", .pixel = sizeof(uint16_t), BLOCKS_C, DFI_KERNEL_LIST(MEMBER_C_BF16)
};
static const struct dfi_kernels kernels_c = {
    .name = "c", .pixel = sizeof(float), .bf16 = &kernels_c_bf16, BLOCKS_C, DFI_KERNEL_LIST(MEMBER_C)
};

#if DFI_HAVE_AVX2
#define MEMBER_AVX2(name, isa, result, arguments) .name = FIND_##isa(name, avx2, c, avx2, c),
#define MEMBER_AVX2_BF16(name, isa, result, arguments) .name = FIND_##isa(name, avx2, c, avx2_bf16, c_bf16),
static const struct dfi_kernels kernels_avx2_bf16 = {
    .name = "avx2", .pixel = sizeof(uint16_t), BLOCKS_AVX2, DFI_KERNEL_LIST(MEMBER_AVX2_BF16)
};
static const struct dfi_kernels kernels_avx2 = { .name = "avx2",
                                                 .pixel = sizeof(float),
                                                 .bf16 = &kernels_avx2_bf16,
                                                 BLOCKS_AVX2,
                                                 DFI_KERNEL_LIST(MEMBER_AVX2) };
#endif

#if DFI_HAVE_AVX512
#define MEMBER_AVX512(name, isa, result, arguments) .name = FIND_##isa(name, avx512, c, avx512, c),
#define MEMBER_AVX512_BF16(name, isa, result, arguments) \
    .name = FIND_##isa(name, avx512, c, avx512_bf16, c_bf16),
static const struct dfi_kernels kernels_avx512_bf16 = {
    .name = "avx512", .pixel = sizeof(uint16_t), BLOCKS_AVX512, DFI_KERNEL_LIST(MEMBER_AVX512_BF16)
};
static const struct dfi_kernels kernels_avx512 = { .name = "avx512",
                                                   .pixel = sizeof(float),
                                                   .bf16 = &kernels_avx512_bf16,
                                                   BLOCKS_AVX512,
                                                   DFI_KERNEL_LIST(MEMBER_AVX512) };
#endif

const struct dfi_kernels *dfi_kernels_get(uint32_t cpu_flags, int dtype)
{
    if (dtype == DIFFC_F64)
        return &kernels_double;
#if DFI_HAVE_AVX512
    if (cpu_flags & DIFFC_CPU_AVX512)
        return &kernels_avx512;
#endif
#if DFI_HAVE_AVX2
    if (cpu_flags & DIFFC_CPU_AVX2)
        return &kernels_avx2;
#endif
    (void)cpu_flags;
    return &kernels_c;
}
