/* Group norm (Wu and He 2018) with scale-shift and activation behind it in one pass:
 * y = act((xh * weight + bias) * (1 + scale) + shift), xh = (x - mean) / sqrt(var + eps) over a group of
 * channels and all pixels of one sample; scale and shift, one per channel and sample, are the halves of an
 * input. */

#include <math.h>

#include "nn/build.h"

#define BAND_PIXELS 256 /* a piece of work; depends on nothing, so neither do the bits */

struct state {              /* of one sample; doubles first */
    double *mean, *inverse; /* [groups]; inverse of the standard deviation */
    void *scale, *shift;    /* [c] y = act(x * scale + shift) */
};

static size_t state_bytes(const struct dfi_node *node, size_t element)
{
    const size_t bytes = 2 * (size_t)node->groups * sizeof(double) + 2 * (size_t)node->c * element;
    return (bytes + 63) / 64 * 64;
}

static struct state state_of(const struct dfi_exec *exec, int number, int n)
{
    const struct dfi_node *node = dfi_node(exec, number);
    struct state state;
    state.mean = (double *)(void *)((char *)dfi_state(exec, number) +
                                    (size_t)n * state_bytes(node, exec->element));
    state.inverse = state.mean + node->groups;
    state.scale = state.inverse + node->groups;
    state.shift = dfi_at(exec, state.scale, node->c);
    return state;
}

static int bands_of(const struct dfi_node *node)
{
    return (node->h * node->w + BAND_PIXELS - 1) / BAND_PIXELS;
}

/* Pixels of a band, and where it begins. */
static size_t band_pixels(const struct dfi_node *node, int band, ptrdiff_t *first)
{
    const int left = node->h * node->w - band * BAND_PIXELS;
    *first = (ptrdiff_t)band * BAND_PIXELS;
    return (size_t)(left < BAND_PIXELS ? left : BAND_PIXELS);
}

/* Shared scratch: sums of every band, [samples][bands][2][c]; backward also gradients of weight and bias per
 * sample with room for dfi_lane_sum(), and coefficients of dx, [samples][3][c] elements. */
static size_t band_doubles(const struct dfi_node *node, int samples)
{
    return (size_t)samples * (size_t)bands_of(node) * 2 * (size_t)node->c;
}

static int need(const struct dfi_graph *graph, const struct dfi_node *node,
                const struct dfi_exec_sizes *sizes, struct dfi_need *out)
{
    (void)graph;
    const size_t samples = (size_t)sizes->samples, c = (size_t)node->c;
    out->state = samples * state_bytes(node, sizes->element);
    out->shared = band_doubles(node, sizes->samples) * sizeof(double);
    if (sizes->backward)
        out->shared += (samples + DFI_LANES + 1) * 2 * c * sizeof(double) + samples * 3 * c * sizes->element;
    return DIFFC_OK;
}

static double *band_sums(const struct dfi_exec *exec, int number, int n, int band)
{
    const struct dfi_node *node = dfi_node(exec, number);
    return (double *)dfi_shared(exec) +
           ((size_t)n * (size_t)bands_of(node) + (size_t)band) * 2 * (size_t)node->c;
}

/* Adds the bands of a sample up in the first one: [2][c]. */
static double *sum_bands(const struct dfi_exec *exec, int number, int n)
{
    const struct dfi_node *node = dfi_node(exec, number);
    double *sums = band_sums(exec, number, n, 0);
    for (int band = 1; band < bands_of(node); band++) {
        const double *more = band_sums(exec, number, n, band);
        for (int i = 0; i < 2 * node->c; i++)
            sums[i] += more[i];
    }
    return sums;
}

static void moments_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]);
    const int bands = bands_of(node), n = index / bands;
    double *sums = band_sums(exec, number, n, index % bands);
    ptrdiff_t first;
    const size_t pixels = band_pixels(node, index % bands, &first);
    const void *sample = dfi_sample(&x, n);
    memset(sums, 0, 2 * (size_t)x.c * sizeof(*sums));
    exec->kernels->moments_about(dfi_at(exec, sample, first * x.ld), x.ld, pixels, x.c, sample, sums,
                                 sums + x.c);
}

