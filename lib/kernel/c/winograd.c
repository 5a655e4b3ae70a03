#include "kernel/c/activation.h"
#include "kernel/winograd.h"

#define N DFI_WINOGRAD_N

typedef void (*transform)(const struct dfi_winograd *s, const real *x, real *y);

/* B^T: n to n. */
static void input_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    real first = 0, last = 0;
    for (int k = 0; k <= s->pairs; k++) {
        first += (real)s->all[k] * x[2 * k];
        last += (real)s->all[k] * x[2 * k + s->zero];
    }
    if (s->zero)
        y[0] = first;
    y[s->n - 1] = last;
    for (int i = 0; i < s->pairs; i++) {
        real even = 0, odd = 0;
        for (int k = 0; k < s->pairs; k++) {
            even += (real)s->others[i][k] * x[2 * k + s->zero + 1];
            odd += (real)s->others[i][k] * x[2 * k + s->zero];
        }
        y[s->zero + 2 * i] = even + (real)s->root[i] * odd;
        y[s->zero + 2 * i + 1] = even - (real)s->root[i] * odd;
    }
}

/* A^T: n to m. */
static void output_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    for (int k = 0; k < s->m; k++) {
        y[k] = (k == 0 && s->zero ? x[0] : 0) + (k == s->m - 1 ? x[s->n - 1] : 0);
        for (int i = 0; i < s->pairs; i++) {
            const real plus = x[s->zero + 2 * i], minus = x[s->zero + 2 * i + 1];
            y[k] += (real)s->power[k][i] * (k % 2 ? plus - minus : plus + minus);
        }
    }
}

/* A: m to n. */
static void gradient_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    if (s->zero)
        y[0] = x[0];
    y[s->n - 1] = x[s->m - 1];
    for (int i = 0; i < s->pairs; i++) {
        real even = 0, odd = 0;
        for (int k = 0; k < s->m; k++)
            *(k % 2 ? &odd : &even) += (real)s->power[k][i] * x[k];
        y[s->zero + 2 * i] = even + odd;
        y[s->zero + 2 * i + 1] = even - odd;
    }
}

/* G: r to n. */
static void weights_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    for (int i = 0; i < s->n; i++) {
        y[i] = 0;
        for (int k = 0; k < s->r; k++)
            y[i] += (real)s->g[i][k] * x[k];
    }
}

/* G^T: n to r. */
static void weights_back_1d(const struct dfi_winograd *s, const real *x, real *y)
{
    for (int k = 0; k < s->r; k++) {
        y[k] = 0;
        for (int i = 0; i < s->n; i++)
            y[k] += (real)s->g[i][k] * x[i];
    }
}

/* Columns, then rows, of an a x a square: b x b. */
static void transform_2d(const struct dfi_winograd *s, transform t, int a, int b, real x[N][N])
{
    real column[N], made[N] = { 0 }, half[N][N];
    for (int j = 0; j < a; j++) {
        for (int i = 0; i < a; i++)
            column[i] = x[i][j];
        t(s, column, made);
        for (int i = 0; i < b; i++)
            half[i][j] = made[i];
    }
    for (int i = 0; i < b; i++)
        t(s, half[i], x[i]);
}

static real *values_of(const struct dfi_winograd_args *args, int index)
{
    return (real *)args->values + index / DFI_WINOGRAD_TILES * args->group +
           index % DFI_WINOGRAD_TILES * args->tile;
}

/* Pixel (i, j) of a tile, or NULL outside the image. */
static real *pixel_of(const struct dfi_winograd_args *args, int index, int i, int j)
{
    const struct dfi_tiles *t = &args->tiles;
    const int number = args->first + index, n = number / t->per_image, at = number % t->per_image;
    const int y = at / t->across * args->scheme->m + t->y0 + i,
              x = at % t->across * args->scheme->m + t->x0 + j;
    if (y < 0 || y >= t->h || x < 0 || x >= t->w)
        return NULL;
    return (real *)t->data + n % t->images * t->image + y * t->row + x * t->pixel;
}

static void gather(const struct dfi_winograd_args *args, transform t, int size)
{
    const int n = args->scheme->n;
    for (int index = 0; index < args->count; index++)
        for (int c = 0; c < args->channels; c++) {
            real x[N][N];
            for (int i = 0; i < size; i++)
                for (int j = 0; j < size; j++) {
                    const real *pixel = pixel_of(args, index, i, j);
                    x[i][j] = pixel ? pixel[c] : 0;
                }
            transform_2d(args->scheme, t, size, n, x);
            for (int p = 0; p < n * n; p++)
                values_of(args, index)[p * args->position + c] = x[p / n][p % n];
        }
}

