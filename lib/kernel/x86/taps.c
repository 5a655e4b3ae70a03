#include "kernel/x86/tiles.h"

/* Convolution as sums over taps, one register tile at a time: up to TILE pixels x 2 vectors of output channels. */

struct tile {
    const float *x0, *x1; /* first pixel; first pixel of the second row where the tile has two */
    float *y0, *y1;
};

struct block {
    const struct dfi_taps_args *args;
    const struct runs *runs;
    const float *w;
    vec bias[2];
    vec_mask mask[2];
    int whole; /* all channels of the vectors exist */
};

DFI_INLINE vec load_y(const struct block *block, const float *y, int v)
{
    return block->whole ? vec_load(y + v * VEC) : vec_load_some(y + v * VEC, block->mask[v]);
}

DFI_INLINE void store_y(const struct block *block, float *y, int v, vec a)
{
    if (block->whole)
        vec_store(y + v * VEC, a);
    else
        vec_store_some(y + v * VEC, a, block->mask[v]);
}

/* `pixels` pixels in each of `rows` rows, `vectors` vectors: all constants where this is inlined. */
DFI_INLINE void run_tile(const struct block *block, const struct tile *tile, const int pixels, const int rows,
                         const int vectors)
{
    const struct dfi_taps_args *args = block->args;
    const ptrdiff_t x_pixel = args->x_pixel, y_pixel = args->y_pixel;
    const float *w = block->w;
    vec sum[2 * TILE][2];
    DFI_UNROLL
    for (int p = 0; p < pixels * rows; p++) {
        float *y = p < pixels ? tile->y0 + p * y_pixel : tile->y1 + (p - pixels) * y_pixel;
        DFI_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[p][v] = block->bias[v];
            _mm_prefetch((const char *)(y + v * VEC), _MM_HINT_T0);
        }
    }
    if (args->accumulate) {
        DFI_UNROLL
        for (int p = 0; p < pixels * rows; p++) {
            const float *y = p < pixels ? tile->y0 + p * y_pixel : tile->y1 + (p - pixels) * y_pixel;
            DFI_UNROLL
            for (int v = 0; v < vectors; v++)
                sum[p][v] = vec_add(sum[p][v], load_y(block, y, v));
        }
    }
    for (int r = 0; r < block->runs->count; r++) {
        const float *x0 = tile->x0 + block->runs->start[r];
        const float *x1 = tile->x1 + block->runs->start[r];
        for (int i = block->runs->length[r]; i > 0; i--, x0++, x1++, w += 2 * VEC) {
            vec w_value[2];
            DFI_UNROLL
            for (int v = 0; v < vectors; v++)
                w_value[v] = vec_load(w + v * VEC);
            DFI_UNROLL
            for (int p = 0; p < pixels * rows; p++) {
                const vec value = vec_all(p < pixels ? x0[p * x_pixel] : x1[(p - pixels) * x_pixel]);
                DFI_UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[p][v] = vec_fma(value, w_value[v], sum[p][v]);
            }
        }
    }
    DFI_UNROLL
    for (int p = 0; p < pixels * rows; p++) {
        float *y = p < pixels ? tile->y0 + p * y_pixel : tile->y1 + (p - pixels) * y_pixel;
        DFI_UNROLL
        for (int v = 0; v < vectors; v++)
            store_y(block, y, v, sum[p][v]);
    }
}

#define DEFINE_TILE(pixels, rows) \
    DFI_NOINLINE static void tile_##pixels##_##rows##_2(const struct block *block, const struct tile *tile) \
    { \
        run_tile(block, tile, pixels, rows, 2); \
    } \
    DFI_NOINLINE static void tile_##pixels##_##rows##_1(const struct block *block, const struct tile *tile) \
    { \
        run_tile(block, tile, pixels, rows, 1); \
    }
