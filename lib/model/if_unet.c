/* UNet2DConditionModel as DeepFloyd IF uses it (diffusers, unet_2d_condition.py, which the names are from):
 * residual blocks with scale-shift by the time embedding, which resample where a level ends, and attention
 * whose keys are those of the text and of the image. */

#include "model/if_unet.h"

#include <math.h>
#include <stdio.h>

#include "model/architectures.h"

#define NAME DFI_PARAM_NAME
#define ATTENTION_EPSILON 1e-5
#define CROSS_GROUPS 32

struct builder {
    const struct dfi_if_config *config;
    struct dfi_graph *graph, *text_graph; /* the same in a network of one graph */
    struct dfi_links *links;
    int context; /* of the text graph: text states as attention sees them */
    int emb;     /* embedding of time, class and text, as the residual blocks take it */
};

static const char *join(char out[NAME], const char *prefix, const char *name)
{
    (void)snprintf(out, NAME, "%.80s.%.40s", prefix, name);
    return out;
}

static int channels_of(const struct dfi_graph *graph, int value)
{
    return value < 0 ? 0 : graph->nodes[value].c;
}

static int add_link(struct builder *b, int from, int to)
{
    struct dfi_links *links = b->links;
    if (links->count == links->capacity) {
        const int more = links->capacity ? 2 * links->capacity : 32;
        struct dfi_link *grown = dfi_realloc(b->graph->context, links->list,
                                             (size_t)links->capacity * sizeof(*grown),
                                             (size_t)more * sizeof(*grown));
        if (!grown)
            return DIFFC_ERR_NOMEM;
        links->list = grown;
        links->capacity = more;
    }
    links->list[links->count++] = (struct dfi_link) { from, to };
    return DIFFC_OK;
}

/* A value of the text graph as one of the main graph. */
static int from_text(struct builder *b, int value)
{
    char name[NAME];
    if (b->graph == b->text_graph)
        return value;
    if (b->graph->status == DIFFC_OK)
        b->graph->status = b->text_graph->status;
    if (b->graph->status)
        return -1;
    const struct dfi_node node = b->text_graph->nodes[value];
    (void)snprintf(name, sizeof(name), "prepared.%d", b->links->count);
    const int input = dfi_graph_input(b->graph, name, node.c, node.h, node.w, 1);
    dfi_output(b->text_graph, value);
    if (b->graph->status == DIFFC_OK)
        b->graph->status = add_link(b, value, input);
    return input;
}

/* linear_2(act(linear_1(sinusoids of t))) */
static int time_mlp(struct builder *b, int t, const char *prefix)
{
    const struct dfi_if_config *config = b->config;
    char name[NAME];
    int e = dfi_timestep(b->graph, t, config->channels[0], config->cosine_first, config->frequency_shift);
    e = dfi_linear(b->graph, e, join(name, prefix, "linear_1"), config->time_width);
    e = dfi_activation(b->graph, e, config->act);
    return dfi_linear(b->graph, e, join(name, prefix, "linear_2"), config->time_width);
}

/* TextTimeEmbedding: one query, the mean of the tokens, attends to itself and all of them. */
static int text_pool(struct builder *b, int text)
{
    struct dfi_graph *graph = b->text_graph;
    const int width = b->config->text_width, heads = b->config->pool_heads;
    if (graph->status)
        return -1;
    const int y = dfi_layer_norm(graph, text, "add_embedding.norm1", 1e-5);
    int c = dfi_avg_pool(graph, y, 1, graph->nodes[text].w);
    c = dfi_offset(graph, c, "add_embedding.pool.positional_embedding");
    const int tokens = dfi_concat_tokens(graph, c, y);
    const struct dfi_attention attention = {
        .q = dfi_linear(graph, c, "add_embedding.pool.q_proj", width),
        .k = dfi_linear(graph, tokens, "add_embedding.pool.k_proj", width),
        .v = dfi_linear(graph, tokens, "add_embedding.pool.v_proj", width),
        .more_k = -1,
        .more_v = -1,
        .bias = -1,
        .mask = -1,
        .spans = -1,
        .heads = heads,
        .scale = 1 / sqrt(width / heads),
    };
    const int a = dfi_attention(graph, &attention);
    const int pooled = dfi_linear(graph, a, "add_embedding.proj", b->config->time_width);
    return dfi_layer_norm(graph, pooled, "add_embedding.norm2", 1e-5);
}

static void build_embedding(struct builder *b, const struct dfi_model_values *values)
{
    const struct dfi_if_config *config = b->config;
    int emb = time_mlp(b, values->t, "time_embedding");
    if (config->classes)
        emb = dfi_add(b->graph, emb, time_mlp(b, values->cls, "class_embedding"));
    if (config->pools_text)
        emb = dfi_add(b->graph, emb, from_text(b, text_pool(b, values->text)));
    if (config->time_act != DFI_ACT_NONE)
        emb = dfi_activation(b->graph, emb, config->time_act);
    b->emb = config->skip_time_act ? emb : dfi_activation(b->graph, emb, config->act);
}