/* Mean and variance of a group from sums about the first pixel, which lies somewhere among the values. */
static void group_statistics(const struct dfi_exec *exec, const struct dfi_node *node, const double *sums,
                             const void *center, int group, const struct state *state)
{
    const int width = node->c / node->groups, first = group * width;
    const double pixels = (double)node->h * node->w, count = pixels * width;
    double sum = 0, squares = 0;
    for (int i = first; i < first + width; i++)
        sum += sums[i] + pixels * dfi_get(exec, center, (size_t)i);
    const double mean = sum / count;
    for (int i = first; i < first + width; i++) {
        const double away = dfi_get(exec, center, (size_t)i) - mean;
        squares += sums[node->c + i] + away * (2 * sums[i] + pixels * away);
    }
    state->mean[group] = mean;
    state->inverse[group] = 1 / sqrt((squares > 0 ? squares / count : squares * 0) + node->epsilon);
}

/* 1 + scale of a channel, that of the weight. */
static double factor_of(const struct dfi_exec *exec, const void *emb, size_t channel)
{
    return emb ? 1 + dfi_get(exec, emb, channel) : 1;
}

static const void *emb_of(const struct dfi_exec *exec, const struct dfi_node *node, int n)
{
    if (node->input_count < 2)
        return NULL;
    const struct dfi_block emb = dfi_exec_value(exec, node->input[1]);
    return dfi_sample(&emb, n);
}

static void statistics_piece(struct dfi_exec *exec, int number, int n, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]);
    const struct state state = state_of(exec, number, n);
    const void *weight = dfi_param_value(exec, node, 0), *bias = dfi_param_value(exec, node, 1);
    const void *emb = emb_of(exec, node, n);
    const double *sums = sum_bands(exec, number, n);
    for (int group = 0; group < node->groups; group++)
        group_statistics(exec, node, sums, dfi_sample(&x, n), group, &state);
    for (int i = 0; i < node->c; i++) {
        const size_t at = (size_t)i;
        const int group = i / (node->c / node->groups);
        const double factor = factor_of(exec, emb, at);
        const double scale = dfi_get(exec, weight, at) * factor * state.inverse[group];
        const double more = emb ? dfi_get(exec, emb, (size_t)node->c + at) : 0;
        dfi_set(exec, state.scale, at, scale);
        dfi_set(exec, state.shift, at, dfi_get(exec, bias, at) * factor + more - state.mean[group] * scale);
    }
}

static void forward_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), y = dfi_exec_value(exec, number);
    const int bands = bands_of(node), n = index / bands;
    const struct state state = state_of(exec, number, n);
    ptrdiff_t first;
    const size_t pixels = band_pixels(node, index % bands, &first);
    exec->kernels->affine_act(dfi_at(exec, dfi_sample(&x, n), first * x.ld), x.ld,
                              dfi_at(exec, dfi_sample(&y, n), first * y.ld), y.ld, pixels, x.c, state.scale,
                              state.shift, node->act);
}

static void forward(struct dfi_exec *exec, int number)
{
    const int samples = dfi_samples(exec, number), pieces = samples * bands_of(dfi_node(exec, number));
    dfi_node_parallel(exec, number, moments_piece, pieces);
    dfi_node_parallel(exec, number, statistics_piece, samples);
    dfi_node_parallel(exec, number, forward_piece, pieces);
}

/* Rows of dweight and dbias, [samples][2][c]. */
static double *parameter_rows(const struct dfi_exec *exec, int number)
{
    return (double *)dfi_shared(exec) + band_doubles(dfi_node(exec, number), dfi_samples(exec, number));
}

