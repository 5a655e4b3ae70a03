#include "model/if_config.h"

#include <stdio.h>
#include <string.h>

#include "base/registry.h"
#include "base/status.h"

enum { MAX_CHANNELS = 65536, MAX_LAYERS = 64, MAX_ALL_LAYERS = 256, MAX_SAMPLE = 16384 };

/* Keys one after another: the first failure stays, later reads do nothing. */
struct keys {
    const struct json_t *root;
    const char *path;
    int status;
};

static void fail_value(struct keys *keys, int status, const char *key, const struct json_t *value,
                       const char *wanted)
{
    char text[64];
    if (keys->status == DIFFC_OK)
        keys->status = dfi_fail(status, "%s: %s is %s, must be %s", keys->path, key,
                                dfi_json_text(value, text, sizeof(text)), wanted);
}

/* The value of a key; NULL where it is missing or null. */
static const struct json_t *value_of(const struct keys *keys, const char *key)
{
    const struct json_t *value = dfi_json_get(keys->root, key);
    return dfi_json_kind(value) == DFI_JSON_NULL ? NULL : value;
}

/* `limit` 1: beyond `high` lies what a file may not ask for rather than nonsense. */
static int integer_of(struct keys *keys, const char *key, const struct json_t *value, int low, int high,
                      int limit)
{
    int64_t integer = 0;
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "a whole number from %d to %d", low, high);
    if (dfi_json_integer(value, &integer) == 0 && integer >= low && integer <= high)
        return (int)integer;
    fail_value(keys, limit && integer > high ? DIFFC_ERR_LIMIT : DIFFC_ERR_CONFIG, key, value, wanted);
    return low;
}

/* A whole number; `missing` where there is none, which must be given if it is negative. */
static int read_integer(struct keys *keys, const char *key, int missing, int low, int high)
{
    const struct json_t *value = value_of(keys, key);
    return !value && missing >= 0
               ? missing
               : integer_of(keys, key, value ? value : dfi_json_get(keys->root, key), low, high, 0);
}

static double read_number(struct keys *keys, const char *key, double missing, double low, double high)
{
    const struct json_t *value = value_of(keys, key);
    double number = missing;
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "a number from %g to %g", low, high);
    if (value && (dfi_json_number(value, &number) || !(number >= low && number <= high)))
        fail_value(keys, DIFFC_ERR_CONFIG, key, value, wanted);
    return number;
}

static int truth_of(struct keys *keys, const char *key, const struct json_t *value)
{
    int truth = 0;
    if (dfi_json_boolean(value, &truth))
        fail_value(keys, DIFFC_ERR_CONFIG, key, value, "true or false");
    return truth;
}

static int read_truth(struct keys *keys, const char *key, int missing)
{
    const struct json_t *value = value_of(keys, key);
    return value ? truth_of(keys, key, value) : missing;
}

/* Position of a string among names. */
static int name_of(struct keys *keys, const char *key, const struct json_t *value, const char *const *names,
                   int count)
{
    const char *text = dfi_json_string(value);
    char wanted[160] = "";
    for (int i = 0; i < count; i++) {
        const size_t used = strlen(wanted);
        if (text && strcmp(text, names[i]) == 0)
            return i;
        (void)snprintf(wanted + used, sizeof(wanted) - used, "%s\"%s\"",
                       i == 0          ? ""
                       : i + 1 < count ? ", "
                                       : " or ",
                       names[i]);
    }
    fail_value(keys, text ? DIFFC_ERR_UNSUPPORTED : DIFFC_ERR_CONFIG, key, value, wanted);
    return 0;
}

static int read_name(struct keys *keys, const char *key, int missing, const char *const *names, int count)
{
    const struct json_t *value = value_of(keys, key);
    return value ? name_of(keys, key, value, names, count) : missing;
}

