#ifndef EX_STATS_H
#define EX_STATS_H

#include <stdint.h>

/* Frechet distance of two sets of features, seen as Gaussians (Dowson and Landau 1982; Heusel et al. 2017):
 * |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2), in double. Rows of `dim` values, at least 2 each.
 * NaN when there is no memory. */
double ex_frechet(const float *a, int64_t a_count, const float *b, int64_t b_count, int dim);

/* Root of the mean squared distance of rows to the mean row of their class: how much the members of a class
 * differ. Classes are 0 .. classes - 1. NaN when there is no memory. */
double ex_spread(const float *rows, const int32_t *labels, int64_t count, int dim, int classes);

#endif
