#include "kernel/gaussian.h"

#include <math.h>

#include "base/float_mode.h"

void dfi_gaussian_taps(double *taps, int size, double sigma)
{
    double sum = 0;
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    for (int i = 0; i < size; i++) {
        const double x = i - size / 2;
        taps[i] = exp(-0.5 * (x / sigma) * (x / sigma));
        sum += taps[i];
    }
    for (int i = 0; i < size; i++)
        taps[i] /= sum;
    dfi_float_leave(&mode);
}
