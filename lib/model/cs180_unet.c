/* The small UNet of the course (CS 180, UC Berkeley, "Fun With Diffusion Models!", part B): two levels down,
 * a bottleneck of one pixel, two levels up, conditions added or multiplied after the bottleneck and after the
 * first level up. */

#include <stdio.h>
#include <string.h>

#include "model/architectures.h"

static int check(struct dfi_model_config *config)
{
    if (config->image_height % 4 || config->image_width % 4 || config->image_height < 8 ||
        config->image_width < 8)
        return dfi_fail(DIFFC_ERR_ARG,
                        "cs180_unet: image is %d x %d, both sides must be divisible by 4 and at least 8",
                        config->image_height, config->image_width);
    return DIFFC_OK;
}

/* Convolution (or another layer already made), batch norm, GELU. */
static int finish_block(struct dfi_graph *graph, int x, const char *name)
{
    char norm[DFI_PARAM_NAME];
    snprintf(norm, sizeof(norm), "%.100s.bn", name);
    return dfi_batch_norm(graph, x, norm, DFI_ACT_GELU);
}

static int conv(struct dfi_graph *graph, int x, const char *name, int cout, int stride)
{
    char weights[DFI_PARAM_NAME];
    snprintf(weights, sizeof(weights), "%.100s.conv", name);
    return finish_block(graph, dfi_conv2d(graph, x, weights, cout, 3, stride, 1), name);
}

/* PREFIX.first, PREFIX.(first + 1): two convolutions. */
static int conv_block(struct dfi_graph *graph, int x, const char *prefix, int first, int cout)
{
    char name[DFI_PARAM_NAME];
    for (int i = first; i < first + 2; i++) {
        snprintf(name, sizeof(name), "%s.%d", prefix, i);
        x = conv(graph, x, name, cout, 1);
    }
    return x;
}

static int down_block(struct dfi_graph *graph, int x, const char *prefix, int cout)
{
    char name[DFI_PARAM_NAME];
    snprintf(name, sizeof(name), "%s.0", prefix);
    return conv_block(graph, conv(graph, x, name, cout, 2), prefix, 1, cout);
}

static int up_block(struct dfi_graph *graph, int x, const char *prefix, int cout)
{
    char name[DFI_PARAM_NAME], weights[DFI_PARAM_NAME];
    snprintf(name, sizeof(name), "%s.0", prefix);
    snprintf(weights, sizeof(weights), "%s.0.conv", prefix);
    x = finish_block(graph, dfi_conv_transpose2d(graph, x, weights, cout, 4, 2, 1), name);
    return conv_block(graph, x, prefix, 1, cout);
}

/* Linear, GELU, linear; -1 (no factor) where there is no such condition. */
static int fc_block(struct dfi_graph *graph, int x, const char *prefix, int out)
{
    char name[DFI_PARAM_NAME];
    if (x < 0)
        return -1;
    snprintf(name, sizeof(name), "%s.fc1", prefix);
    x = dfi_activation(graph, dfi_linear(graph, x, name, out), DFI_ACT_GELU);
    snprintf(name, sizeof(name), "%s.fc2", prefix);
    return dfi_linear(graph, x, name, out);
}

/* f = c * f + t, or f = c * f * t when time multiplies. */
static int condition(struct dfi_graph *graph, int f, int c, int t, int multiplies)
{
    if (multiplies && c >= 0 && t >= 0)
        return dfi_modulate(graph, dfi_modulate(graph, f, c, -1), t, -1);
    if (multiplies)
        return c < 0 && t < 0 ? f : dfi_modulate(graph, f, t >= 0 ? t : c, -1);
    return c < 0 && t < 0 ? f : dfi_modulate(graph, f, c, t);
}

static void build(struct dfi_graph *graph, const struct dfi_model_config *config,
                  struct dfi_model_values *values)
{
    const int d = config->width, h = config->image_height / 4, w = config->image_width / 4;
    const int multiplies = strcmp(config->time_mode, "mul") == 0;
    const int timed = strcmp(config->condition, "none") != 0,
              classed = strcmp(config->condition, "class") == 0;

    values->x = dfi_graph_input(graph, "x", config->image_channels, config->image_height, config->image_width,
                                0);
    values->t = timed ? dfi_graph_input(graph, "t", 1, 1, 1, 0) : -1;
    values->cls = classed ? dfi_graph_input(graph, "class", config->classes, 1, 1, 1) : -1;

    const int x0 = conv_block(graph, values->x, "in_conv", 0, d);
    const int d1 = down_block(graph, x0, "down1", d);
    const int d2 = down_block(graph, d1, "down2", 2 * d);
    int f = dfi_activation(graph, dfi_avg_pool(graph, d2, h, w), DFI_ACT_GELU);
    f = finish_block(graph, dfi_unflatten(graph, f, "unflatten.conv", 2 * d, h, w), "unflatten");

    const int t1 = fc_block(graph, values->t, "t1", 2 * d), t2 = fc_block(graph, values->t, "t2", d);
    const int c1 = fc_block(graph, values->cls, "c1", 2 * d), c2 = fc_block(graph, values->cls, "c2", d);
    f = condition(graph, f, c1, t1, multiplies);
    int u1 = up_block(graph, dfi_concat(graph, f, d2), "up1", d);
    u1 = condition(graph, u1, c2, t2, multiplies);
    const int u2 = up_block(graph, dfi_concat(graph, u1, d1), "up2", d);
    const int y = conv_block(graph, dfi_concat(graph, u2, x0), "out_block", 0, d);
    values->out = dfi_output(graph, dfi_conv2d(graph, y, "out_conv", config->image_channels, 3, 1, 1));
    values->features = -1;
}

/* A file without metadata says most of it by names and shapes; image size and time mode are the caller's. */
static int infer(const struct diffc_archive *archive, struct dfi_model_config *config)
{
    const struct dfi_archive_entry *first = dfi_named_entry(archive, "in_conv.0.conv.weight");
    const struct dfi_archive_entry *window = dfi_named_entry(archive, "unflatten.conv.weight");
    const struct dfi_archive_entry *classes = dfi_named_entry(archive, "c1.fc1.weight");
    if (!first || first->ndim != 4 || !window || window->ndim != 4)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "no tensors in_conv.0.conv.weight and unflatten.conv.weight of 4 dimensions: "
                        "not a cs180_unet");
    if (first->shape[0] > 4096 || first->shape[1] > 4096 || window->shape[2] > 4096 ||
        window->shape[3] > 4096)
        return dfi_fail(DIFFC_ERR_LIMIT, "in_conv.0.conv.weight or unflatten.conv.weight: sizes over 4096");
    config->width = (int)first->shape[0];
    config->image_channels = (int)first->shape[1];
    config->image_height = 4 * (int)window->shape[2];
    config->image_width = 4 * (int)window->shape[3];
    config->condition = classes ? "class" : dfi_named_entry(archive, "t1.fc1.weight") ? "time" : "none";
    if (classes && (classes->ndim != 2 || classes->shape[1] > 65536))
        return dfi_fail(DIFFC_ERR_CONFIG, "c1.fc1.weight: not a matrix of at most 65536 columns");
    if (classes)
        config->classes = (int)classes->shape[1];
    return DIFFC_OK;
}

const struct dfi_architecture dfi_architecture_cs180_unet = {
    { "cs180_unet", "small UNet of the CS180 course: unconditional, time, or class and time" },
    "denoiser",
    check,
    build,
    infer,
    { "x", "t", "class" },
    { "out" },
    0
};