static enum dfi_act read_act(struct keys *keys, const char *key, enum dfi_act missing)
{
    static const char *const names[] = { "gelu", "silu", "swish", "relu" };
    static const enum dfi_act acts[] = { DFI_ACT_GELU, DFI_ACT_SILU, DFI_ACT_SILU, DFI_ACT_RELU };
    const int name = read_name(keys, key, -1, names, 4);
    return name < 0 ? missing : acts[name];
}

/* Lists with one value per level. */

static const struct json_t *read_list(struct keys *keys, const char *key, int levels)
{
    const struct json_t *value = value_of(keys, key);
    char wanted[48];
    (void)snprintf(wanted, sizeof(wanted), levels ? "a list of %d" : "a list", levels);
    if (dfi_json_kind(value) != DFI_JSON_ARRAY || (levels && (int)dfi_json_size(value) != levels)) {
        fail_value(keys, DIFFC_ERR_CONFIG, key, dfi_json_get(keys->root, key), wanted);
        return NULL;
    }
    if (!levels && (dfi_json_size(value) < 1 || dfi_json_size(value) > DFI_IF_LEVELS)) {
        (void)snprintf(wanted, sizeof(wanted), "a list of 1 to %d", DFI_IF_LEVELS);
        fail_value(keys, dfi_json_size(value) ? DIFFC_ERR_LIMIT : DIFFC_ERR_CONFIG, key, value, wanted);
        return NULL;
    }
    return value;
}

/* A whole number for all levels, or a list. */
static void read_integers(struct keys *keys, const char *key, int missing, int high, int levels, int *out)
{
    const struct json_t *value = value_of(keys, key);
    char name[64];
    for (int i = 0; i < levels; i++)
        out[i] = missing;
    if (dfi_json_kind(value) == DFI_JSON_ARRAY) {
        value = read_list(keys, key, levels);
        for (int i = 0; value && i < levels; i++) {
            (void)snprintf(name, sizeof(name), "%s[%d]", key, i);
            out[i] = integer_of(keys, name, dfi_json_at(value, (size_t)i), 1, high, 0);
        }
    } else if (value) {
        const int all = integer_of(keys, key, value, 1, high, 0);
        for (int i = 0; i < levels; i++)
            out[i] = all;
    }
}

/* Which blocks of a list attend to the text. */
static int read_blocks(struct keys *keys, const char *key, int levels, const char *const *names, int *attends)
{
    const struct json_t *value = read_list(keys, key, levels);
    char name[64];
    const int count = (int)dfi_json_size(value);
    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof(name), "%s[%d]", key, i);
        attends[i] = name_of(keys, name, dfi_json_at(value, (size_t)i), names, 2);
    }
    return count;
}

static void reverse(int *list, int count)
{
    for (int i = 0; i < count / 2; i++) {
        const int value = list[i];
        list[i] = list[count - 1 - i];
        list[count - 1 - i] = value;
    }
}

static void read_only_cross(struct keys *keys, struct dfi_if_config *config)
{
    static const char key[] = "only_cross_attention";
    const struct json_t *value = value_of(keys, key);
    const int is_list = dfi_json_kind(value) == DFI_JSON_ARRAY;
    int all = 0;
    if (value && !is_list)
        all = truth_of(keys, key, value);
    for (int i = 0; i < config->levels; i++)
        config->only_cross[i] = all;
    if (is_list && read_list(keys, key, config->levels))
        for (int i = 0; i < config->levels; i++)
            config->only_cross[i] = truth_of(keys, key, dfi_json_at(value, (size_t)i));
    config->mid_only_cross = read_truth(keys, "mid_block_only_cross_attention", all);
}