FOR_TILES_OF_ONE_ROW(DEFINE_TILE)
FOR_TILES_OF_TWO_ROWS(DEFINE_TILE)

typedef void (*tile_function)(const struct block *block, const struct tile *tile);
#define TILE_ENTRY(pixels, rows) [pixels] = { tile_##pixels##_##rows##_1, tile_##pixels##_##rows##_2 },
static const tile_function one_row[TILE + 1][2] = { FOR_TILES_OF_ONE_ROW(TILE_ENTRY) };
static const tile_function two_rows[TILE / 2 + 1][2] = { FOR_TILES_OF_TWO_ROWS(TILE_ENTRY) };

/* Rows in pairs: a segment of at most half a tile takes both rows at once, which reads the weights half as often. */
static void run_rows(const struct block *block, int vectors, int channel)
{
    const struct dfi_taps_args *args = block->args;
    const int segments = (args->width + TILE - 1) / TILE;
    for (int row = 0; row < args->rows; row += 2)
        for (int s = 0; s < segments; s++) {
            const int first = args->width * s / segments, end = args->width * (s + 1) / segments;
            const float *x = (const float *)args->x + row * args->x_row + first * args->x_pixel;
            float *y = (float *)args->y + row * args->y_row + first * args->y_pixel + channel;
            struct tile tile = { x, x + args->x_row, y, y + args->y_row };
            const int single = row + 1 == args->rows;
            if (!single && 2 * (end - first) <= TILE) {
                two_rows[end - first][vectors - 1](block, &tile);
                continue;
            }
            one_row[end - first][vectors - 1](block, &tile);
            tile.x0 = tile.x1;
            tile.y0 = tile.y1;
            if (!single)
                one_row[end - first][vectors - 1](block, &tile);
        }
}

static void run_block(struct block *block, int channel)
{
    const struct dfi_taps_args *args = block->args;
    const int channels = args->cout - channel < 2 * VEC ? args->cout - channel : 2 * VEC;
    const int vectors = channels > VEC ? 2 : 1;
    block->whole = channels == vectors * VEC;
    for (int v = 0; v < 2; v++) {
        block->mask[v] = vec_first(channels > v * VEC ? channels - v * VEC : 0);
        block->bias[v] = vec_zero();
        if (args->bias)
            block->bias[v] = vec_load_some((const float *)args->bias + channel + v * VEC, block->mask[v]);
    }
    run_rows(block, vectors, channel);
}

/* Few output channels would leave most of a vector idle: here vectors run along the input channels instead. Weights are first
 * gathered, a chunk of taps at a time; each chunk adds its sum to the output. */
#define FEW 4
#define CHUNK 2048 /* floats */
#define PIECES 64

struct chunk {
    int pieces;
    ptrdiff_t start[PIECES];
    int length[PIECES];
    int size; /* floats of weights per output channel, each piece padded to whole vectors */
    float w[CHUNK];
};

DFI_INLINE void dot_pixels(const struct chunk *chunk, const float *x, ptrdiff_t x_pixel, const float *w, float *y,
                           ptrdiff_t y_pixel, float start, int add, const int pixels)
{
    vec sum[8];
    DFI_UNROLL
    for (int p = 0; p < pixels; p++)
        sum[p] = vec_zero();
    for (int r = 0; r < chunk->pieces; r++) {
        const float *from = x + chunk->start[r];
        int left = chunk->length[r];
        for (; left >= VEC; left -= VEC, from += VEC, w += VEC) {
            const vec w_value = vec_load(w);
            DFI_UNROLL
            for (int p = 0; p < pixels; p++)
                sum[p] = vec_fma(w_value, vec_load(from + p * x_pixel), sum[p]);
        }
        if (left > 0) {
            const vec_mask mask = vec_first(left);
            const vec w_value = vec_load(w);
            w += VEC;
            DFI_UNROLL
            for (int p = 0; p < pixels; p++)
                sum[p] = vec_fma(w_value, vec_load_some(from + p * x_pixel, mask), sum[p]);
        }
    }
    DFI_UNROLL
    for (int p = 0; p < pixels; p++)
        y[p * y_pixel] = (add ? y[p * y_pixel] : 0) + (start + vec_total(sum[p]));
}

