/* The encoder of T5 v1.1 (Raffel et al. 2020; Shazeer 2020) and of T5, as in modeling_t5.py of transformers.
 */

#include "model/t5.h"

#include <stdio.h>
#include <string.h>

enum { MAX_WIDTH = 65536, MAX_LAYERS = 256, MAX_VOCABULARY = 1 << 22, MAX_DISTANCE = 1 << 20 };

/* Configuration. */

static int read_integer(const struct json_t *root, const char *path, const char *key, int missing, int low,
                        int high, int *value)
{
    const struct json_t *found = dfi_json_get(root, key);
    int64_t integer = missing;
    char text[80];
    const int given = found && dfi_json_kind(found) != DFI_JSON_NULL;
    if ((given && dfi_json_integer(found, &integer)) || (!given && missing < 0))
        return dfi_fail(DIFFC_ERR_CONFIG, "%s: %s is %s, must be a whole number from %d to %d", path, key,
                        given ? dfi_json_text(found, text, sizeof(text)) : "missing", low, high);
    if (integer < low || integer > high)
        return dfi_fail(integer > high ? DIFFC_ERR_LIMIT : DIFFC_ERR_CONFIG,
                        "%s: %s is %lld, must be a whole number from %d to %d", path, key, (long long)integer,
                        low, high);
    *value = (int)integer;
    return DIFFC_OK;
}

/* "gated-gelu" is the tanh form, plain "gelu" is not: T5Config has it so. */
static const struct projection {
    const char *name;
    enum dfi_act act;
    int gated;
} projections[] = {
    { "gated-gelu", DFI_ACT_GELU_TANH, 1 },
    { "gated-silu", DFI_ACT_SILU, 1 },
    { "gated-relu", DFI_ACT_RELU, 1 },
    { "gated-gelu_new", DFI_ACT_GELU_TANH, 1 },
    { "relu", DFI_ACT_RELU, 0 },
    { "gelu", DFI_ACT_GELU, 0 },
    { "gelu_new", DFI_ACT_GELU_TANH, 0 },
    { "silu", DFI_ACT_SILU, 0 },
};

static int read_projection(const struct json_t *root, const char *path, struct dfi_t5_config *config)
{
    const struct json_t *found = dfi_json_get(root, "feed_forward_proj");
    const char *name = found ? dfi_json_string(found) : "relu";
    for (int i = 0; name && i < DFI_COUNT(projections); i++)
        if (strcmp(name, projections[i].name) == 0) {
            config->act = projections[i].act;
            config->gated = projections[i].gated;
            return DIFFC_OK;
        }
    return dfi_fail(name ? DIFFC_ERR_UNSUPPORTED : DIFFC_ERR_CONFIG,
                    "%s: feed_forward_proj is \"%.40s\", known are gated-gelu, gated-silu, gated-relu, relu, "
                    "gelu, gelu_new and silu",
                    path, name ? name : "not a string");
}

static int check_type(const struct json_t *root, const char *path)
{
    const struct json_t *found = dfi_json_get(root, "model_type");
    const char *type = found ? dfi_json_string(found) : "t5";
    if (!type || strcmp(type, "t5") != 0)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: model_type is \"%.40s\", must be \"t5\"", path,
                        type ? type : "not a string");
    return DIFFC_OK;
}

static int read_epsilon(const struct json_t *root, const char *path, double *epsilon)
{
    const struct json_t *found = dfi_json_get(root, "layer_norm_epsilon");
    char text[80];
    *epsilon = 1e-6;
    if (found && (dfi_json_number(found, epsilon) || !(*epsilon >= 0 && *epsilon <= 1)))
        return dfi_fail(DIFFC_ERR_CONFIG, "%s: layer_norm_epsilon is %s, must be a number from 0 to 1", path,
                        dfi_json_text(found, text, sizeof(text)));
    return DIFFC_OK;
}

int dfi_t5_config_read(const struct json_t *root, const char *path, struct dfi_t5_config *config)
{
    DFI_TRY(check_type(root, path));
    DFI_TRY(read_integer(root, path, "d_model", -1, 1, MAX_WIDTH, &config->d_model));
    DFI_TRY(read_integer(root, path, "d_kv", 64, 1, MAX_WIDTH, &config->d_kv));
    DFI_TRY(read_integer(root, path, "d_ff", -1, 1, 4 * MAX_WIDTH, &config->d_ff));
    DFI_TRY(read_integer(root, path, "num_layers", -1, 1, MAX_LAYERS, &config->layers));
    DFI_TRY(read_integer(root, path, "num_heads", -1, 1, MAX_WIDTH / config->d_kv, &config->heads));
    DFI_TRY(read_integer(root, path, "vocab_size", -1, 1, MAX_VOCABULARY, &config->vocabulary));
    DFI_TRY(read_integer(root, path, "relative_attention_num_buckets", 32, 4, 4096, &config->buckets));
    DFI_TRY(read_integer(root, path, "relative_attention_max_distance", 128, config->buckets / 4 + 1,
                         MAX_DISTANCE, &config->max_distance));
    DFI_TRY(read_epsilon(root, path, &config->epsilon));
    return read_projection(root, path, config);
}

