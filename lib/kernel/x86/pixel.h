#ifndef DFI_KERNEL_X86_PIXEL_H
#define DFI_KERNEL_X86_PIXEL_H

#include "kernel/x86/bf16.h"

/* Values of pixels as they are stored: the files that include this are compiled once more for bfloat16. */

#if DFI_PIXELS_BF16

#define JOIN(a, b) a##b
#define WITH_SUFFIX(name) JOIN(name, _bf16)
#define PIXEL_KERNEL(name) WITH_SUFFIX(KERNEL(name))
typedef uint16_t pixel;

DFI_INLINE vec load_pixel(const pixel *p)
{
    return load_bf16(p);
}
DFI_INLINE vec load_pixel_upto(const pixel *p, int n)
{
    return load_bf16_upto(p, n);
}
DFI_INLINE void store_pixel(pixel *p, vec a)
{
    store_bf16(p, a);
}
DFI_INLINE void store_pixel_upto(pixel *p, int n, vec a)
{
    store_bf16_upto(p, n, a);
}

#else

#define PIXEL_KERNEL(name) KERNEL(name)
typedef float pixel;

DFI_INLINE vec load_pixel(const pixel *p)
{
    return load(p);
}
DFI_INLINE vec load_pixel_upto(const pixel *p, int n)
{
    return load_upto(p, n);
}
DFI_INLINE void store_pixel(pixel *p, vec a)
{
    store(p, a);
}
DFI_INLINE void store_pixel_upto(pixel *p, int n, vec a)
{
    store_upto(p, n, a);
}

#endif

#endif
