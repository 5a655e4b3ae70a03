/* Winograd's transforms between pixels and values, vectors along the channels. */

#include "kernel/x86/winograd.h"

#include "kernel/x86/activation.h"
#ifdef __AVX512BF16__
#include "kernel/x86/pair.h"
#endif
#include "kernel/x86/pixel.h"

/* The scheme in float. */
struct numbers {
    float root[PAIRS], all[PAIRS + 1], others[PAIRS][PAIRS], power[M][PAIRS];
};

static void round_numbers(const struct dfi_winograd *s, struct numbers *c)
{
    to_float(s->root, PAIRS, c->root);
    to_float(s->all, PAIRS + 1, c->all);
    to_float(s->others[0], PAIRS * PAIRS, c->others[0]);
    to_float(s->power[0], M * PAIRS, c->power[0]);
}

/* B^T. The highest coefficient of each polynomial is 1. */
DFI_INLINE void input_1d(const struct numbers *c, const int has_zero, const int pairs, const vec *x, vec *y)
{
    const int n = has_zero + 2 * pairs + 1;
    if (has_zero) {
        vec sum = x[2 * pairs];
#pragma GCC unroll 4
        for (int k = pairs - 1; k >= 0; k--)
            sum = madd(set(c->all[k]), x[2 * k], sum);
        y[0] = sum;
    }
    vec sum = x[n - 1];
#pragma GCC unroll 4
    for (int k = pairs - 1; k >= 0; k--)
        sum = madd(set(c->all[k]), x[2 * k + has_zero], sum);
    y[n - 1] = sum;
#pragma GCC unroll 4
    for (int i = 0; i < pairs; i++) {
        vec even = x[2 * pairs + has_zero - 1], odd = x[2 * pairs + has_zero - 2];
#pragma GCC unroll 4
        for (int k = pairs - 2; k >= 0; k--) {
            even = madd(set(c->others[i][k]), x[2 * k + has_zero + 1], even);
            odd = madd(set(c->others[i][k]), x[2 * k + has_zero], odd);
        }
        y[has_zero + 2 * i] = madd(set(c->root[i]), odd, even);
        y[has_zero + 2 * i + 1] = nmadd(set(c->root[i]), odd, even);
    }
}

/* A^T. */
DFI_INLINE void output_1d(const struct numbers *c, const int has_zero, const int pairs, const int m,
                          const vec *x, vec *y)
{
    vec plus[PAIRS], minus[PAIRS];
#pragma GCC unroll 4
    for (int i = 0; i < pairs; i++) {
        plus[i] = add(x[has_zero + 2 * i], x[has_zero + 2 * i + 1]);
        minus[i] = subtract(x[has_zero + 2 * i], x[has_zero + 2 * i + 1]);
    }
    y[0] = has_zero ? add(x[0], plus[0]) : plus[0];
#pragma GCC unroll 4
    for (int i = 1; i < pairs; i++)
        y[0] = add(y[0], plus[i]);
#pragma GCC unroll 7
    for (int k = 1; k < m; k++) {
        const vec *part = k % 2 ? minus : plus;
        y[k] = k == m - 1 ? madd(set(c->power[k][0]), part[0], x[has_zero + 2 * pairs])
                          : multiply(set(c->power[k][0]), part[0]);
#pragma GCC unroll 4
        for (int i = 1; i < pairs; i++)
            y[k] = madd(set(c->power[k][i]), part[i], y[k]);
    }
}

/* A. */
DFI_INLINE void gradient_1d(const struct numbers *c, const int has_zero, const int pairs, const int m,
                            const vec *x, vec *y)
{
    if (has_zero)
        y[0] = x[0];
    y[has_zero + 2 * pairs] = x[m - 1];
#pragma GCC unroll 4
    for (int i = 0; i < pairs; i++) {
        vec even = x[0], odd = multiply(set(c->power[1][i]), x[1]);
#pragma GCC unroll 7
        for (int k = 2; k < m; k++)
            if (k % 2)
                odd = madd(set(c->power[k][i]), x[k], odd);
            else
                even = madd(set(c->power[k][i]), x[k], even);
        y[has_zero + 2 * i] = add(even, odd);
        y[has_zero + 2 * i + 1] = subtract(even, odd);
    }
}

