/* Attention as a whole. Queries lie in the lanes: scores are [key][query], so that keys and values are read
 * as they are, the softmax needs no sum over lanes, and products take the register tile of tile.h. */

#include <diffc/tensor.h>
#include <math.h>

#include "kernel/x86/activation.h"
#include "kernel/x86/mask.h"
#include "kernel/x86/tile.h"

#define QUERIES DFI_ATTEND_QUERIES
#define KEYS 64 /* of a block whose exponentials stay in the first-level cache */

struct work {
    const struct dfi_attend_args *args;
    int keys, vectors; /* of both parts; of queries */
    const float *mask;
    float *q, *scores, *sums, *turned; /* [c][QUERIES], [keys][QUERIES], [value_c][QUERIES], and back */
};

/* The products of tiles; the last rows make a smaller one. */

struct product {
    const float *a;
    ptrdiff_t a_row, a_step;
    const float *b; /* rows of QUERIES */
    float *c;       /* the same */
    int rows, count, accumulate;
};

DFI_INLINE void columns_of_tiles(const struct product *p, const int vectors)
{
#define TILE(n) \
    run_tile(p->a + i * p->a_row, p->a_row, p->a_step, p->b, QUERIES, p->c + i * QUERIES, QUERIES, p->count, \
             p->accumulate, n, vectors)
    int i = 0;
    for (; i + TILE_ROWS <= p->rows; i += TILE_ROWS)
        TILE(TILE_ROWS);
    switch (p->rows - i) {
    case 1: TILE(1); break;
    case 2: TILE(2); break;
    case 3: TILE(3); break;
    case 4: TILE(4); break;
    case 5: TILE(5); break;
    default: break;
    }
#undef TILE
}

static DFI_NOINLINE void wide_columns(const struct product *p)
{
    columns_of_tiles(p, TILE_VECTORS);
}

static DFI_NOINLINE void narrow_columns(const struct product *p)
{
    columns_of_tiles(p, 1);
}

static void multiply_all(struct product p, int vectors)
{
    for (; vectors >= TILE_VECTORS; vectors -= TILE_VECTORS) {
        wide_columns(&p);
        p.b += TILE_VECTORS * LANES;
        p.c += TILE_VECTORS * LANES;
    }
    for (; vectors > 0; vectors--) {
        narrow_columns(&p);
        p.b += LANES;
        p.c += LANES;
    }
}

static void turn_queries(const struct work *w)
{
    const struct dfi_attend_args *args = w->args;
    const vec scale = set((float)args->scale);
    KERNEL(widen_panel)(args->q, DIFFC_F32, args->ldq, args->queries, (size_t)args->c, QUERIES, w->q);
    for (int i = 0; i < args->c * QUERIES; i += LANES)
        store(w->q + i, multiply(load(w->q + i), scale));
}

static void score(const struct work *w)
{
    float *scores = w->scores;
    for (int i = 0; i < 2; i++) {
        const struct dfi_attend_keys *part = &w->args->part[i];
        const struct product p = { part->k, part->ldk, 1, w->q, scores, part->count, w->args->c, 0 };
        multiply_all(p, w->vectors);
        scores += (ptrdiff_t)part->count * QUERIES;
    }
}

static void add_bias(const struct work *w)
{
    const struct dfi_attend_args *args = w->args;
    for (int k = 0; k < w->keys; k++)
        for (int n = 0; n < args->queries; n++)
            w->scores[k * QUERIES + n] += ((const float *)args->bias)[n * args->ldb + k];
}

static void take_out(const struct work *w)
{
    for (int k = 0; k < w->keys; k++)
        for (int v = 0; !(w->mask[k] > 0) && v < w->vectors; v++)
            store(w->scores + k * QUERIES + v * LANES, set(NEVER));
}

/* Largest scores of the queries of a vector. */
static vec largest(const struct work *w, int v)
{
    const vec least = set(w->mask ? NEVER : -INFINITY);
    vec best[4] = { least, least, least, least };
    const float *x = w->scores + v * LANES;
    for (int k = 0; k < w->keys; k++, x += QUERIES)
        best[k % 4] = maximum(load(x), best[k % 4]);
    return maximum(maximum(best[0], best[1]), maximum(best[2], best[3]));
}

/* exp(x - best) of a block of keys in place; their sum. What the mask took out is exactly zero. */
static vec exponentials(const struct work *w, int v, int first, int end, vec best)
{
    const vec none = set(NEVER);
    vec sum = zero();
    for (int k = first; k < end; k++) {
        float *x = w->scores + k * QUERIES + v * LANES;
        const vec value = load(x);
        const vec away = subtract(value, best);
        vec power = exponential(away);
        if (w->mask)
            power = unless_negative(subtract(value, none), power);
        power = keep_nan(away, power);
        store(x, power);
        sum = add(sum, power);
    }
    return sum;
}

/* The values of keys first .. end - 1, all in one part, by their exponentials. */
static void add_values(const struct work *w, const struct dfi_attend_keys *part, int start, int first,
                       int end)
{
    const struct product p = { (const float *)part->v + (first - start) * part->ldv,
                               1,
                               part->ldv,
                               w->scores + first * QUERIES,
                               w->sums,
                               w->args->value_c,
                               end - first,
                               first > 0 };
    multiply_all(p, w->vectors);
}

static void weigh(const struct work *w, vec total[QUERIES / LANES])
{
    vec best[QUERIES / LANES];
    for (int v = 0; v < w->vectors; v++) {
        best[v] = largest(w, v);
        total[v] = zero();
    }
    for (int i = 0, start = 0; i < 2; start += w->args->part[i++].count) {
        const int end = start + w->args->part[i].count;
        for (int first = start; first < end; first += KEYS) {
            const int last = end - first < KEYS ? end : first + KEYS;
            for (int v = 0; v < w->vectors; v++)
                total[v] = add(total[v], exponentials(w, v, first, last, best[v]));
            add_values(w, &w->args->part[i], start, first, last);
        }
    }
}

static void write_rows(const struct work *w, const vec *total)
{
    const int c = w->args->value_c;
    for (int v = 0; v < w->vectors; v++) {
        const vec share = set(1.0f) / total[v];
        for (int i = 0; i < c; i++)
            store(w->sums + i * QUERIES + v * LANES,
                  multiply(load(w->sums + i * QUERIES + v * LANES), share));
    }
    KERNEL(widen_panel)(w->sums, DIFFC_F32, QUERIES, c, (size_t)w->args->queries, c, w->turned);
    for (int n = 0; n < w->args->queries; n++)
        memcpy((float *)w->args->y + n * w->args->ldy, w->turned + n * c, (size_t)c * sizeof(float));
}

void KERNEL(attend)(const struct dfi_attend_args *args)
{
    struct work w = { .args = args, .keys = args->part[0].count + args->part[1].count };
    vec total[QUERIES / LANES];
    w.vectors = (args->queries + LANES - 1) / LANES;
    w.mask = useful_mask(args->mask, w.keys);
    w.q = args->scratch;
    w.scores = w.q + (ptrdiff_t)args->c * QUERIES;
    w.sums = w.scores + (ptrdiff_t)w.keys * QUERIES;
    w.turned = w.sums + (ptrdiff_t)args->value_c * QUERIES;
    turn_queries(&w);
    score(&w);
    if (args->bias)
        add_bias(&w);
    if (w.mask)
        take_out(&w);
    weigh(&w, total);
    write_rows(&w, total);
}