/* Coefficients a, b, d of a sample: dx = a g + b x + d. */
static void *coefficients(const struct dfi_exec *exec, int number, int n)
{
    const size_t c = (size_t)dfi_node(exec, number)->c, samples = (size_t)dfi_samples(exec, number);
    return dfi_at(exec, parameter_rows(exec, number) + (samples + DFI_LANES + 1) * 2 * c,
                  (ptrdiff_t)((size_t)n * 3 * c));
}

/* g = dy * act'(...), in place of dy, and its sums. */
static void inner_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const struct dfi_block x = dfi_exec_value(exec, node->input[0]), dy = dfi_exec_gradient_of(exec, number);
    const int bands = bands_of(node), n = index / bands;
    const struct state state = state_of(exec, number, n);
    double *sums = band_sums(exec, number, n, index % bands);
    ptrdiff_t first;
    const size_t pixels = band_pixels(node, index % bands, &first);
    void *g = dfi_at(exec, dfi_sample(&dy, n), first * dy.ld);
    memset(sums, 0, 2 * (size_t)x.c * sizeof(*sums));
    exec->kernels->affine_act_backward(dfi_at(exec, dfi_sample(&x, n), first * x.ld), x.ld, g, dy.ld, g,
                                       dy.ld, pixels, x.c, state.scale, state.shift, node->act, sums,
                                       sums + x.c);
}

static void give_emb(const struct dfi_exec *exec, const struct dfi_node *node, int n, size_t channel,
                     double value)
{
    const struct dfi_block demb = dfi_exec_gradient_of(exec, node->input[1]);
    void *gradient = dfi_sample(&demb, n);
    dfi_set(exec, gradient, channel,
            (dfi_gradient_adds(exec, node->input[1]) ? dfi_get(exec, gradient, channel) : 0) + value);
}

/* With z = xh A + B the argument of the activation: dA = sum g xh, dB = sum g; A = weight (1 + scale),
 * B = bias (1 + scale) + shift. Returns through `row` what weight and bias of the channel get. */
static void channel_gradients(const struct dfi_exec *exec, int number, int n, int channel, double da,
                              double db, double *row)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const size_t at = (size_t)channel, c = (size_t)node->c;
    const void *emb = emb_of(exec, node, n);
    const double factor = factor_of(exec, emb, at);
    row[at] = da * factor;
    row[c + at] = db * factor;
    if (emb && dfi_wants_gradient(exec, node->input[1])) {
        const double weight = dfi_get(exec, dfi_param_value(exec, node, 0), at);
        const double bias = dfi_get(exec, dfi_param_value(exec, node, 1), at);
        give_emb(exec, node, n, at, da * weight + db * bias);
        give_emb(exec, node, n, c + at, db);
    }
}

/* dx = inverse * (A g - mean(A g) - xh mean(A g xh)), means over the group, written as a g + b x + d. */
static void group_gradients(const struct dfi_exec *exec, int number, int n, int group, const double *sums)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const struct state state = state_of(exec, number, n);
    const int c = node->c, width = c / node->groups, first = group * width;
    const double mean = state.mean[group], inverse = state.inverse[group];
    const double count = (double)node->h * node->w * width;
    double *row = parameter_rows(exec, number) + (size_t)n * 2 * (size_t)c, mean_g = 0, mean_gx = 0;
    void *a = coefficients(exec, number, n), *b = dfi_at(exec, a, c), *d = dfi_at(exec, b, c);
    for (int i = first; i < first + width; i++) {
        const double da = (sums[c + i] - mean * sums[i]) * inverse, db = sums[i];
        const double scale = dfi_get(exec, state.scale, (size_t)i); /* A * inverse */
        channel_gradients(exec, number, n, i, da, db, row);
        mean_g += scale * db / count;
        mean_gx += scale * da / count;
    }
    for (int i = first; i < first + width; i++) {
        dfi_set(exec, a, (size_t)i, dfi_get(exec, state.scale, (size_t)i));
        dfi_set(exec, b, (size_t)i, -mean_gx * inverse);
        dfi_set(exec, d, (size_t)i, mean * mean_gx * inverse - mean_g);
    }
}