enum resample { KEEP, DOWN, UP };

static int resampled(struct dfi_graph *graph, int x, enum resample how)
{
    return how == DOWN ? dfi_avg_pool(graph, x, 2, 2) : how == UP ? dfi_upsample(graph, x) : x;
}

static int resnet(struct builder *b, int x, const char *prefix, int cout, enum resample how, double divisor)
{
    const struct dfi_if_config *config = b->config;
    struct dfi_graph *graph = b->graph;
    const int groups = config->norm_groups, changes = channels_of(graph, x) != cout;
    const double epsilon = config->norm_epsilon;
    char name[NAME];
    int u = dfi_group_norm(graph, x, join(name, prefix, "norm1"), groups, epsilon, config->act, -1);
    u = resampled(graph, u, how);
    x = resampled(graph, x, how);
    u = dfi_conv2d(graph, u, join(name, prefix, "conv1"), cout, 3, 1, 1);
    int e = dfi_linear(graph, b->emb, join(name, prefix, "time_emb_proj"),
                       config->scale_shift ? 2 * cout : cout);
    if (!config->scale_shift) {
        u = dfi_modulate(graph, u, -1, e);
        e = -1;
    }
    u = dfi_group_norm(graph, u, join(name, prefix, "norm2"), groups, epsilon, config->act, e);
    u = dfi_conv2d(graph, u, join(name, prefix, "conv2"), cout, 3, 1, 1);
    if (changes)
        x = dfi_conv2d(graph, x, join(name, prefix, "conv_shortcut"), cout, 1, 1, 0);
    return dfi_add_scaled(graph, x, u, 1 / divisor);
}

static int attention(struct builder *b, int x, const char *prefix, int head_width, int only_cross)
{
    const struct dfi_if_config *config = b->config;
    struct dfi_graph *graph = b->graph;
    const int c = channels_of(graph, x);
    char name[NAME];
    const int y = dfi_group_norm(graph, x, join(name, prefix, "group_norm"), config->norm_groups,
                                 ATTENTION_EPSILON, DFI_ACT_NONE, -1);
    int text = b->context;
    if (config->norms_text)
        text = dfi_group_norm(b->text_graph, text, join(name, prefix, "norm_cross"), CROSS_GROUPS,
                              ATTENTION_EPSILON, DFI_ACT_NONE, -1);
    const int k = dfi_linear(b->text_graph, text, join(name, prefix, "add_k_proj"), c);
    const int v = dfi_linear(b->text_graph, text, join(name, prefix, "add_v_proj"), c);
    struct dfi_attention attention = {
        .q = dfi_linear(graph, y, join(name, prefix, "to_q"), c),
        .k = from_text(b, k),
        .v = from_text(b, v),
        .more_k = -1,
        .more_v = -1,
        .bias = -1,
        .mask = -1,
        .spans = -1,
        .heads = c / head_width,
        .scale = 1 / sqrt(head_width),
    };
    if (!only_cross) {
        attention.more_k = dfi_linear(graph, y, join(name, prefix, "to_k"), c);
        attention.more_v = dfi_linear(graph, y, join(name, prefix, "to_v"), c);
    }
    const int a = dfi_attention(graph, &attention);
    return dfi_add(graph, x, dfi_linear(graph, a, join(name, prefix, "to_out.0"), c));
}

/* The stack of values that the way up takes from the way down. */
struct skips {
    int values[DFI_IF_LEVELS * 65 + 1], count;
};

static int down_block(struct builder *b, int x, int level, struct skips *skips)
{
    const struct dfi_if_config *config = b->config;
    const int c = config->channels[level];
    char name[NAME];
    for (int j = 0; j < config->layers[level]; j++) {
        (void)snprintf(name, sizeof(name), "down_blocks.%d.resnets.%d", level, j);
        x = resnet(b, x, name, c, KEEP, config->resnet_divisor);
        (void)snprintf(name, sizeof(name), "down_blocks.%d.attentions.%d", level, j);
        if (config->attends_down[level])
            x = attention(b, x, name, config->head_width[level], config->only_cross[level]);
        skips->values[skips->count++] = x;
    }
    if (level < config->levels - 1) {
        (void)snprintf(name, sizeof(name), "down_blocks.%d.downsamplers.0", level);
        x = resnet(b, x, name, c, DOWN, config->resnet_divisor);
        skips->values[skips->count++] = x;
    }
    return x;
}

static int mid_block(struct builder *b, int x)
{
    const struct dfi_if_config *config = b->config;
    const int last = config->levels - 1, c = config->channels[last];
    x = resnet(b, x, "mid_block.resnets.0", c, KEEP, config->mid_divisor);
    x = attention(b, x, "mid_block.attentions.0", config->head_width[last], config->mid_only_cross);
    return resnet(b, x, "mid_block.resnets.1", c, KEEP, config->mid_divisor);
}