static void read_blocks_and_sizes(struct keys *keys, struct dfi_if_config *config)
{
    static const char *const down[] = { "ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D" };
    static const char *const up[] = { "ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D" };
    static const char *const middle[] = { "UNetMidBlock2DSimpleCrossAttn" };
    char name[64];
    config->levels = read_blocks(keys, "down_block_types", 0, down, config->attends_down);
    if (keys->status < 0)
        return;
    (void)read_blocks(keys, "up_block_types", config->levels, up, config->attends_up);
    reverse(config->attends_up, config->levels);
    (void)name_of(keys, "mid_block_type", dfi_json_get(keys->root, "mid_block_type"), middle, 1);
    const struct json_t *channels = read_list(keys, "block_out_channels", config->levels);
    for (int i = 0; channels && i < config->levels; i++) {
        (void)snprintf(name, sizeof(name), "block_out_channels[%d]", i);
        config->channels[i] = integer_of(keys, name, dfi_json_at(channels, (size_t)i), 1, MAX_CHANNELS, 0);
    }
    read_integers(keys, "layers_per_block", 2, MAX_LAYERS, config->levels, config->layers);
    int all = 0;
    for (int i = 0; i < config->levels; i++)
        all += config->layers[i];
    if (all > MAX_ALL_LAYERS && keys->status == DIFFC_OK)
        keys->status = dfi_fail(DIFFC_ERR_LIMIT, "%s: layers_per_block: %d layers in all levels, at most %d",
                                keys->path, all, MAX_ALL_LAYERS);
    read_integers(keys, "attention_head_dim", 8, MAX_CHANNELS, config->levels, config->head_width);
    read_only_cross(keys, config);
}

static void read_sample_size(struct keys *keys, struct dfi_if_config *config)
{
    static const char key[] = "sample_size";
    const struct json_t *value = value_of(keys, key);
    if (dfi_json_kind(value) == DFI_JSON_ARRAY && dfi_json_size(value) == 2) {
        config->sample_height = integer_of(keys, key, dfi_json_at(value, 0), 1, MAX_SAMPLE, 1);
        config->sample_width = integer_of(keys, key, dfi_json_at(value, 1), 1, MAX_SAMPLE, 1);
    } else if (value) {
        config->sample_height = config->sample_width = integer_of(keys, key, value, 1, MAX_SAMPLE, 1);
    }
}

static void read_text(struct keys *keys, struct dfi_if_config *config)
{
    static const char *const projections[] = { "text_proj" }, *const additions[] = { "text" },
                             *const norms[] = { "group_norm" };
    config->cross_width = read_integer(keys, "cross_attention_dim", 1280, 1, MAX_CHANNELS);
    config->text_width = read_integer(keys, "encoder_hid_dim", 0, 1, MAX_CHANNELS);
    config->projects_text = config->text_width > 0;
    if (read_name(keys, "encoder_hid_dim_type", -1, projections, 1) >= 0 && !config->projects_text)
        fail_value(keys, DIFFC_ERR_CONFIG, "encoder_hid_dim", NULL, "given with encoder_hid_dim_type");
    if (!config->projects_text)
        config->text_width = config->cross_width;
    config->pools_text = read_name(keys, "addition_embed_type", -1, additions, 1) >= 0;
    config->pool_heads = read_integer(keys, "addition_embed_type_num_heads", 64, 1, MAX_CHANNELS);
    config->norms_text = read_name(keys, "cross_attention_norm", -1, norms, 1) >= 0;
}

static void read_time(struct keys *keys, struct dfi_if_config *config)
{
    static const char *const modes[] = { "default", "scale_shift" }, *const kinds[] = { "positional" },
                             *const classes[] = { "timestep" };
    (void)read_name(keys, "time_embedding_type", 0, kinds, 1);
    config->time_width = read_integer(keys, "time_embedding_dim", 4 * config->channels[0], 1,
                                      4 * MAX_CHANNELS);
    config->cosine_first = read_truth(keys, "flip_sin_to_cos", 1);
    config->frequency_shift = read_number(keys, "freq_shift", 0, 0, 1);
    config->time_act = read_act(keys, "time_embedding_act_fn", DFI_ACT_NONE);
    config->scale_shift = read_name(keys, "resnet_time_scale_shift", 0, modes, 2);
    config->skip_time_act = read_truth(keys, "resnet_skip_time_act", 0);
    config->classes = read_name(keys, "class_embed_type", -1, classes, 1) >= 0;
}