/* The network. */

struct block { /* one layer of the stack while it is built */
    struct dfi_graph *graph;
    const struct dfi_t5_config *config;
    int bias, mask, spans;
    char prefix[DFI_PARAM_NAME / 2], name[DFI_PARAM_NAME];
};

static const char *name_of(struct block *block, const char *rest)
{
    (void)snprintf(block->name, sizeof(block->name), "%s.%s", block->prefix, rest);
    return block->name;
}

static int attend(struct block *block, int x)
{
    const struct dfi_t5_config *config = block->config;
    const int inner = config->heads * config->d_kv;
    struct dfi_graph *graph = block->graph;
    const int h = dfi_rms_norm(graph, x, name_of(block, "layer.0.layer_norm"), config->epsilon);
    struct dfi_attention args = { .more_k = -1,
                                  .more_v = -1,
                                  .bias = block->bias,
                                  .mask = block->mask,
                                  .spans = block->spans,
                                  .heads = config->heads,
                                  .scale = 1 };
    args.q = dfi_project(graph, h, name_of(block, "layer.0.SelfAttention.q"), inner);
    args.k = dfi_project(graph, h, name_of(block, "layer.0.SelfAttention.k"), inner);
    args.v = dfi_project(graph, h, name_of(block, "layer.0.SelfAttention.v"), inner);
    const int o = dfi_attention(graph, &args);
    return dfi_add(graph, x,
                   dfi_project(graph, o, name_of(block, "layer.0.SelfAttention.o"), config->d_model));
}

static int feed_forward(struct block *block, int x)
{
    const struct dfi_t5_config *config = block->config;
    struct dfi_graph *graph = block->graph;
    const int h = dfi_rms_norm(graph, x, name_of(block, "layer.1.layer_norm"), config->epsilon);
    int inner;
    if (config->gated) {
        const int a = dfi_project(graph, h, name_of(block, "layer.1.DenseReluDense.wi_0"), config->d_ff);
        const int b = dfi_project(graph, h, name_of(block, "layer.1.DenseReluDense.wi_1"), config->d_ff);
        inner = dfi_gate(graph, a, b, config->act);
    } else {
        inner = dfi_activation(
            graph, dfi_project(graph, h, name_of(block, "layer.1.DenseReluDense.wi"), config->d_ff),
            config->act);
    }
    return dfi_add(graph, x,
                   dfi_project(graph, inner, name_of(block, "layer.1.DenseReluDense.wo"), config->d_model));
}

/* Queries at `places`, keys at 0 to keys - 1; the inputs of `values` are there. */
static void build_stack(struct dfi_graph *graph, const struct dfi_t5_config *config, int keys,
                        struct dfi_t5_values *values)
{
    struct block block = { graph, config, .mask = values->mask, .spans = values->spans };
    int x = dfi_embedding(graph, values->ids, "shared", config->vocabulary, config->d_model);
    block.bias = dfi_relative_bias(graph, values->places,
                                   "encoder.block.0.layer.0.SelfAttention.relative_attention_bias", keys,
                                   config->heads, config->buckets, config->max_distance);
    for (int i = 0; i < config->layers; i++) {
        (void)snprintf(block.prefix, sizeof(block.prefix), "encoder.block.%d", i);
        x = feed_forward(&block, attend(&block, x));
    }
    values->out = dfi_output(graph, dfi_rms_norm(graph, x, "encoder.final_layer_norm", config->epsilon));
}

void dfi_t5_build(struct dfi_graph *graph, const struct dfi_t5_config *config, int tokens,
                  struct dfi_t5_values *values)
{
    *values = (struct dfi_t5_values) { .places = -1, .spans = -1 };
    values->ids = dfi_graph_input(graph, "ids", 1, 1, tokens, 0);
    values->mask = dfi_graph_input(graph, "mask", tokens, 1, 1, 0);
    build_stack(graph, config, tokens, values);
}

void dfi_t5_build_rows(struct dfi_graph *graph, const struct dfi_t5_config *config, int length,
                       struct dfi_t5_values *values)
{
    *values = (struct dfi_t5_values) { .mask = -1 };
    values->ids = dfi_graph_input(graph, "ids", 1, 1, 1, 0);
    values->places = dfi_graph_input(graph, "places", 1, 1, 1, 0);
    values->spans = dfi_graph_input(graph, "spans", 2, 1, 1, 0);
    build_stack(graph, config, length, values);
}