void KERNEL(winograd_input)(const struct dfi_winograd_args *args)
{
    gather(args, input_1d, args->scheme->n);
}

void KERNEL(winograd_gradient)(const struct dfi_winograd_args *args)
{
    gather(args, gradient_1d, args->scheme->m);
}

void KERNEL(winograd_output)(const struct dfi_winograd_args *args)
{
    const int n = args->scheme->n, m = args->scheme->m;
    const real *bias = args->bias, *scale = args->scale;
    for (int index = 0; index < args->count; index++)
        for (int c = 0; c < args->channels; c++) {
            real x[N][N];
            for (int p = 0; p < n * n; p++)
                x[p / n][p % n] = values_of(args, index)[p * args->position + c];
            transform_2d(args->scheme, output_1d, n, m, x);
            for (int i = 0; i < m; i++)
                for (int j = 0; j < m; j++) {
                    real *pixel = pixel_of(args, index, i, j);
                    if (pixel)
                        pixel[c] = act_value(args->act,
                                             (scale ? scale[c] : 1) * x[i][j] + (bias ? bias[c] : 0)) +
                                   (args->accumulate ? pixel[c] : 0);
                }
        }
}

void KERNEL(winograd_weights)(const struct dfi_winograd *scheme, const void *taps, ptrdiff_t tap,
                              void *values, ptrdiff_t position, size_t count)
{
    const int n = scheme->n, r = scheme->r;
    for (size_t k = 0; k < count; k++) {
        real x[N][N];
        for (int t = 0; t < r * r; t++)
            x[t / r][t % r] = ((const real *)taps)[t * tap + (ptrdiff_t)k];
        transform_2d(scheme, weights_1d, r, n, x);
        for (int p = 0; p < n * n; p++)
            ((real *)values)[p * position + (ptrdiff_t)k] = x[p / n][p % n];
    }
}

void KERNEL(winograd_weights_back)(const struct dfi_winograd *scheme, const void *values, ptrdiff_t position,
                                   void *taps, const int *number, ptrdiff_t tap, size_t count)
{
    const int n = scheme->n, r = scheme->r;
    for (size_t k = 0; k < count; k++) {
        real x[N][N];
        for (int p = 0; p < n * n; p++)
            x[p / n][p % n] = ((const real *)values)[p * position + (ptrdiff_t)k];
        transform_2d(scheme, weights_back_1d, n, r, x);
        for (int t = 0; t < r * r; t++)
            ((real *)taps)[number[t] * tap + (ptrdiff_t)k] += x[t / r][t % r];
    }
}

void KERNEL(winograd_multiply)(const struct dfi_winograd_multiply_args *args)
{
    for (int p = 0; p < args->positions; p++)
        for (int row = 0; row < args->groups * DFI_WINOGRAD_TILES; row++) {
            const int group = row / DFI_WINOGRAD_TILES, tile = row % DFI_WINOGRAD_TILES;
            const real *a = (const real *)args->a + group * args->a_group + p * args->a_position +
                            tile * args->k;
            const real *b = (const real *)args->b + p * args->b_position;
            real *c = (real *)args->c + group * args->c_group + p * args->c_position + tile * args->width;
            memset(c, 0, (size_t)args->width * sizeof(real));
            for (int k = 0; k < args->k; k++)
                for (int j = 0; j < args->width; j++)
                    c[j] += a[k] * b[k * args->width + j];
        }
}

void KERNEL(winograd_outer)(const struct dfi_winograd_outer_args *args)
{
    for (int p = 0; p < args->positions; p++) {
        const real *a = (const real *)args->a + p * args->a_position;
        const real *b = (const real *)args->b + p * args->b_position;
        real *c = (real *)args->c + p * args->c_position;
        for (int i = 0; !args->accumulate && i < args->rows; i++)
            memset(c + i * args->ldc, 0, (size_t)args->width * sizeof(real));
        for (int t = 0; t < args->tiles; t++)
            for (int i = 0; i < args->rows; i++)
                for (int j = 0; j < args->width; j++)
                    c[i * args->ldc + j] += a[t * args->lda + i] * b[t * args->ldb + j];
    }
}
