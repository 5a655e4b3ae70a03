#ifndef DFI_KERNEL_WINOGRAD_H
#define DFI_KERNEL_WINOGRAD_H

/* Winograd's minimal filtering F(m x m, r x r): Y = A^T [(G g G^T) . (B^T d B)] A for n x n input pixels d,
 * n = m + r - 1 (S. Winograd, Arithmetic Complexity of Computations, 1980; A. Lavin and S. Gray, Fast
 * Algorithms for Convolutional Neural Networks, 2015, section 4), from polynomials through the points
 * 0 (if `zero`), +root[0], -root[0], +root[1], ..., infinity, in this order. Symmetric points halve the work:
 * both rows of a pair come from the same even and odd part. */

#define DFI_WINOGRAD_N 9 /* largest n */
#define DFI_WINOGRAD_M 7
#define DFI_WINOGRAD_R 3
#define DFI_WINOGRAD_PAIRS 4

struct dfi_winograd {
    int m, r, n, zero, pairs;
    double root[DFI_WINOGRAD_PAIRS];
    /* Coefficients by rising powers of z = x^2 of the product of (z - root^2) over all pairs, and over all
     * pairs but one; the highest is 1. */
    double all[DFI_WINOGRAD_PAIRS + 1], others[DFI_WINOGRAD_PAIRS][DFI_WINOGRAD_PAIRS];
    double power[DFI_WINOGRAD_M][DFI_WINOGRAD_PAIRS]; /* root^k */
    double g[DFI_WINOGRAD_N][DFI_WINOGRAD_R];         /* with the scale of the interpolation */
};

/* Points that keep the rounding error small (doc/results/README.md); m, r of (2, 3), (4, 3), (7, 3), (3, 2),
 * (4, 2), (7, 2). */
void dfi_winograd_init(struct dfi_winograd *scheme, int m, int r);

#endif