static void dot_rows(const struct dfi_taps_args *args, const struct chunk *chunk, int first_chunk)
{
    const float *bias = first_chunk ? args->bias : NULL;
    const int add = args->accumulate || !first_chunk;
    for (int row = 0; row < args->rows; row++)
        for (int o = 0; o < args->cout; o++) {
            const float *x = (const float *)args->x + row * args->x_row, *w = chunk->w + o * chunk->size;
            float *y = (float *)args->y + row * args->y_row + o;
            const float start = bias ? bias[o] : 0;
            int p = 0;
            for (; p + 8 <= args->width; p += 8)
                dot_pixels(chunk, x + p * args->x_pixel, args->x_pixel, w, y + p * args->y_pixel, args->y_pixel, start,
                           add, 8);
            for (; p < args->width; p++)
                dot_pixels(chunk, x + p * args->x_pixel, args->x_pixel, w, y + p * args->y_pixel, args->y_pixel, start,
                           add, 1);
        }
}

static int padded(int length)
{
    return (length + VEC - 1) / VEC * VEC;
}

/* The next pieces of runs that fit; (run, at) say where to go on. */
static void fill_chunk(const struct dfi_taps_args *args, const struct runs *runs, int *run, int *at, const float *w,
                       struct chunk *chunk)
{
    const int room = CHUNK / args->cout / VEC * VEC;
    chunk->pieces = 0;
    chunk->size = 0;
    for (int r = *run, from = *at; r < runs->count && chunk->pieces < PIECES && chunk->size < room; r++, from = 0) {
        int length = runs->length[r] - from;
        if (length > room - chunk->size)
            length = room - chunk->size;
        chunk->start[chunk->pieces] = runs->start[r] + from;
        chunk->length[chunk->pieces++] = length;
        chunk->size += padded(length);
    }
    for (int o = 0; o < args->cout; o++) {
        float *to = chunk->w + o * chunk->size;
        const float *from = w + o;
        for (int i = 0; i < chunk->pieces; i++, to += padded(chunk->length[i - 1])) {
            for (int j = 0; j < chunk->length[i]; j++, from += 2 * VEC)
                to[j] = *from;
            for (int j = chunk->length[i]; j < padded(chunk->length[i]); j++)
                to[j] = 0;
        }
    }
    for (int i = 0; i < chunk->pieces; i++) {
        *at += chunk->length[i];
        if (*at == runs->length[*run]) {
            *at = 0;
            ++*run;
        }
    }
}

static void run_few(const struct dfi_taps_args *args, const struct runs *runs)
{
    struct chunk chunk;
    const float *w = args->w;
    int run = 0, at = 0, first = 1;
    do {
        fill_chunk(args, runs, &run, &at, w, &chunk);
        dot_rows(args, &chunk, first);
        first = 0;
        for (int i = 0; i < chunk.pieces; i++)
            w += (ptrdiff_t)chunk.length[i] * 2 * VEC;
    } while (run < runs->count);
}

void KERNEL(taps)(const struct dfi_taps_args *args)
{
    struct runs runs;
    join_runs(&runs, args->taps, args->offset, args->cin);
    if (args->width < 1 || args->rows < 1 || args->cout < 1)
        return;
    if (args->cout <= FEW && args->cin >= VEC) {
        run_few(args, &runs);
        return;
    }
    struct block block = { .args = args, .runs = &runs, .w = args->w };
    for (int channel = 0; channel < args->cout; channel += 2 * VEC) {
        run_block(&block, channel);
        block.w += (ptrdiff_t)args->taps * args->cin * 2 * VEC;
    }
}
