/* Steps of the networks of DeepFloyd IF at their full size: folders I-M, I-L, I-XL, II-M, II-L and T5-XXL as
 * tests/tools/make_model writes them. A step is one guided prediction: two conditions, 77 tokens. The encoder
 * takes one prompt of 77 tokens, or one of ten words and the empty one, both padded to 77. */

#include <diffc/diffc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench.h"
#include "model/session.h"
#include "model/t5.h"
#include "nn/node.h"

#define TOKENS 77

static const struct {
    const char *folder, *row;
    int prompts;
    int32_t used[2]; /* tokens of the prompts */
} networks[] = { { "I-M", "if_i_m", 0, { 0 } },
                 { "I-L", "if_i_l", 0, { 0 } },
                 { "I-XL", "if_i_xl", 0, { 0 } },
                 { "II-M", "if_ii_m", 0, { 0 } },
                 { "II-L", "if_ii_l", 0, { 0 } },
                 { "T5-XXL", "t5_xxl_77", 1, { TOKENS } },
                 { "T5-XXL", "t5_xxl_prompt_and_empty", 2, { 15, 1 } } };

static int encodes(int which)
{
    return networks[which].prompts > 0;
}

struct network {
    struct bench *bench;
    char path[1024];
    const char *name;
    int which;
    double before;      /* resident bytes */
    int64_t predicted;  /* bytes of the plan, of an encoder with its weights */
    diffc_model *model; /* or the encoder */
    diffc_session *session;
    diffc_text_encoder *encoder;
    diffc_guide *guide;
    diffc_denoiser denoiser;
    diffc_tensor *x, *out;
};

static diffc_tensor *noise(struct bench *bench, int ndim, const int64_t *shape)
{
    diffc_tensor *tensor = NULL;
    bench_check(diffc_tensor_create(bench->context, DIFFC_F32, ndim, shape, &tensor));
    float *values = diffc_tensor_data(tensor);
    for (int64_t i = 0; i < diffc_tensor_count(tensor); i++)
        values[i] = (float)(i * 7919 % 2001) / 1000.0f - 1;
    return tensor;
}

static int run_step(void *argument)
{
    struct network *network = argument;
    const float t = 500;
    int32_t ids[2 * TOKENS] = { 3, 4, 1 };
    if (!network->encoder)
        return diffc_guide_predict(network->guide, &network->denoiser, 0, &t, network->x, network->out);
    return dfi_text_encoder_run(network->encoder, ids, networks[network->which].used,
                                networks[network->which].prompts, diffc_tensor_data(network->out));
}

static void run_checked(void *argument)
{
    bench_check(run_step(argument));
}

/* The least that a session can do with. */
static void find_least(const diffc_model *model, diffc_session_options *options)
{
    int64_t least = 0;
    bench_check(diffc_session_bytes(model, options, &least));
    for (options->memory = least - 1; diffc_session_bytes(model, options, &least) == 0;)
        options->memory = least - 1;
    options->memory = least;
}

static void set_conditions(struct network *network)
{
    const diffc_model *model = network->model;
    const int64_t shape[3] = { 1, TOKENS, model->config.unet.text_width };
    const int32_t level = 250;
    const float scale = 7;
    diffc_tensor *text = noise(network->bench, 3, shape);
    bench_check(diffc_session_set_text(network->session, 0, text));
    bench_check(diffc_session_set_text(network->session, DIFFC_UNCONDITIONAL, text));
    if (model->config.unet.classes)
        bench_check(diffc_session_set_labels(network->session, &level, 1));
    network->denoiser = (diffc_denoiser)DIFFC_DENOISER;
    bench_check(diffc_session_denoiser(network->session, &network->denoiser));
    bench_check(diffc_guide_create_cfg(network->bench->context, &scale, 1, &network->guide));
    diffc_release(&text);
}

static void open_unet(struct network *network, const char *numerics, int least)
{
    struct bench *bench = network->bench;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    int64_t plan = 0;
    options.numerics = numerics;
    options.precision = bench->precision;
    bench_check(diffc_model_open(bench->context, network->path, NULL, &network->model));
    const struct dfi_model_config *config = &network->model->config;
    const int channels = config->unet.in_channels, out_channels = config->unet.out_channels;
    if (least)
        find_least(network->model, &options);
    bench_check(diffc_session_bytes(network->model, &options, &plan));
    network->predicted += plan;
    bench_check(diffc_session_create(network->model, &options, &network->session));
    set_conditions(network);
    network->x = noise(bench, 4,
                       (const int64_t[]) { 1, channels, config->image_height, config->image_width });
    network->out = noise(bench, 4,
                         (const int64_t[]) { 1, out_channels, config->image_height, config->image_width });
}

static void open_encoder(struct network *network)
{
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    diffc_context *context = network->bench->context;
    options.precision = network->bench->precision;
    bench_check(diffc_text_encoder_bytes(context, network->path, &options, &network->predicted));
    bench_check(diffc_text_encoder_open(context, network->path, &options, &network->encoder));
    network->out = noise(network->bench, 3,
                         (const int64_t[]) { 2, TOKENS, diffc_text_encoder_width(network->encoder) });
}

