#ifndef DFI_KERNEL_GAUSSIAN_H
#define DFI_KERNEL_GAUSSIAN_H

/* Taps of a Gaussian filter of odd `size`, sigma > 0, that sum to 1; for the kernel `blur`. */
void dfi_gaussian_taps(double *taps, int size, double sigma);

#endif
