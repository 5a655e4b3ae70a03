/* A classifier of the size of LeNet-5 (LeCun et al. 1998), with ReLU and max pooling. */

#include "model/architectures.h"

#define FEATURES 84

static int check(struct dfi_model_config *config)
{
    if (config->image_height < 16 || config->image_width < 16)
        return dfi_fail(DIFFC_ERR_ARG, "lenet: image is %d x %d, both sides must be at least 16",
                        config->image_height, config->image_width);
    return DIFFC_OK;
}

static int conv_pool(struct dfi_graph *graph, int x, const char *name, int cout, int padding)
{
    x = dfi_activation(graph, dfi_conv2d(graph, x, name, cout, 5, 1, padding), DFI_ACT_RELU);
    return dfi_max_pool(graph, x, 2);
}

static int dense(struct dfi_graph *graph, int x, const char *name, int out)
{
    return dfi_activation(graph, dfi_linear(graph, x, name, out), DFI_ACT_RELU);
}

static void build(struct dfi_graph *graph, const struct dfi_model_config *config,
                  struct dfi_model_values *values)
{
    values->t = values->cls = -1;
    values->x = dfi_graph_input(graph, "x", config->image_channels, config->image_height, config->image_width,
                                0);
    int f = conv_pool(graph, values->x, "conv1", 6, 2);
    f = dfi_flatten(graph, conv_pool(graph, f, "conv2", 16, 0));
    values->features = dfi_output(graph, dense(graph, dense(graph, f, "fc1", 120), "fc2", FEATURES));
    values->out = dfi_output(graph, dfi_linear(graph, values->features, "fc3", config->classes));
}

static int infer(const struct diffc_archive *archive, struct dfi_model_config *config)
{
    const struct dfi_archive_entry *first = dfi_named_entry(archive, "conv1.weight");
    const struct dfi_archive_entry *last = dfi_named_entry(archive, "fc3.weight");
    if (!first || first->ndim != 4 || !last || last->ndim != 2)
        return dfi_fail(DIFFC_ERR_CONFIG, "no tensors conv1.weight and fc3.weight: not a lenet");
    if (first->shape[1] > 4096 || last->shape[0] > 65536)
        return dfi_fail(DIFFC_ERR_LIMIT, "conv1.weight or fc3.weight: sizes over the limits");
    config->image_channels = (int)first->shape[1];
    config->classes = (int)last->shape[0];
    return DIFFC_OK;
}

const struct dfi_architecture dfi_architecture_lenet = {
    { "lenet", "classifier of LeNet size; features are its 84 last activations" },
    "classifier",
    check,
    build,
    infer,
    { "x" },
    { "logits", "features" },
    0
};
