/* Writes a model folder with random weights: with the official shapes and names of DeepFloyd IF and T5-XXL,
 * for measurements, or with small ones of the same kind for tests. One tensor after
 * another goes to the file: the model is never held as a whole. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "deterministic.h"
#include "io/safetensors.h"
#include "model/architectures.h"
#include "model/t5.h"

#define CHUNK 65536

static const char stage_one[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 64, \"in_channels\": 3, \"out_channels\": "
    "6,"
    " \"layers_per_block\": 3, \"block_out_channels\": [%s], \"cross_attention_dim\": %s,"
    " \"down_block_types\": [\"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\","
    " \"SimpleCrossAttnDownBlock2D\", \"SimpleCrossAttnDownBlock2D\"],"
    " \"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"SimpleCrossAttnUpBlock2D\","
    " \"SimpleCrossAttnUpBlock2D\", \"ResnetUpsampleBlock2D\"],"
    " \"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\", \"encoder_hid_dim\": 4096,"
    " \"attention_head_dim\": 64, \"addition_embed_type\": \"text\", \"addition_embed_type_num_heads\": 64,"
    " \"cross_attention_norm\": \"group_norm\", \"resnet_time_scale_shift\": \"scale_shift\","
    " \"act_fn\": \"gelu\"}\n";

static const char stage_two[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 256, \"in_channels\": 6, \"out_channels\": "
    "6,"
    " \"block_out_channels\": [%s], \"cross_attention_dim\": %s, \"layers_per_block\": [%s],"
    " \"time_embedding_dim\": %s, \"only_cross_attention\": %s,"
    " \"down_block_types\": [\"ResnetDownsampleBlock2D\", \"ResnetDownsampleBlock2D\","
    " \"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\", \"SimpleCrossAttnDownBlock2D\"],"
    " \"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"SimpleCrossAttnUpBlock2D\","
    " \"ResnetUpsampleBlock2D\", \"ResnetUpsampleBlock2D\", \"ResnetUpsampleBlock2D\"],"
    " \"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\", \"encoder_hid_dim\": 4096,"
    " \"attention_head_dim\": 64, \"addition_embed_type\": \"text\", \"addition_embed_type_num_heads\": 64,"
    " \"cross_attention_norm\": \"group_norm\", \"resnet_time_scale_shift\": \"scale_shift\","
    " \"act_fn\": \"gelu\", \"class_embed_type\": \"timestep\", \"time_embedding_act_fn\": \"gelu\","
    " \"resnet_skip_time_act\": true, \"resnet_out_scale_factor\": 1.4142271248762552,"
    " \"mid_block_scale_factor\": 1.4142271248762552}\n";

/* Both take the text states of the tests' small T5. */
static const char tiny_one[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 16, \"in_channels\": 3, \"out_channels\": "
    "6,"
    " \"layers_per_block\": 2, \"block_out_channels\": [32, 64, 96], \"cross_attention_dim\": 64,"
    " \"down_block_types\": [\"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\","
    " \"SimpleCrossAttnDownBlock2D\"],"
    " \"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"SimpleCrossAttnUpBlock2D\","
    " \"ResnetUpsampleBlock2D\"],"
    " \"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\", \"encoder_hid_dim\": 32,"
    " \"attention_head_dim\": 16, \"addition_embed_type\": \"text\", \"addition_embed_type_num_heads\": 4,"
    " \"cross_attention_norm\": \"group_norm\", \"resnet_time_scale_shift\": \"scale_shift\","
    " \"act_fn\": \"gelu\"}\n";

static const char tiny_two[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"sample_size\": 32, \"in_channels\": 6, \"out_channels\": "
    "6,"
    " \"layers_per_block\": [1, 2, 1], \"block_out_channels\": [32, 64, 64], \"cross_attention_dim\": 64,"
    " \"down_block_types\": [\"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\","
    " \"SimpleCrossAttnDownBlock2D\"],"
    " \"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"SimpleCrossAttnUpBlock2D\","
    " \"ResnetUpsampleBlock2D\"],"
    " \"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\", \"encoder_hid_dim\": 32,"
    " \"attention_head_dim\": 16, \"addition_embed_type\": \"text\", \"addition_embed_type_num_heads\": 4,"
    " \"cross_attention_norm\": \"group_norm\", \"resnet_time_scale_shift\": \"scale_shift\","
    " \"act_fn\": \"gelu\", \"class_embed_type\": \"timestep\", \"time_embedding_dim\": 64,"
    " \"time_embedding_act_fn\": \"gelu\", \"resnet_skip_time_act\": true,"
    " \"resnet_out_scale_factor\": 1.4142271248762552, \"mid_block_scale_factor\": 1.4142271248762552}\n";

static const char t5_xxl[] =
    "{\"model_type\": \"t5\", \"architectures\": [\"T5EncoderModel\"], \"d_model\": 4096, \"d_kv\": 64,"
    " \"d_ff\": 10240, \"num_layers\": 24, \"num_heads\": 64, \"vocab_size\": 32128,"
    " \"relative_attention_num_buckets\": 32, \"relative_attention_max_distance\": 128,"
    " \"layer_norm_epsilon\": 1e-06, \"feed_forward_proj\": \"gated-gelu\"}\n";

/* As the configurations published with the models have them. */
static const struct official {
    const char *name, *form, *channels, *cross, *layers, *time, *only_cross;
} officials[] = {
    { "I-M", stage_one, "192, 384, 576, 768", "768", NULL, NULL, NULL },
    { "I-L", stage_one, "320, 640, 960, 1280", "1280", NULL, NULL, NULL },
    { "I-XL", stage_one, "704, 1408, 2112, 2816", "2816", NULL, NULL, NULL },
    { "II-M", stage_two, "128, 256, 512, 768, 768", "768", "2, 2, 3, 3, 3", "768", "false" },
    { "II-L", stage_two, "192, 384, 768, 1152, 1152", "1152", "2, 2, 3, 5, 5", "1152", "true" },
    { "T5-XXL", t5_xxl, NULL, NULL, NULL, NULL, NULL },
    { "tiny-I", tiny_one, NULL, NULL, NULL, NULL, NULL },
    { "tiny-II", tiny_two, NULL, NULL, NULL, NULL, NULL },
};

static int fail(const char *what)
{
    fprintf(stderr, "make_model: %s: %s\n", what, diffc_message());
    return 1;
}

static void config_text(const struct official *official, char *text, size_t size)
{
    if (!official->channels)
        snprintf(text, size, "%s", official->form);
    else if (official->form == stage_one)
        snprintf(text, size, stage_one, official->channels, official->cross);
    else
        snprintf(text, size, stage_two, official->channels, official->cross, official->layers, official->time,
                 official->only_cross);
}

/* Names and shapes: the parameters of a graph that is built and thrown away. */
static int list_params(diffc_context *context, const struct official *official, const char *text,
                       struct dfi_params *params)
{
    const struct dfi_json_limits limits = { 16, 4096, 4096 };
    struct dfi_graph *graph = NULL;
    struct json_t *root = NULL;
    dfi_params_init(params, context, DIFFC_F32);
    DFI_TRY(dfi_graph_create(context, params, &graph));
    if (official->form == t5_xxl) {
        struct dfi_t5_config config;
        struct dfi_t5_values values;
        DFI_TRY(dfi_json_parse("config.json", text, strlen(text), &limits, &root));
        DFI_TRY(dfi_t5_config_read(root, "config.json", &config));
        dfi_json_free(root);
        dfi_t5_build(graph, &config, 77, &values);
    } else {
        struct dfi_model_config config = { .json = text };
        struct dfi_model_values values;
        DFI_TRY(dfi_architecture_if_unet.check(&config));
        dfi_architecture_if_unet.build(graph, &config, &values);
    }
    const int status = dfi_graph_finish(graph);
    dfi_graph_destroy(graph);
    return status;
}

static void write_header(FILE *file, const struct dfi_params *params, int dtype)
{
    const size_t capacity = 512 * (size_t)params->count + 64, element = dfi_dtype_size(dtype);
    char *text = malloc(capacity), *at = text;
    size_t begin = 0;
    at += snprintf(at, capacity, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < params->count; i++) {
        const struct dfi_param *param = &params->list[i];
        at += sprintf(at, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", param->name, dfi_safetensors_dtype(dtype));
        for (int d = 0; d < param->ndim; d++)
            at += sprintf(at, "%s%lld", d ? "," : "", (long long)param->shape[d]);
        at += sprintf(at, "],\"data_offsets\":[%zu,%zu]}", begin, begin + param->count * element);
        begin += param->count * element;
    }
    at += sprintf(at, "}");
    while ((at - text) % 8)
        *at++ = ' ';
    const uint64_t size = (uint64_t)(at - text);
    for (int i = 0; i < 8; i++)
        fputc((int)(size >> 8 * i & 0xff), file);
    fwrite(text, 1, size, file);
    free(text);
}

/* Scaled so that activations keep their size; norms are 1, biases small. */
static void write_values(FILE *file, const struct dfi_param *param, int dtype)
{
    static float values[CHUNK];
    static char converted[CHUNK * sizeof(float)];
    uint64_t state = dt_seed(param->name);
    const double fan = param->ndim > 1 ? (double)param->count / (double)param->shape[0] : 1;
    const int is_norm = param->init == DFI_INIT_ONE;
    const double scale = is_norm ? 0 : param->ndim > 1 ? sqrt(3 / fan) : 0.02;
    for (size_t done = 0; done < param->count; done += CHUNK) {
        const size_t count = param->count - done < CHUNK ? param->count - done : CHUNK;
        for (size_t i = 0; i < count; i++)
            values[i] = (float)((is_norm ? 1 : 0) + scale * dt_next(&state));
        dfi_convert(DIFFC_F32, values, dtype, converted, count);
        fwrite(converted, dfi_dtype_size(dtype), count, file);
    }
}

static int write_folder(const struct official *official, const struct dfi_params *params, const char *text,
                        const char *folder, int dtype)
{
    char path[4096];
    mkdir(folder, 0777);
    snprintf(path, sizeof(path), "%s/config.json", folder);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        return perror(path), 1;
    snprintf(path, sizeof(path), "%s/%s.safetensors", folder,
             official->form == t5_xxl ? "model" : "diffusion_pytorch_model");
    file = fopen(path, "w");
    if (!file)
        return perror(path), 1;
    write_header(file, params, dtype);
    for (int i = 0; i < params->count; i++)
        write_values(file, &params->list[i], dtype);
    if (ferror(file) | fclose(file))
        return perror(path), 1;
    printf("%s: %zu parameters in %d tensors\n", path, params->value_count, params->count);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int dtype;
    } dtypes[] = { { "f32", DIFFC_F32 }, { "f16", DIFFC_F16 }, { "bf16", DIFFC_BF16 } };
    const struct official *official = NULL;
    int dtype = 0;
    for (int i = 0; argc == 4 && i < DFI_COUNT(officials); i++)
        if (strcmp(argv[1], officials[i].name) == 0)
            official = &officials[i];
    for (int i = 0; argc == 4 && i < DFI_COUNT(dtypes); i++)
        if (strcmp(argv[3], dtypes[i].name) == 0)
            dtype = dtypes[i].dtype;
    if (!official || !dtype) {
        fprintf(stderr, "usage: make_model I-M|I-L|I-XL|II-M|II-L|T5-XXL|tiny-I|tiny-II DIR f32|f16|bf16\n");
        return 2;
    }
    diffc_context *context = NULL;
    struct dfi_params params;
    char text[4096];
    config_text(official, text, sizeof(text));
    if (diffc_context_create(NULL, &context) < 0)
        return fail("context");
    if (list_params(context, official, text, &params) < 0)
        return fail(official->name);
    const int code = write_folder(official, &params, text, argv[2], dtype);
    dfi_params_clear(&params);
    diffc_release(&context);
    return code;
}