/* Element of the first value of a tile. */
static ptrdiff_t place_of(const struct dfi_winograd_args *args, int index)
{
    return index / DFI_WINOGRAD_TILES * args->group + index % DFI_WINOGRAD_TILES * args->tile;
}

/* Where a tile lies: its first pixel, and which of its rows and columns are inside the image. */
struct place {
    pixel *first;
    int top, bottom, left, right;
};

static struct place find_tile(const struct dfi_winograd_args *args, const struct dfi_tiles *t, int index,
                              int size)
{
    const int number = args->first + index, n = number / t->per_image, at = number % t->per_image;
    const int y = at / t->across * args->scheme->m + t->y0, x = at % t->across * args->scheme->m + t->x0;
    return (struct place) { (pixel *)t->data + n % t->images * t->image + y * t->row + x * t->pixel,
                            y < 0 ? -y : 0, t->h - y < size ? t->h - y : size, x < 0 ? -x : 0,
                            t->w - x < size ? t->w - x : size };
}

static int is_inside(const struct place *place, int size)
{
    return place->top == 0 && place->left == 0 && place->bottom == size && place->right == size;
}

enum direction { INPUT, GRADIENT };

/* The pixels of column j, LANES channels each: zero outside the image. */
DFI_INLINE void load_column(const struct dfi_winograd_args *args, const struct place *place, int channel,
                            int j, const int size, const int whole, vec *x)
{
    const pixel *at = place->first + j * args->tiles.pixel + channel;
    const int column = j >= place->left && j < place->right;
#pragma GCC unroll 9
    for (int i = 0; i < size; i++)
        if (whole)
            x[i] = load_pixel(at + i * args->tiles.row);
        else if (column && i >= place->top && i < place->bottom)
            x[i] = load_pixel_upto(at + i * args->tiles.row, args->channels - channel);
        else
            x[i] = zero();
}

/* Values for products of bfloat16 only exist where there are such products. */
DFI_INLINE void store_value(void *values, enum dfi_winograd_store type, ptrdiff_t at, int channels, vec value)
{
#ifdef __AVX512BF16__
    if (type != DFI_WINOGRAD_FLOATS) {
        store_bf16_upto((uint16_t *)values + at, channels, value);
        return;
    }
#else
    (void)type;
#endif
    store_upto((float *)values + at, channels, value);
}

/* One tile, LANES channels: its values go to args->values, or, unless NULL, to `kept`. All but the first
 * arguments are constants where this is inlined; `whole` if all pixels are inside and all channels exist. */
DFI_INLINE void gather_vector(const struct dfi_winograd_args *args, const struct numbers *c,
                              const struct place *place, ptrdiff_t values, float *kept, int channel,
                              const enum direction direction, const int has_zero, const int pairs,
                              const int m, const int size, const int whole)
{
    const int n = has_zero + 2 * pairs + 1, left = whole ? LANES : args->channels - channel;
    vec half[N][N], x[N], y[N];
    /* Copies: a vector that is stored might be part of the arguments, for all that the compiler knows. */
    void *const to = args->values;
    const enum dfi_winograd_store type = (enum dfi_winograd_store)args->store;
    const ptrdiff_t position = args->position;
    for (int j = 0; j < size; j++) {
        load_column(args, place, channel, j, size, whole, x);
        if (direction == INPUT)
            input_1d(c, has_zero, pairs, x, y);
        else
            gradient_1d(c, has_zero, pairs, m, x, y);
#pragma GCC unroll 9
        for (int i = 0; i < n; i++)
            half[i][j] = y[i];
    }
    for (int i = 0; i < n; i++) {
        if (direction == INPUT)
            input_1d(c, has_zero, pairs, half[i], y);
        else
            gradient_1d(c, has_zero, pairs, m, half[i], y);
        const ptrdiff_t at = values + i * n * position;
#pragma GCC unroll 9
        for (int j = 0; j < n; j++)
            if (kept)
                store(kept + (i * n + j) * LANES, y[j]);
            else
                store_value(to, type, at + j * position, left, y[j]);
    }
}

