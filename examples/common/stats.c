#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

#define SWEEPS 60

/* Mean and covariance (divided by count - 1). */
static void moments(const float *rows, int64_t count, int dim, double *mean, double *cov)
{
    size_t d = (size_t)dim;
    memset(mean, 0, d * sizeof *mean);
    memset(cov, 0, d * d * sizeof *cov);
    for (int64_t n = 0; n < count; n++)
        for (size_t i = 0; i < d; i++)
            mean[i] += rows[(size_t)n * d + i];
    for (size_t i = 0; i < d; i++)
        mean[i] /= (double)count;
    for (int64_t n = 0; n < count; n++) {
        const float *row = rows + (size_t)n * d;
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j <= i; j++)
                cov[i * d + j] += (row[i] - mean[i]) * (row[j] - mean[j]);
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++)
            cov[i * d + j] = cov[j * d + i] = cov[i * d + j] / (double)(count - 1);
}

/* Rotates rows and columns p and q so that a[p][q] becomes 0. */
static void rotate(double *a, double *v, size_t d, size_t p, size_t q)
{
    double theta = (a[q * d + q] - a[p * d + p]) / (2 * a[p * d + q]);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1),
           s = t * c;
    for (size_t k = 0; k < d; k++) {
        double x = a[k * d + p], y = a[k * d + q];
        a[k * d + p] = c * x - s * y;
        a[k * d + q] = s * x + c * y;
    }
    for (size_t k = 0; k < d; k++) {
        double x = a[p * d + k], y = a[q * d + k];
        a[p * d + k] = c * x - s * y;
        a[q * d + k] = s * x + c * y;
    }
    for (size_t k = 0; k < d; k++) {
        double x = v[k * d + p], y = v[k * d + q];
        v[k * d + p] = c * x - s * y;
        v[k * d + q] = s * x + c * y;
    }
}

/* Eigenvalues on the diagonal of `a`, eigenvectors in the columns of `v`: cyclic Jacobi (Golub and Van
 * Loan 8.5). */
static void decompose(double *a, double *v, size_t d)
{
    double all = 0;
    for (size_t i = 0; i < d * d; i++) {
        v[i] = i % (d + 1) == 0;
        all += a[i] * a[i];
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double off = 0;
        for (size_t p = 0; p < d; p++)
            for (size_t q = p + 1; q < d; q++)
                off += a[p * d + q] * a[p * d + q];
        if (off <= 1e-30 * all)
            return;
        for (size_t p = 0; p < d; p++)
            for (size_t q = p + 1; q < d; q++)
                if (a[p * d + q] != 0)
                    rotate(a, v, d, p, q);
    }
}

static void multiply(const double *a, const double *b, double *out, size_t d)
{
    memset(out, 0, d * d * sizeof *out);
    for (size_t i = 0; i < d; i++)
        for (size_t k = 0; k < d; k++)
            for (size_t j = 0; j < d; j++)
                out[i * d + j] += a[i * d + k] * b[k * d + j];
}

/* tr((C1^1/2 C2 C1^1/2)^1/2). Overwrites c1; work has 4 d^2 values. */
static double trace_root(double *c1, const double *c2, double *work, size_t d)
{
    double *v = work, *root = v + d * d, *half = root + d * d, *inner = half + d * d, trace = 0;
    decompose(c1, v, d);
    memset(root, 0, d * d * sizeof *root);
    for (size_t k = 0; k < d; k++) {
        double s = sqrt(fmax(c1[k * d + k], 0));
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < d; j++)
                root[i * d + j] += s * v[i * d + k] * v[j * d + k];
    }
    multiply(root, c2, half, d);
    multiply(half, root, inner, d);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < i; j++)
            inner[i * d + j] = inner[j * d + i] = (inner[i * d + j] + inner[j * d + i]) / 2;
    decompose(inner, v, d);
    for (size_t i = 0; i < d; i++)
        trace += sqrt(fmax(inner[i * d + i], 0));
    return trace;
}

double ex_frechet(const float *a, int64_t a_count, const float *b, int64_t b_count, int dim)
{
    size_t d = (size_t)dim, square = d * d;
    double *block = malloc((6 * square + 2 * d) * sizeof *block);
    if (!block)
        return NAN;
    double *c1 = block, *c2 = c1 + square, *work = c2 + square, *m1 = work + 4 * square, *m2 = m1 + d,
           distance = 0;
    moments(a, a_count, dim, m1, c1);
    moments(b, b_count, dim, m2, c2);
    for (size_t i = 0; i < d; i++)
        distance += (m1[i] - m2[i]) * (m1[i] - m2[i]) + c1[i * d + i] + c2[i * d + i];
    distance -= 2 * trace_root(c1, c2, work, d);
    free(block);
    return distance;
}

double ex_spread(const float *rows, const int32_t *labels, int64_t count, int dim, int classes)
{
    size_t d = (size_t)dim, c = (size_t)classes;
    double *mean = calloc(c * d, sizeof *mean), *members = calloc(c, sizeof *members), sum = NAN;
    if (mean && members) {
        for (int64_t n = 0; n < count; n++) {
            size_t label = (size_t)labels[n];
            members[label]++;
            for (size_t i = 0; i < d; i++)
                mean[label * d + i] += rows[(size_t)n * d + i];
        }
        for (size_t k = 0; k < c * d; k++)
            mean[k] /= fmax(members[k / d], 1);
        sum = 0;
        for (int64_t n = 0; n < count; n++)
            for (size_t i = 0; i < d; i++) {
                double off = rows[(size_t)n * d + i] - mean[(size_t)labels[n] * d + i];
                sum += off * off;
            }
    }
    free(mean);
    free(members);
    return sqrt(sum / (double)count);
}
