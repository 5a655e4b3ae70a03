/* Winograd's transforms between pixels and values. */

#include "kernel/c/winograd.h"

#include "kernel/c/activation.h"
#include "kernel/c/pixel.h"

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

/* Element of the first value of a tile. */
static ptrdiff_t place_of(const struct dfi_winograd_args *args, int index)
{
    return index / DFI_WINOGRAD_TILES * args->group + index % DFI_WINOGRAD_TILES * args->tile;
}

/* Value `at` elements behind the first one of a tile. */
static void store_value(const struct dfi_winograd_args *args, int index, ptrdiff_t at, real value)
{
    uint16_t *narrow = args->values, *pair = narrow + 2 * (index / 2 * args->tile + at);
    switch (args->store) {
    case DFI_WINOGRAD_FLOATS: ((real *)args->values)[place_of(args, index) + at] = value; break;
    case DFI_WINOGRAD_BF16: narrow[place_of(args, index) + at] = dfi_bf16_round((float)value); break;
    case DFI_WINOGRAD_TWINS:
        pair[index % 2] = dfi_bf16_round((float)value);
        if (index == args->count - 1 && index % 2 == 0)
            pair[1] = 0;
        break;
    }
}

/* Pixel (i, j) of a tile, or NULL outside the image. */
static pixel *pixel_of(const struct dfi_winograd_args *args, const struct dfi_tiles *t, int index, int i,
                       int j)
{
    const int number = args->first + index, n = number / t->per_image, at = number % t->per_image;
    const int y = at / t->across * args->scheme->m + t->y0 + i,
              x = at % t->across * args->scheme->m + t->x0 + j;
    if (y < 0 || y >= t->h || x < 0 || x >= t->w)
        return NULL;
    return (pixel *)t->data + n % t->images * t->image + y * t->row + x * t->pixel;
}

static void gather(const struct dfi_winograd_args *args, transform t, int size)
{
    const int n = args->scheme->n;
    for (int index = 0; index < args->count; index++)
        for (int c = 0; c < args->channels; c++) {
            real x[N][N];
            for (int i = 0; i < size; i++)
                for (int j = 0; j < size; j++) {
                    const pixel *at = pixel_of(args, &args->tiles, index, i, j);
                    x[i][j] = at ? get(at[c]) : 0;
                }
            transform_2d(args->scheme, t, size, n, x);
            for (int p = 0; p < n * n; p++)
                store_value(args, index, p * args->position + dfi_winograd_channel(args, c), x[p / n][p % n]);
        }
}

void PIXEL_KERNEL(winograd_input)(const struct dfi_winograd_args *args)
{
    gather(args, input_1d, args->scheme->n);
}

void PIXEL_KERNEL(winograd_gradient)(const struct dfi_winograd_args *args)
{
    gather(args, gradient_1d, args->scheme->m);
}

void PIXEL_KERNEL(winograd_output)(const struct dfi_winograd_args *args)
{
    const int n = args->scheme->n, m = args->scheme->m;
    const real *bias = args->bias, *scale = args->scale;
    for (int index = 0; index < args->count; index++)
        for (int c = 0; c < args->channels; c++) {
            real x[N][N];
            for (int p = 0; p < n * n; p++)
                x[p / n][p % n] = ((const real *)
                                       args->values)[place_of(args, index) + p * args->position + c];
            transform_2d(args->scheme, output_1d, n, m, x);
            for (int i = 0; i < m; i++)
                for (int j = 0; j < m; j++) {
                    pixel *at = pixel_of(args, &args->tiles, index, i, j);
                    if (!at)
                        continue;
                    const real base = args->base.data ? get(pixel_of(args, &args->base, index, i, j)[c]) : 0;
                    const real value = (scale ? scale[c] : 1) * (x[i][j] + base) + (bias ? bias[c] : 0);
                    at[c] = put(act_value(args->act, value));
                }
        }
}