/* Keys whose other values would be other networks. */
static const struct fixed_key {
    const char *key, *value;
} fixed_keys[] = {
    { "center_input_sample", "false" },
    { "downsample_padding", "1" },
    { "conv_in_kernel", "3" },
    { "conv_out_kernel", "3" },
    { "dual_cross_attention", "false" },
    { "use_linear_projection", "false" },
    { "class_embeddings_concat", "false" },
    { "attention_type", "\"default\"" },
    { "num_attention_heads", "null" },
    { "num_class_embeds", "null" },
    { "timestep_post_act", "null" },
    { "time_cond_proj_dim", "null" },
    { "projection_class_embeddings_input_dim", "null" },
    { "addition_time_embed_dim", "null" },
    { "reverse_transformer_layers_per_block", "null" },
};

static void check_fixed(struct keys *keys, const struct fixed_key *fixed)
{
    const struct json_t *value = value_of(keys, fixed->key);
    char text[64];
    if (value && strcmp(dfi_json_text(value, text, sizeof(text)), fixed->value) != 0)
        fail_value(keys, DIFFC_ERR_UNSUPPORTED, fixed->key, value, fixed->value);
}

/* What must divide what. */
static void check_divisors(struct keys *keys, const struct dfi_if_config *config)
{
    const int step = 1 << (config->levels - 1);
    const struct {
        const char *divided, *divisor;
        int value, by;
    } rules[] = {
        { "encoder_hid_dim", "addition_embed_type_num_heads", config->pools_text ? config->text_width : 0,
          config->pool_heads },
        { "cross_attention_dim", "the 32 groups of norm_cross", config->norms_text ? config->cross_width : 0,
          32 },
    };
    for (int i = 0; i < DFI_COUNT(rules) && keys->status == DIFFC_OK; i++)
        if (rules[i].value % rules[i].by)
            keys->status = dfi_fail(DIFFC_ERR_CONFIG, "%s: %s is %d, must be divisible by %d (%s)",
                                    keys->path, rules[i].divided, rules[i].value, rules[i].by,
                                    rules[i].divisor);
    for (int i = 0; i < config->levels && keys->status == DIFFC_OK; i++) {
        const int c = config->channels[i], last = config->levels - 1;
        const int down = config->attends_down[i] || i == last ? config->head_width[i] : 1;
        const int up = config->attends_up[i] ? config->head_width[last - i] : 1;
        if (c % config->norm_groups)
            keys->status = dfi_fail(
                DIFFC_ERR_CONFIG, "%s: block_out_channels[%d] is %d, must be divisible by norm_num_groups %d",
                keys->path, i, c, config->norm_groups);
        else if (c % down || c % up)
            keys->status = dfi_fail(
                DIFFC_ERR_CONFIG,
                "%s: block_out_channels[%d] is %d, must be divisible by attention_head_dim %d", keys->path, i,
                c, c % down ? down : up);
    }
    if (keys->status == DIFFC_OK && (config->sample_height % step || config->sample_width % step))
        keys->status = dfi_fail(DIFFC_ERR_CONFIG,
                                "%s: sample_size is %d x %d, both sides must be multiples of %d", keys->path,
                                config->sample_height, config->sample_width, step);
    if (keys->status == DIFFC_OK && config->channels[0] < 4)
        keys->status = dfi_fail(DIFFC_ERR_CONFIG, "%s: block_out_channels[0] is %d, must be at least 4",
                                keys->path, config->channels[0]);
}

