#include <math.h>
#include <string.h>

#include "base/float_mode.h"
#include "guide/guide.h"

/* Classifier-free guidance (Ho and Salimans 2022) as a combiner. Scales 1 and 0 give the bits of the one pass
 * that counts, so a sample does not depend on the scales of its neighbours. */
struct cfg {
    struct diffc_context *context; /* not kept: the guide keeps it */
    float *scales;
    int count;
    int conditional, unconditional; /* which passes are needed */
};

static int query_count(void *opaque, int step)
{
    const struct cfg *cfg = opaque;
    (void)step;
    return cfg->conditional + cfg->unconditional;
}

static int expand(void *opaque, int step, const diffc_tensor *x, diffc_query *queries, int count)
{
    const struct cfg *cfg = opaque;
    (void)step;
    if (cfg->count != 1 && cfg->count != x->shape[0])
        return dfi_fail(DIFFC_ERR_CONFIG, "%d guidance scales for %lld samples, must be one or one for each",
                        cfg->count, (long long)x->shape[0]);
    for (int i = 0; i < count; i++) {
        queries[i].x = x;
        queries[i].condition = i == 0 && cfg->unconditional ? DIFFC_UNCONDITIONAL : 0;
    }
    return DIFFC_OK;
}

static void guide_sample(float scale, const float *u, const float *c, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = u[i] + scale * (c[i] - u[i]);
}

static void combine_sample(float scale, const float *u, const float *c, float *out, size_t guided, size_t n)
{
    if (scale == 0 || scale == 1) {
        memcpy(out, scale == 0 ? u : c, n * sizeof(float));
        return;
    }
    guide_sample(scale, u, c, out, guided);
    memcpy(out + guided, c + guided, (n - guided) * sizeof(float));
}

static int combine(void *opaque, int step, const diffc_query *queries, int count, diffc_tensor *out)
{
    const struct cfg *cfg = opaque;
    const diffc_tensor *u = queries[0].out, *c = queries[count - 1].out;
    const int64_t channels = queries[0].image_channels;
    const size_t pixels = (size_t)(out->shape[2] * out->shape[3]);
    const size_t n = (size_t)out->shape[1] * pixels;
    const size_t guided = out->shape[1] > channels ? (size_t)channels * pixels : n;
    struct dfi_float_mode mode;
    (void)step;
    dfi_float_enter(&mode, 0);
    for (int64_t k = 0; k < out->shape[0]; k++) {
        const float scale = cfg->scales[cfg->count == 1 ? 0 : k];
        const size_t at = (size_t)k * n;
        combine_sample(scale, (const float *)u->data + at, (const float *)c->data + at,
                       (float *)out->data + at, guided, n);
    }
    dfi_float_leave(&mode);
    return DIFFC_OK;
}

static void release(void *opaque)
{
    struct cfg *cfg = opaque;
    dfi_free(cfg->context, cfg->scales);
    dfi_free(cfg->context, cfg);
}

static int set_scales(struct cfg *cfg, const float *scales, int count)
{
    cfg->scales = dfi_alloc(cfg->context, (size_t)count * sizeof(float));
    if (!cfg->scales)
        return DIFFC_ERR_NOMEM;
    memcpy(cfg->scales, scales, (size_t)count * sizeof(float));
    cfg->count = count;
    for (int i = 0; i < count; i++) {
        cfg->conditional |= scales[i] != 0;
        cfg->unconditional |= scales[i] != 1;
    }
    return DIFFC_OK;
}

int dfi_guide_new_cfg(struct diffc_context *context, const float *scales, int count,
                      struct diffc_guide **guide)
{
    for (int i = 0; i < count; i++)
        if (!isfinite(scales[i]))
            return dfi_fail(DIFFC_ERR_ARG, "scale %d is %g, must be finite", i, (double)scales[i]);
    struct cfg *cfg = dfi_calloc(context, 1, sizeof(*cfg));
    if (!cfg)
        return DIFFC_ERR_NOMEM;
    cfg->context = context;
    const diffc_combiner combiner = {
        .struct_size = sizeof(combiner),
        .query_count = query_count,
        .expand = expand,
        .combine = combine,
        .release = release,
        .opaque = cfg,
    };
    int status = set_scales(cfg, scales, count);
    if (status == DIFFC_OK)
        status = dfi_guide_new(context, &combiner, guide);
    if (status < 0)
        release(cfg);
    else
        (*guide)->plain = 1;
    return status;
}