static struct dfi_exec *exec_of(const struct network *network)
{
    return network->encoder ? network->encoder->exec : network->session->exec;
}

static double file_bytes(const struct network *network)
{
    struct stat file = { 0 };
    char path[1100];
    snprintf(path, sizeof(path), "%s/diffusion_pytorch_model.safetensors", network->path);
    return stat(path, &file) == 0 ? (double)file.st_size : 0;
}

/* Of the weights that stay where the file has them. */
static const char *dtype_of(const struct network *network)
{
    const struct dfi_params *params = exec_of(network)->params;
    for (int i = 0; i < params->count; i++)
        if (params->list[i].stored && params->list[i].stored_dtype != DIFFC_F32)
            return params->list[i].stored_dtype == DIFFC_F16 ? "f16" : "bf16";
    return "f32";
}

static struct network *open_network(struct bench *bench, const char *folders, int which, const char *numerics,
                                    int least)
{
    struct network *network = calloc(1, sizeof(*network));
    if (!network)
        exit(1);
    network->bench = bench;
    network->name = networks[which].row;
    network->which = which;
    snprintf(network->path, sizeof(network->path), "%s/%s", folders, networks[which].folder);
    bench_reset_peak();
    const double before = bench_peak_memory();
    if (encodes(which))
        open_encoder(network);
    else
        open_unet(network, numerics, least);
    network->before = before;
    return network;
}

static void close_network(struct network *network)
{
    diffc_release(&network->guide);
    diffc_release(&network->x);
    diffc_release(&network->out);
    diffc_release(&network->session);
    diffc_release(&network->model);
    diffc_release(&network->encoder);
    free(network);
}

static double gflop_of(const struct network *network)
{
    const struct dfi_exec *exec = exec_of(network);
    double sum = 0;
    for (int i = 0; i < exec->graph->count; i++)
        sum += bench_node_gflop(exec, i);
    /* With one condition at a time a step takes several runs. */
    return network->session && exec->options.conditions == 1 ? 2 * sum : sum;
}

static void bench_network(struct bench *bench, const char *folders, int which, const char *numerics,
                          int least)
{
    char name[64];
    const int text = encodes(which);
    snprintf(name, sizeof(name),
             text    ? "%s"
             : least ? "%s_step_cfg_least"
                     : "%s_step_cfg",
             networks[which].row);
    if ((text && (least || strcmp(numerics, "default") != 0)) || !bench_wants(bench, name))
        return;
    struct network *network = open_network(bench, folders, which, numerics, least);
    struct bench_row row = { .name = name, .numerics = numerics, .dtype = dtype_of(network) };
    snprintf(row.shape, sizeof(row.shape), "%d x %d tokens", text ? networks[which].prompts : 2, TOKENS);
    run_checked(network);
    row.gflop = gflop_of(network); /* of the rows that the encoder has computed */
    row.predicted_bytes = (double)network->predicted + (text ? 0 : file_bytes(network));
    row.measured_bytes = bench_peak_memory() - network->before;
    bench_measure(bench, &row, run_checked, network);
    close_network(network);
}

static void bench_cancelled(struct bench *bench, const char *folders, int which, int least)
{
    char name[64];
    snprintf(name, sizeof(name), least ? "%s_cancel_least" : "%s_cancel", networks[which].row);
    if (!bench_wants(bench, name))
        return;
    struct network *network = open_network(bench, folders, which, "default", least);
    const struct bench_row row = { .name = name, .numerics = "default", .dtype = dtype_of(network) };
    bench_cancel(bench, &row, run_step, network);
    close_network(network);
}

static int exists(const char *folders, int which)
{
    char path[1100];
    struct stat file;
    snprintf(path, sizeof(path), "%s/%s/config.json", folders, networks[which].folder);
    return stat(path, &file) == 0;
}

void bench_if(struct bench *bench, const char *folders, const char *only)
{
    static const char *const numerics[] = { "exact", "default", "fast" };
    for (int which = 0; which < DFI_COUNT(networks); which++) {
        if (!exists(folders, which))
            continue;
        for (int i = 0; i < DFI_COUNT(numerics); i++)
            if (!only || strcmp(only, numerics[i]) == 0)
                bench_network(bench, folders, which, numerics[i], 0);
        bench_network(bench, folders, which, "default", 1);
        for (int least = 0; least < 2 && !encodes(which); least++)
            bench_cancelled(bench, folders, which, least);
    }
}

void bench_if_plan(struct bench *bench, const char *folders, const char *numerics)
{
    for (int which = 0; which < DFI_COUNT(networks); which++) {
        if (!exists(folders, which) || !bench_wants(bench, networks[which].row))
            continue;
        struct network *network = open_network(bench, folders, which, numerics, 0);
        char title[128];
        snprintf(title, sizeof(title), "%s, %s", network->name, dtype_of(network));
        run_checked(network);
        bench_profile(bench, exec_of(network), title);
        close_network(network);
    }
}