int dfi_if_config_read(const struct json_t *root, const char *path, struct dfi_if_config *config)
{
    static const char *const classes[] = { "UNet2DConditionModel" };
    struct keys keys = { root, path, DIFFC_OK };
    memset(config, 0, sizeof(*config));
    (void)read_name(&keys, "_class_name", 0, classes, 1);
    read_blocks_and_sizes(&keys, config);
    read_sample_size(&keys, config);
    config->in_channels = dfi_json_get(root, "in_channels") ? read_integer(&keys, "in_channels", -1, 1, 4096)
                                                            : 4;
    config->out_channels = dfi_json_get(root, "out_channels")
                               ? read_integer(&keys, "out_channels", -1, 1, 4096)
                               : 4;
    config->act = read_act(&keys, "act_fn", DFI_ACT_SILU);
    config->norm_groups = dfi_json_get(root, "norm_num_groups")
                              ? read_integer(&keys, "norm_num_groups", -1, 1, MAX_CHANNELS)
                              : 32;
    config->norm_epsilon = read_number(&keys, "norm_eps", 1e-5, 1e-12, 1);
    config->resnet_divisor = read_number(&keys, "resnet_out_scale_factor", 1, 1e-3, 1e3);
    config->mid_divisor = read_number(&keys, "mid_block_scale_factor", 1, 1e-3, 1e3);
    config->dropout = read_number(&keys, "dropout", 0, 0, 1);
    (void)read_truth(&keys, "upcast_attention", 0); /* not for these blocks, and attention sums in float */
    read_text(&keys, config);
    read_time(&keys, config);
    for (int i = 0; i < DFI_COUNT(fixed_keys); i++)
        check_fixed(&keys, &fixed_keys[i]);
    if (keys.status == DIFFC_OK)
        check_divisors(&keys, config);
    return keys.status;
}

int dfi_if_config_parse(const char *text, const char *path, struct dfi_if_config *config)
{
    const struct dfi_json_limits limits = { 16, 4096, 65536 };
    struct json_t *root = NULL;
    DFI_TRY(dfi_json_parse(path, text, strlen(text), &limits, &root));
    const int status = dfi_json_kind(root) == DFI_JSON_OBJECT
                           ? dfi_if_config_read(root, path, config)
                           : dfi_fail(DIFFC_ERR_FORMAT, "%s: not a JSON object", path);
    dfi_json_free(root);
    return status;
}

int dfi_if_config_knows(const char *key)
{
    static const char *const others[] = { "sample_size",
                                          "in_channels",
                                          "out_channels",
                                          "down_block_types",
                                          "up_block_types",
                                          "mid_block_type",
                                          "block_out_channels",
                                          "layers_per_block",
                                          "attention_head_dim",
                                          "only_cross_attention",
                                          "mid_block_only_cross_attention",
                                          "act_fn",
                                          "norm_num_groups",
                                          "norm_eps",
                                          "cross_attention_dim",
                                          "encoder_hid_dim",
                                          "encoder_hid_dim_type",
                                          "addition_embed_type",
                                          "addition_embed_type_num_heads",
                                          "cross_attention_norm",
                                          "time_embedding_type",
                                          "time_embedding_dim",
                                          "flip_sin_to_cos",
                                          "freq_shift",
                                          "time_embedding_act_fn",
                                          "resnet_time_scale_shift",
                                          "resnet_skip_time_act",
                                          "class_embed_type",
                                          "resnet_out_scale_factor",
                                          "mid_block_scale_factor",
                                          "dropout",
                                          "upcast_attention",
                                          "transformer_layers_per_block" };
    if (key[0] == '_')
        return 1;
    for (int i = 0; i < DFI_COUNT(others); i++)
        if (strcmp(key, others[i]) == 0)
            return 1;
    for (int i = 0; i < DFI_COUNT(fixed_keys); i++)
        if (strcmp(key, fixed_keys[i].key) == 0)
            return 1;
    return 0;
}

int dfi_if_sample_channels(const struct dfi_if_config *config)
{
    const int in = config->in_channels, out = config->out_channels;
    return config->classes && in % 2 == 0 && (out == in || out == in / 2) ? in / 2 : in < out ? in : out;
}
