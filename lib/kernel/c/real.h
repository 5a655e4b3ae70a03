#ifndef DFI_KERNEL_C_REAL_H
#define DFI_KERNEL_C_REAL_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "kernel/prototypes.h"

/* The files of this folder are compiled twice: in float they are what runs without SIMD and what the SIMD
 * kernels are compared with, in double they are the oracle of gradient checks. Those that include pixel.h are
 * compiled once more, in float over pixels in bfloat16. */
#if DFI_REAL_DOUBLE
typedef double real;
#define KERNEL(name) dfi_##name##_double
#define REAL(function) function
#else
typedef float real;
#define KERNEL(name) dfi_##name##_c
#define REAL(function) function##f
#endif

#define CONV_BLOCK 8

#endif
