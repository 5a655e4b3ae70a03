#include "kernel/gaussian.h"

#include <math.h>

void dfi_gaussian_taps(double *taps, int size, double sigma)
{
    double sum = 0;
    for (int i = 0; i < size; i++) {
        const double x = i - size / 2;
        taps[i] = exp(-0.5 * (x / sigma) * (x / sigma));
        sum += taps[i];
    }
    for (int i = 0; i < size; i++)
        taps[i] /= sum;
}
