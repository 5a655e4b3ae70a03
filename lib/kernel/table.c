#include <diffc/context.h>
#include <diffc/tensor.h>

#include "kernel/prototypes.h"

/* One constant table per instruction set, grown from the list: a row that has no version of its own takes the
 * C one. */

#define PICK_c_C(name) dfi_##name##_c
#define PICK_c_C_AVX2_AVX512(name) dfi_##name##_c
#define PICK_double_C(name) dfi_##name##_double
#define PICK_double_C_AVX2_AVX512(name) dfi_##name##_double
#define PICK_avx2_C(name) dfi_##name##_c
#define PICK_avx2_C_AVX2_AVX512(name) dfi_##name##_avx2
#define PICK_avx512_C(name) dfi_##name##_c
#define PICK_avx512_C_AVX2_AVX512(name) dfi_##name##_avx512

#define MEMBER_C(name, isa, result, arguments) .name = PICK_c_##isa(name),
static const struct dfi_kernels kernels_c = {
    .name = "c", .conv_block = 8, .winograd_block = 8, .winograd_grain = 1, DFI_KERNEL_LIST(MEMBER_C)
};

#define MEMBER_DOUBLE(name, isa, result, arguments) .name = PICK_double_##isa(name),
static const struct dfi_kernels kernels_double = { .name = "double",
                                                   .conv_block = 8,
                                                   .winograd_block = 8,
                                                   .winograd_grain = 1,
                                                   DFI_KERNEL_LIST(MEMBER_DOUBLE) };

#if DFI_HAVE_AVX2
#define MEMBER_AVX2(name, isa, result, arguments) .name = PICK_avx2_##isa(name),
static const struct dfi_kernels kernels_avx2 = { .name = "avx2",
                                                 .conv_block = 16,
                                                 .winograd_block = 16,
                                                 .winograd_grain = 8,
                                                 .narrow = 1,
                                                 DFI_KERNEL_LIST(MEMBER_AVX2) };
#endif

#if DFI_HAVE_AVX512
#define MEMBER_AVX512(name, isa, result, arguments) .name = PICK_avx512_##isa(name),
static const struct dfi_kernels kernels_avx512 = { .name = "avx512",
                                                   .conv_block = 32,
                                                   .winograd_block = 64,
                                                   .winograd_grain = 16,
                                                   .narrow = 1,
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
