#include "base/float_mode.h"

#if defined(__SSE2__)
#include <xmmintrin.h>

static void flush_denormals(void)
{
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* FTZ and DAZ */
}

#elif defined(__aarch64__)

static void flush_denormals(void)
{
    unsigned long control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    control |= 1ul << 24; /* FZ */
    __asm__ volatile("msr fpcr, %0" : : "r"(control));
}

#else

static void flush_denormals(void)
{
}

#endif

void dfi_float_enter(struct dfi_float_mode *saved, int flush)
{
    fegetenv(&saved->environment);
    fesetenv(FE_DFL_ENV);
    if (flush)
        flush_denormals();
}

void dfi_float_leave(const struct dfi_float_mode *saved)
{
    fesetenv(&saved->environment);
}
