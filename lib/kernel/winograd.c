#include "kernel/winograd.h"

#include <math.h>
#include <string.h>

struct points {
    int m, r, zero, pairs;
    double square[DFI_WINOGRAD_PAIRS];
};

static const struct points points[] = {
    { 2, 3, 1, 1, { 1 } },
    { 4, 3, 1, 2, { 0.5, 2 } },
    { 7, 3, 0, 4, { 0.2324 * 0.2324, 0.6762 * 0.6762, 1.1258 * 1.1258, 2.1789 * 2.1789 } },
    { 3, 2, 1, 1, { 1 } },
    { 4, 2, 0, 2, { 0.25, 1.96 } },
    { 7, 2, 1, 3, { 1, 0.5161 * 0.5161, 1.9377 * 1.9377 } },
};

/* The product of (z - square[i]) over all i but `without`. */
static void multiply_out(const struct points *p, int without, double *coefficient)
{
    int degree = 0;
    coefficient[0] = 1;
    for (int i = 0; i < p->pairs; i++) {
        if (i == without)
            continue;
        coefficient[degree + 1] = coefficient[degree];
        for (int k = degree; k > 0; k--)
            coefficient[k] = coefficient[k - 1] - p->square[i] * coefficient[k];
        coefficient[0] *= -p->square[i];
        degree++;
    }
}

/* Row of G for the point x: its powers over the derivative at x of the polynomial with all points as zeros.
 */
static void fill_row(double *row, int r, double x, double derivative)
{
    double power = 1;
    for (int k = 0; k < r; k++, power *= x)
        row[k] = power / derivative;
}

void dfi_winograd_init(struct dfi_winograd *scheme, int m, int r)
{
    const struct points *p = points;
    while (p->m != m || p->r != r)
        p++;
    memset(scheme, 0, sizeof(*scheme));
    scheme->m = m;
    scheme->r = r;
    scheme->n = m + r - 1;
    scheme->zero = p->zero;
    scheme->pairs = p->pairs;
    multiply_out(p, -1, scheme->all);
    if (p->zero)
        fill_row(scheme->g[0], r, 0, scheme->all[0]);
    for (int i = 0; i < p->pairs; i++) {
        const double root = sqrt(p->square[i]);
        double derivative = 2 * root * (p->zero ? root : 1);
        scheme->root[i] = root;
        multiply_out(p, i, scheme->others[i]);
        scheme->power[0][i] = 1;
        for (int k = 1; k < m; k++)
            scheme->power[k][i] = root * scheme->power[k - 1][i];
        for (int k = 0; k < p->pairs; k++)
            if (k != i)
                derivative *= p->square[i] - p->square[k];
        fill_row(scheme->g[p->zero + 2 * i], r, root, derivative);
        fill_row(scheme->g[p->zero + 2 * i + 1], r, -root, p->zero ? derivative : -derivative);
    }
    scheme->g[scheme->n - 1][r - 1] = 1;
}