static int up_block(struct builder *b, int x, int level, struct skips *skips)
{
    const struct dfi_if_config *config = b->config;
    const int c = config->channels[level], u = config->levels - 1 - level;
    char name[NAME];
    for (int j = 0; j <= config->layers[level]; j++) {
        x = dfi_concat(b->graph, x, skips->values[--skips->count]);
        (void)snprintf(name, sizeof(name), "up_blocks.%d.resnets.%d", u, j);
        x = resnet(b, x, name, c, KEEP, config->resnet_divisor);
        (void)snprintf(name, sizeof(name), "up_blocks.%d.attentions.%d", u, j);
        if (config->attends_up[level])
            x = attention(b, x, name, config->head_width[u], config->only_cross[level]);
    }
    if (level > 0) {
        (void)snprintf(name, sizeof(name), "up_blocks.%d.upsamplers.0", u);
        x = resnet(b, x, name, c, UP, config->resnet_divisor);
    }
    return x;
}

static void build_network(struct builder *b, const struct dfi_model_config *settings,
                          struct dfi_model_values *values)
{
    const struct dfi_if_config *config = b->config;
    struct dfi_graph *graph = b->graph;
    struct skips skips = { .count = 0 };
    values->x = dfi_graph_input(graph, "x", config->in_channels, settings->image_height,
                                settings->image_width, 0);
    values->t = dfi_graph_input(graph, "t", 1, 1, 1, 0);
    values->cls = config->classes ? dfi_graph_input(graph, "class", 1, 1, 1, 0) : -1;
    values->text = dfi_graph_input(b->text_graph, "text", config->text_width, 1, settings->text_tokens, 1);
    values->features = -1;
    build_embedding(b, values);
    b->context = config->projects_text
                     ? dfi_linear(b->text_graph, values->text, "encoder_hid_proj", config->cross_width)
                     : values->text;
    int x = dfi_conv2d(graph, values->x, "conv_in", config->channels[0], 3, 1, 1);
    skips.values[skips.count++] = x;
    for (int level = 0; level < config->levels; level++)
        x = down_block(b, x, level, &skips);
    x = mid_block(b, x);
    for (int level = config->levels - 1; level >= 0; level--)
        x = up_block(b, x, level, &skips);
    x = dfi_group_norm(graph, x, "conv_norm_out", config->norm_groups, config->norm_epsilon, config->act, -1);
    values->out = dfi_output(graph, dfi_conv2d(graph, x, "conv_out", config->out_channels, 3, 1, 1));
}

static void build(struct dfi_graph *graph, const struct dfi_model_config *config,
                  struct dfi_model_values *values)
{
    struct builder b = { .config = &config->unet, .graph = graph, .text_graph = graph };
    build_network(&b, config, values);
}

void dfi_if_build_split(struct dfi_graph *text_graph, struct dfi_graph *graph,
                        const struct dfi_model_config *config, struct dfi_model_values *values,
                        struct dfi_links *links)
{
    struct builder b = { .config = &config->unet, .graph = graph, .text_graph = text_graph, .links = links };
    build_network(&b, config, values);
}

int dfi_if_check_size(const struct dfi_if_config *config, int height, int width)
{
    const int step = 1 << (config->levels - 1);
    if (height < step || width < step || height % step || width % step)
        return dfi_fail(DIFFC_ERR_ARG, "image is %d x %d, both sides must be multiples of %d", height, width,
                        step);
    return DIFFC_OK;
}

/* Settings that the JSON text decides; image size and tokens may be changed for a session. */
static int check(struct dfi_model_config *config)
{
    if (!config->json)
        return dfi_fail(DIFFC_ERR_ARG, "if_unet: needs its config.json as options.config");
    DFI_TRY(dfi_if_config_parse(config->json, "config.json", &config->unet));
    const struct dfi_if_config *unet = &config->unet;
    config->image_channels = dfi_if_sample_channels(unet);
    config->image_height = unet->sample_height ? unet->sample_height : 64;
    config->image_width = unet->sample_width ? unet->sample_width : 64;
    config->condition = "text";
    config->text_tokens = 77;
    const int status = dfi_if_check_size(unet, config->image_height, config->image_width);
    return status == DIFFC_ERR_ARG ? dfi_fail_in(DIFFC_ERR_CONFIG, "config.json: sample_size") : status;
}

/* Weights alone do not tell everything: a file needs its config beside it or in its metadata. */
static int infer(const struct diffc_archive *archive, struct dfi_model_config *config)
{
    (void)archive;
    (void)config;
    return dfi_fail(DIFFC_ERR_CONFIG, "an if_unet needs its config.json");
}

const struct dfi_architecture dfi_architecture_if_unet = {
    { "if_unet", "UNet2DConditionModel of the DeepFloyd IF family: conditioned on text states and time" },
    "denoiser",
    check,
    build,
    infer,
    { "x", "t", "class", "text" },
    { "out" },
    1
};