#ifdef __AVX512BF16__
#define PAIRED_VALUES 36 /* of a tile of 4 x 4; larger ones lose too much in bfloat16 */

/* Tiles two by two: those of one channel vector are kept until both are made. */
DFI_INLINE void gather_pairs(const struct dfi_winograd_args *args, const struct numbers *c,
                             const enum direction direction, const int has_zero, const int pairs, const int m,
                             const int size)
{
    const int n = has_zero + 2 * pairs + 1;
    float kept[2][PAIRED_VALUES * LANES];
    for (int index = 0; index < args->count; index += 2)
        for (int channel = 0; channel < args->channels; channel += LANES) {
            const int left = args->channels - channel;
            const mask full = first_lanes(left < LANES ? left : LANES);
            for (int i = 0; i < 2 && index + i < args->count; i++) {
                const struct place place = find_tile(args, &args->tiles, index + i, size);
                if (is_inside(&place, size) && left >= LANES)
                    gather_vector(args, c, &place, 0, kept[i], channel, direction, has_zero, pairs, m, size,
                                  1);
                else
                    gather_vector(args, c, &place, 0, kept[i], channel, direction, has_zero, pairs, m, size,
                                  0);
            }
            const ptrdiff_t first = index / 2 * args->tile + dfi_winograd_channel(args, channel);
            for (int p = 0; p < n * n; p++)
                store_pair((uint16_t *)args->values + 2 * (first + p * args->position), full,
                           load(kept[0] + p * LANES),
                           index + 1 < args->count ? load(kept[1] + p * LANES) : zero());
        }
}
#endif

DFI_INLINE void gather(const struct dfi_winograd_args *args, const enum direction direction,
                       const int has_zero, const int pairs, const int m, const int size)
{
    struct numbers c;
    round_numbers(args->scheme, &c);
#ifdef __AVX512BF16__
    if (m <= 4 && args->store == DFI_WINOGRAD_TWINS) {
        gather_pairs(args, &c, direction, has_zero, pairs, m, size);
        return;
    }
#endif
    for (int index = 0; index < args->count; index++) {
        const struct place place = find_tile(args, &args->tiles, index, size);
        const int inside = is_inside(&place, size);
        const ptrdiff_t values = place_of(args, index);
        for (int channel = 0; channel < args->channels; channel += LANES) {
            const ptrdiff_t first = values + dfi_winograd_channel(args, channel);
            if (inside && channel + LANES <= args->channels)
                gather_vector(args, &c, &place, first, NULL, channel, direction, has_zero, pairs, m, size, 1);
            else
                gather_vector(args, &c, &place, first, NULL, channel, direction, has_zero, pairs, m, size, 0);
        }
    }
}

/* A function of its own: the tables of an activation would push the transform's values out of the registers.
 */
static DFI_NOINLINE void activate_row(vec *y, int n, enum dfi_act act)
{
    int i = 0;
#define SOME(ACT) activate_some(y + i, MOST_CHAINS, ACT)
#define ONE(ACT) activate_some(y + i, 1, ACT)
    for (; i + MOST_CHAINS <= n; i += MOST_CHAINS)
        FOR_EACH_ACT(act, SOME)
    for (; i < n; i++)
        FOR_EACH_ACT(act, ONE)
}

