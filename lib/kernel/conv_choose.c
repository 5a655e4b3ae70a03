/* Which algorithm a pass takes. The choice looks at the shape of the images, the kernels and the numerics;
 * what depends on the batch or the number of threads would make the bits depend on them. */

#include <diffc/tensor.h>

#include "kernel/conv_algorithm.h"

/* Fewer channels than this do not fill vectors and products. */
#define LEAST_CHANNELS 16

/* A gradient in transformed form has to come back from the third-level cache in time. */
#define MOST_GRADIENT_BYTES (8 << 20)

struct tier {
    enum dfi_numerics numerics;
    int filter3[2], filter2[2]; /* tiles that it may use with filters of 3 x 3 and 2 x 2; 0: no further */
};

/* exact: errors no larger than those of a direct convolution; default: about twice as large; fast: 20 times
 * (doc/results/README.md). */
static const struct tier tiers[] = {
    { DFI_NUMERICS_EXACT, { 2, 0 }, { 3, 0 } },
    { DFI_NUMERICS_DEFAULT, { 2, 4 }, { 3, 4 } },
    { DFI_NUMERICS_FAST, { 4, 7 }, { 4, 7 } },
};

static double base_pixels(const struct dfi_conv_plan *plan, int tile)
{
    const double down = (plan->base_h + tile - 1) / tile, across = (plan->base_w + tile - 1) / tile;
    return down * across * tile * tile;
}

static struct dfi_conv_plan plan_of(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    return pass == DFI_CONV_BACKWARD_WEIGHTS ? dfi_conv_plan_gather(conv) : dfi_conv_plan_make(conv, pass);
}

double dfi_conv_work(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = plan_of(conv, pass);
    const int pixels = conv->transposed ? conv->in_h * conv->in_w : conv->out_h * conv->out_w;
    return (double)pixels * conv->kernel * conv->kernel * plan.src_c * plan.dst_c;
}

static double work_with_tile(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int tile)
{
    const double n = tile + dfi_conv_filter(conv) - 1, phases = plan->src_step * plan->dst_step;
    return base_pixels(plan, tile) / (tile * tile) * n * n * phases * phases * plan->src_c * plan->dst_c;
}

double dfi_conv_work_done(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = plan_of(conv, pass);
    return conv->tile[pass] ? work_with_tile(conv, &plan, conv->tile[pass]) : dfi_conv_work(conv, pass);
}

static int gradient_pays(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int tile)
{
    const double n = tile + dfi_conv_filter(conv) - 1, phases = plan->src_step * plan->src_step;
    const double bytes = n * n * phases * plan->src_c * plan->dst_c * sizeof(float);
    return bytes <= MOST_GRADIENT_BYTES;
}

static const struct tier *tier_of(enum dfi_numerics numerics)
{
    const struct tier *tier = tiers;
    while (tier->numerics != numerics)
        tier++;
    return tier;
}

/* Tiles larger than 4 x 4 would lose most of the eight bits. Tile 0 is direct. */
static int has_dots(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int tile)
{
    return conv->rounds && conv->kernels->dots && tile <= 4 && plan->src_c % 2 == 0;
}

/* Products of bfloat16 count half. */
static double cost_of(double work, int dots)
{
    return dots ? work / 2 : work;
}

void dfi_conv_choose(struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const struct dfi_conv_plan plan = plan_of(conv, pass);
    const int whole = conv->kernel == 3 && conv->stride == 1, phased = conv->kernel == 4 && conv->stride == 2;
    conv->tile[pass] = conv->dots[pass] = 0;
    if (conv->dtype != DIFFC_F32 || plan.src_c < LEAST_CHANNELS || plan.dst_c < LEAST_CHANNELS)
        return;
    conv->dots[pass] = has_dots(conv, &plan, 0);
    if ((!whole && !phased) || conv->tiles == DFI_TILING_NONE)
        return;
    const struct tier *tier = tier_of(conv->tiles == DFI_TILING_ALL ? conv->numerics : DFI_NUMERICS_EXACT);
    const int *allowed = whole ? tier->filter3 : tier->filter2;
    double least = 0.7 * cost_of(dfi_conv_work(conv, pass), conv->dots[pass]); /* the transforms cost, too */
    for (int i = 0; i < 2 && allowed[i]; i++) {
        const int tile = allowed[i], dots = has_dots(conv, &plan, tile);
        const double work = cost_of(work_with_tile(conv, &plan, tile), dots);
        if (work <= least && (pass != DFI_CONV_BACKWARD_WEIGHTS || gradient_pays(conv, &plan, tile))) {
            least = work;
            conv->tile[pass] = tile;
            conv->dots[pass] = dots;
        }
    }
}

const char *dfi_conv_algorithm_name(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const int dots = conv->dots[pass];
    switch (conv->tile[pass]) {
    case 2: return dots ? "winograd-2x2-bf16" : "winograd-2x2";
    case 3: return dots ? "winograd-3x3-bf16" : "winograd-3x3";
    case 4: return dots ? "winograd-4x4-bf16" : "winograd-4x4";
    case 7: return "winograd-7x7";
    default: return dots ? "direct-bf16" : "direct";
    }
}