static void gradients_piece(struct dfi_exec *exec, int number, int n, int worker)
{
    (void)worker;
    const double *sums = sum_bands(exec, number, n);
    for (int group = 0; group < dfi_node(exec, number)->groups; group++)
        group_gradients(exec, number, n, group, sums);
}

static void outer_piece(struct dfi_exec *exec, int number, int index, int worker)
{
    (void)worker;
    const struct dfi_node *node = dfi_node(exec, number);
    const int input = node->input[0], bands = bands_of(node), n = index / bands;
    const struct dfi_block x = dfi_exec_value(exec, input), dy = dfi_exec_gradient_of(exec, number);
    const struct dfi_block dx = dfi_exec_gradient_of(exec, input);
    const void *a = coefficients(exec, number, n), *b = dfi_at(exec, a, x.c), *d = dfi_at(exec, b, x.c);
    ptrdiff_t first;
    const size_t pixels = band_pixels(node, index % bands, &first);
    exec->kernels->affine2(dfi_at(exec, dfi_sample(&dy, n), first * dy.ld), dy.ld,
                           dfi_at(exec, dfi_sample(&x, n), first * x.ld), x.ld,
                           dfi_at(exec, dfi_sample(&dx, n), first * dx.ld), dx.ld, pixels, x.c, a, b, d,
                           dfi_gradient_adds(exec, input));
}

static void backward(struct dfi_exec *exec, int number)
{
    const struct dfi_node *node = dfi_node(exec, number);
    const int samples = dfi_samples(exec, number), pieces = samples * bands_of(node);
    const size_t width = 2 * (size_t)node->c;
    double *rows = parameter_rows(exec, number), *lanes = rows + (size_t)samples * width;
    if (node->input_count > 1 && dfi_wants_gradient(exec, node->input[1]))
        dfi_gradient_begin(exec, node->input[1]);
    dfi_node_parallel(exec, number, inner_piece, pieces);
    dfi_node_parallel(exec, number, gradients_piece, samples);
    dfi_lane_sum(exec, rows, samples, width, lanes);
    for (int i = 0; i < node->c; i++) {
        dfi_param_gradient_put(exec, dfi_param_gradient(exec, node, 0), (size_t)i, lanes[i]);
        dfi_param_gradient_put(exec, dfi_param_gradient(exec, node, 1), (size_t)i, lanes[node->c + i]);
    }
    if (dfi_wants_gradient(exec, node->input[0])) {
        dfi_gradient_begin(exec, node->input[0]);
        dfi_node_parallel(exec, number, outer_piece, pieces);
    }
}

const struct dfi_node_kind dfi_kind_group_norm = {
    "group_norm", DFI_SAVES_INPUT | DFI_STRIDED_IN | DFI_STRIDED_OUT, need, NULL, forward, backward
};

int dfi_group_norm(struct dfi_graph *graph, int x, const char *name, int groups, double epsilon,
                   enum dfi_act act, int emb)
{
    struct dfi_node *node = dfi_build_node(graph, &dfi_kind_group_norm, name, emb < 0 ? 1 : 2,
                                           (const int[]) { x, emb });
    if (!node)
        return -1;
    const int64_t shape[1] = { node->c };
    if (groups < 1 || node->c % groups)
        return dfi_build_fail(graph, node, "the groups do not divide the channels");
    if (emb >= 0 &&
        (graph->nodes[emb].c != 2 * (int64_t)node->c || graph->nodes[emb].h * graph->nodes[emb].w != 1))
        return dfi_build_fail(graph, node, "needs a scale and a shift per channel");
    node->groups = groups;
    node->epsilon = epsilon;
    node->act = act;
    dfi_build_param(graph, node, 0, 1, shape, DFI_INIT_ONE, 0);
    dfi_build_param(graph, node, 1, 1, shape, DFI_INIT_ZERO, 0);
    return dfi_build_close(graph, node);
}