DFI_INLINE void scatter_vector(const struct dfi_winograd_args *args, const struct numbers *c,
                               const struct place *place, const pixel *base, const float *values, int channel,
                               const int has_zero, const int pairs, const int m)
{
    const int n = has_zero + 2 * pairs + 1, left = args->channels - channel;
    const vec bias = args->bias ? load_upto((const float *)args->bias + channel, left) : zero();
    const vec scale = args->scale ? load_upto((const float *)args->scale + channel, left) : set(1);
    const ptrdiff_t position = args->position;
    vec half[M][N];
    for (int j = 0; j < n; j++) {
        vec x[N], y[M];
#pragma GCC unroll 9
        for (int i = 0; i < n; i++)
            x[i] = load_upto(values + (i * n + j) * position + channel, left);
        output_1d(c, has_zero, pairs, m, x, y);
#pragma GCC unroll 7
        for (int i = 0; i < m; i++)
            half[i][j] = y[i];
    }
    for (int i = 0; i < place->bottom; i++) {
        pixel *at = place->first + i * args->tiles.row + channel;
        vec y[M];
        output_1d(c, has_zero, pairs, m, half[i], y);
#pragma GCC unroll 7
        for (int k = 0; base && k < m; k++)
            if (k < place->right)
                y[k] = add(y[k],
                           load_pixel_upto(base + i * args->base.row + k * args->base.pixel + channel, left));
#pragma GCC unroll 7
        for (int k = 0; k < m; k++)
            y[k] = madd(y[k], scale, bias);
        if (args->act != DFI_ACT_NONE) {
            vec kept[M]; /* y itself stays in registers */
            memcpy(kept, y, (size_t)m * sizeof(vec));
            activate_row(kept, m, args->act);
            memcpy(y, kept, (size_t)m * sizeof(vec));
        }
#pragma GCC unroll 7
        for (int j = 0; j < m; j++, at += args->tiles.pixel) {
            if (j >= place->right)
                break;
            store_pixel_upto(at, left, y[j]);
        }
    }
}

DFI_INLINE void scatter(const struct dfi_winograd_args *args, const int has_zero, const int pairs,
                        const int m)
{
    struct numbers c;
    round_numbers(args->scheme, &c);
    for (int index = 0; index < args->count; index++) {
        const struct place place = find_tile(args, &args->tiles, index, m);
        const pixel *base = args->base.data ? find_tile(args, &args->base, index, m).first : NULL;
        for (int channel = 0; channel < args->channels; channel += LANES)
            scatter_vector(args, &c, &place, base, (const float *)args->values + place_of(args, index),
                           channel, has_zero, pairs, m);
    }
}

#define VERSIONS(name, m, r, has_zero, pairs) \
    static DFI_NOINLINE void input_##name(const struct dfi_winograd_args *args) \
    { \
        gather(args, INPUT, has_zero, pairs, m, m + r - 1); \
    } \
    static DFI_NOINLINE void gradient_##name(const struct dfi_winograd_args *args) \
    { \
        gather(args, GRADIENT, has_zero, pairs, m, m); \
    } \
    static DFI_NOINLINE void output_##name(const struct dfi_winograd_args *args) \
    { \
        scatter(args, has_zero, pairs, m); \
    }
SCHEMES(VERSIONS)

void PIXEL_KERNEL(winograd_input)(const struct dfi_winograd_args *args)
{
#define RUN(name) input_##name
    switch (SCHEME_NUMBER(args->scheme)) {
        SCHEMES(CASE)
    }
#undef RUN
}

void PIXEL_KERNEL(winograd_gradient)(const struct dfi_winograd_args *args)
{
#define RUN(name) gradient_##name
    switch (SCHEME_NUMBER(args->scheme)) {
        SCHEMES(CASE)
    }
#undef RUN
}

void PIXEL_KERNEL(winograd_output)(const struct dfi_winograd_args *args)
{
#define RUN(name) output_##name
    switch (SCHEME_NUMBER(args->scheme)) {
        SCHEMES(CASE)
    }
#undef RUN
}
