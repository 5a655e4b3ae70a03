#ifndef DFI_KERNEL_PROTOTYPES_H
#define DFI_KERNEL_PROTOTYPES_H

#include "kernel/kernels.h"

/* Prototypes of every version of every kernel: dfi_NAME_c, _double, _avx2, _avx512, and _bf16 behind all but
 * _double. */
#define DFI_PROTOTYPE_C(name, result, arguments) \
    result dfi_##name##_c arguments; \
    result dfi_##name##_double arguments;
#define DFI_PROTOTYPE_C_AVX2_AVX512(name, result, arguments) \
    DFI_PROTOTYPE_C(name, result, arguments) \
    result dfi_##name##_avx2 arguments; \
    result dfi_##name##_avx512 arguments;
#define DFI_PROTOTYPE_PIXELS_C(name, result, arguments) \
    DFI_PROTOTYPE_C(name, result, arguments) \
    result dfi_##name##_c_bf16 arguments;
#define DFI_PROTOTYPE_PIXELS_C_AVX2_AVX512(name, result, arguments) \
    DFI_PROTOTYPE_C_AVX2_AVX512(name, result, arguments) \
    result dfi_##name##_c_bf16 arguments; \
    result dfi_##name##_avx2_bf16 arguments; \
    result dfi_##name##_avx512_bf16 arguments; \
    result dfi_##name##_avx512dots arguments; \
    result dfi_##name##_avx512dots_bf16 arguments;
#define DFI_PROTOTYPE_DOTS(name, result, arguments) \
    DFI_PROTOTYPE_C(name, result, arguments) \
    result dfi_##name##_avx512dots arguments;
#define DFI_PROTOTYPE_PIXELS_DOTS(name, result, arguments) \
    DFI_PROTOTYPE_DOTS(name, result, arguments) \
    result dfi_##name##_c_bf16 arguments; \
    result dfi_##name##_avx512dots_bf16 arguments;
#define DFI_KERNEL_PROTOTYPE(name, isa, result, arguments) DFI_PROTOTYPE_##isa(name, result, arguments)

DFI_KERNEL_LIST(DFI_KERNEL_PROTOTYPE)

#undef DFI_KERNEL_PROTOTYPE

#endif
