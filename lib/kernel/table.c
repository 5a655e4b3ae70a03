#include <diffc/context.h>
#include <diffc/tensor.h>

#include "kernel/prototypes.h"

/* One constant table per instruction set and type of pixels, grown from the list: a row that has no version
 * of its own takes the C one. FIND_isa(NAME, C, SIMD, C_PIXELS, SIMD_PIXELS, DOTS, DOTS_PIXELS) picks the
 * suffix by what versions the row has. */

#define FIND_C(name, c, simd, c_pixels, simd_pixels, dots, dots_pixels) dfi_##name##_##c
#define FIND_C_AVX2_AVX512(name, c, simd, c_pixels, simd_pixels, dots, dots_pixels) dfi_##name##_##simd
#define FIND_PIXELS_C(name, c, simd, c_pixels, simd_pixels, dots, dots_pixels) dfi_##name##_##c_pixels
#define FIND_PIXELS_C_AVX2_AVX512(name, c, simd, c_pixels, simd_pixels, dots, dots_pixels) \
    dfi_##name##_##simd_pixels
#define FIND_DOTS(name, c, simd, c_pixels, simd_pixels, dots, dots_pixels) dfi_##name##_##dots
#define FIND_PIXELS_DOTS(name, c, simd, c_pixels, simd_pixels, dots, dots_pixels) dfi_##name##_##dots_pixels

#define MEMBER_DOUBLE(name, isa, result, arguments) \
    .name = FIND_##isa(name, double, double, double, double, double, double),
static const struct dfi_kernels kernels_double = { .name = "double",
                                                   .pixel = sizeof(double),
                                                   .conv_block = 8,
                                                   .winograd_block = 8,
                                                   .winograd_grain = 1,
                                                   .winograd_panel = 6,
                                                   DFI_KERNEL_LIST(MEMBER_DOUBLE) };

/* A table of floats and its sibling for pixels in bfloat16. */
#define PAIR(table, member, ...) \
    static const struct dfi_kernels kernels_##table##_bf16 = { .pixel = sizeof(uint16_t), \
                                                               __VA_ARGS__, \
                                                               DFI_KERNEL_LIST(member##_BF16) }; \
    static const struct dfi_kernels kernels_##table = { \
        .pixel = sizeof(float), .bf16 = &kernels_##table##_bf16, __VA_ARGS__, DFI_KERNEL_LIST(member) \
    };

#define MEMBER_C(name, isa, result, arguments) .name = FIND_##isa(name, c, c, c, c, c, c),
#define MEMBER_C_BF16(name, isa, result, arguments) .name = FIND_##isa(name, c, c, c_bf16, c_bf16, c, c_bf16),
PAIR(c, MEMBER_C, .name = "c", .conv_block = 8, .winograd_block = 8, .winograd_grain = 1, .winograd_panel = 6)

#if DFI_HAVE_AVX2
#define MEMBER_AVX2(name, isa, result, arguments) .name = FIND_##isa(name, c, avx2, c, avx2, c, c),
#define MEMBER_AVX2_BF16(name, isa, result, arguments) \
    .name = FIND_##isa(name, c, avx2, c_bf16, avx2_bf16, c, c_bf16),
PAIR(avx2, MEMBER_AVX2, .name = "avx2", .conv_block = 16, .winograd_block = 16, .winograd_grain = 8,
     .winograd_panel = 24, .narrow = 1)
#endif

#if DFI_HAVE_AVX512
#define BLOCKS_AVX512 \
    .conv_block = 32, .winograd_block = 64, .winograd_grain = 16, .winograd_panel = 48, .narrow = 1
#define MEMBER_AVX512(name, isa, result, arguments) .name = FIND_##isa(name, c, avx512, c, avx512, c, c),
#define MEMBER_AVX512_BF16(name, isa, result, arguments) \
    .name = FIND_##isa(name, c, avx512, c_bf16, avx512_bf16, c, c_bf16),
PAIR(avx512, MEMBER_AVX512, .name = "avx512", BLOCKS_AVX512)

#define MEMBER_DOTS(name, isa, result, arguments) \
    .name = FIND_##isa(name, c, avx512, c, avx512dots, avx512dots, avx512dots),
#define MEMBER_DOTS_BF16(name, isa, result, arguments) \
    .name = FIND_##isa(name, c, avx512, c_bf16, avx512dots_bf16, avx512dots, avx512dots_bf16),
PAIR(dots, MEMBER_DOTS, .name = "avx512", .dots = 1, BLOCKS_AVX512)
#endif

const struct dfi_kernels *dfi_kernels_get(uint32_t cpu_flags, int dtype)
{
    if (dtype == DIFFC_F64)
        return &kernels_double;
#if DFI_HAVE_AVX512
    if (cpu_flags & DIFFC_CPU_AVX512)
        return cpu_flags & DIFFC_CPU_AVX512_BF16 ? &kernels_dots : &kernels_avx512;
#endif
#if DFI_HAVE_AVX2
    if (cpu_flags & DIFFC_CPU_AVX2)
        return &kernels_avx2;
#endif
    (void)cpu_flags;
    return &kernels_c;
}
