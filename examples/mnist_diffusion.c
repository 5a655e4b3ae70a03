/* Diffusion and flow matching on MNIST: trains the UNet with or without classes, and samples digits from it.
 *
 *   mnist_diffusion train --objective ddpm|flow --condition time|class
 *   mnist_diffusion sample --weights FILE [--guidance 5] [--samples 40]
 *   mnist_diffusion test --weights FILE                  the test loss of a weight file again
 *
 * Without --weights, sample and test take the weights that train left for the same objective and condition.
 *
 * mnist_diffusion_mpi is the same program for several processes: mpirun -np 2 mnist_diffusion_mpi train ...
 * They share the work, and the result has the bits of the program alone. */
#include <stdio.h>
#include <string.h>

#include "common/mnist.h"
#include "common/models.h"
#include "common/ranks.h"
#include "common/train_loop.h"
#include "diffusion_show.h"

struct settings {
    struct ex_options common;
    const char *objective, *condition, *decay;
    double dropout, ema;
    int limit, samples, clip;
    struct ex_reals show;
};

static int is_flow(const struct settings *s)
{
    return !strcmp(s->objective, "flow");
}

static int has_class(const struct settings *s)
{
    return !strcmp(s->condition, "class");
}

/* The runs by their numbers in the course. */
static void name_run(const struct settings *s, char *name, size_t size)
{
    const char *number = is_flow(s) ? (has_class(s) ? "b3.2-" : "b3.1-") : (has_class(s) ? "b2.2-" : "b2.1-");
    snprintf(name, size, "%s%s-%s", number, s->objective, s->condition);
}

static int create_model(diffc_context *context, const struct settings *s, const struct ex_mnist *mnist,
                        diffc_model **model)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    options.image_height = mnist->height;
    options.image_width = mnist->width;
    options.width = s->common.width;
    options.classes = mnist->classes;
    options.condition = s->condition;
    options.time_mode = s->common.time;
    options.objective = s->objective;
    options.train_steps = is_flow(s) ? 0 : s->common.timesteps;
    options.seed = s->common.seed;
    int status = diffc_model_create(context, "cs180_unet", &options, model);
    return status ? ex_failed("model", status) : 0;
}

static int create_trainer(diffc_model *model, const struct settings *s, const struct ex_mnist *mnist,
                          diffc_trainer **trainer)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.objective = s->objective;
    options.class_dropout = s->dropout > 0 ? s->dropout : -1;
    options.batch = s->common.batch;
    options.epochs = s->common.epochs;
    options.seed = s->common.seed;
    options.learning_rate = s->common.learning_rate;
    options.decay = s->decay;
    options.ema_decay = s->ema;
    options.numerics = s->common.numerics;
    options.precision = s->common.precision;
    options.communicator = ex_ranks()->communicator;
    int status = diffc_trainer_create(model, mnist->train, &options, trainer);
    return status ? ex_failed("trainer", status) : 0;
}

static struct diffusion_show showing(diffc_context *context, const struct settings *s, const char *out)
{
    return (struct diffusion_show) { .context = context,
                                     .out = out,
                                     .numerics = s->common.numerics,
                                     .precision = s->common.precision,
                                     .seed = s->common.seed,
                                     .guidance = s->common.guidance.value[0],
                                     .steps = s->common.timesteps,
                                     .samples = s->samples,
                                     .clip = s->clip,
                                     .quiet = s->common.quiet };
}

static int train(diffc_context *context, const struct settings *s, const char *name, const char *out)
{
    struct ex_mnist mnist;
    struct diffusion_show show = showing(context, s, out);
    diffc_model *model = NULL;
    diffc_trainer *trainer = NULL;
    char title[96];
    int code = ex_mnist_open(context, s->common.data, s->limit, 0, &mnist);
    if (code)
        return code;
    code = create_model(context, s, &mnist, &model);
    if (!code)
        code = create_trainer(model, s, &mnist, &trainer);
    snprintf(title, sizeof title, "%s, condition: %s", is_flow(s) ? "Flow matching" : "DDPM", s->condition);
    if (!code) {
        struct ex_training run = {
            .options = &s->common,
            .out = out,
            .name = name,
            .context = context,
            .model = model,
            .trainer = trainer,
            .train = mnist.train,
            .test = mnist.test,
            .show = s->show,
            .title = title,
            .loss_name = is_flow(s) ? "mean squared error of the velocity"
                                    : "mean squared error of the noise",
            .picture = diffusion_show_epoch,
            .opaque = &show,
            .ema = s->ema,
        };
        code = ex_train(&run);
    }
    diffc_release(&trainer);
    diffc_release(&model);
    ex_mnist_close(&mnist);
    return code;
}

static int sample(diffc_context *context, const struct settings *s, const char *name, const char *out)
{
    struct diffusion_show show = showing(context, s, out);
    diffc_model *model = NULL;
    int code = ex_model_open(context, s->common.weights, name, "ddpm|flow", &model);
    if (!code) {
        json_t *metrics = ex_metrics_open(out, 0);
        code = diffusion_show_samples(&show, model, metrics);
        if (!code)
            code = ex_metrics_save(metrics, out);
        json_decref(metrics);
    }
    diffc_release(&model);
    return code;
}

static int test(diffc_context *context, const struct settings *s, const char *name, const char *out)
{
    diffc_model *model = NULL;
    int code = ex_model_open(context, s->common.weights, name, "ddpm|flow", &model);
    if (!code)
        code = ex_model_test(context, &s->common, model, out);
    diffc_release(&model);
    return code;
}

/* Left at 0, `timesteps` means T = 300 of DDPM training, and for sampling what the model asks for. */
static void set_defaults(struct settings *s, int training)
{
    struct ex_options *o = &s->common;
    int flow = is_flow(s);
    o->epochs = o->epochs ? o->epochs : flow ? 10 : 20;
    o->batch = o->batch ? o->batch : flow ? 64 : 128;
    o->learning_rate = o->learning_rate > 0 ? o->learning_rate : flow ? 1e-2 : 1e-3;
    o->width = o->width ? o->width : 64;
    if (!o->time)
        o->time = flow && !has_class(s) ? "mul" : "add";
    if (!o->timesteps && training && !flow)
        o->timesteps = 300;
    if (!o->guidance.count)
        o->guidance = (struct ex_reals) { 1, { 5 } };
    if (!s->show.count)
        s->show = flow ? (struct ex_reals) { 3, { 1, 5, 10 } } : (struct ex_reals) { 2, { 5, 20 } };
}

static int run(int argc, char **argv)
{
    struct settings s = {
        .objective = "ddpm", .condition = "time", .decay = "exponential", .dropout = 0.1, .samples = 40
    };
    const struct ex_option own[] = {
        { "objective", EX_CHOICE, &s.objective, 0, 0, "ddpm|flow", "noise prediction or flow matching" },
        { "condition", EX_CHOICE, &s.condition, 0, 0, "time|class",
          "what the UNet is told (class: and time)" },
        { "decay", EX_CHOICE, &s.decay, 0, 0, "exponential|none",
          "train: learning rate falls to a tenth, or not" },
        { "class-dropout", EX_REAL, &s.dropout, 0, 1, "P",
          "train: share of images without their class (0.1)" },
        { "ema", EX_REAL, &s.ema, 0, 0.999999, "D", "train: also average the weights, with this decay" },
        { "limit", EX_INT, &s.limit, 1, 1e9, "N", "train: only the first N training images" },
        { "show", EX_REALS, &s.show, 1, 1e6, "N[,N...]", "train: epochs after which samples are drawn" },
        { "samples", EX_INT, &s.samples, 1, 600, "N",
          "pictures to draw (default 40; with classes 4 per digit)" },
        { "clip", EX_FLAG, &s.clip, 0, 0, NULL, "ddpm: estimates of the image stay in 0 .. 1" },
    };
    const struct ex_program program = {
        .about = "Diffusion models of MNIST digits: DDPM or flow matching, with time or class condition.",
        .commands = "train|sample|test",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused_by = { { "sample|test",
                         "epochs batch lr width time resume decay class-dropout ema limit show" },
                       { "sample", "data" },
                       { "test", "timesteps guidance samples clip" } },
    };
    int code = ex_options_read(&s.common, &program, argc, argv);
    if (code >= 0 || (code = ex_check_whole("--show", &s.show)))
        return code;
    if (s.common.guidance.count > 1)
        return ex_error(EX_USAGE, "--guidance", "one value, please (mnist_eval takes a list)");
    s.common.quiet |= ex_ranks()->rank > 0;
    const char *command = s.common.command;
    int training = !strcmp(command, "train"), sampling = !strcmp(command, "sample");
    char name[48], folder[64];
    set_defaults(&s, training);
    name_run(&s, name, sizeof name);
    snprintf(folder, sizeof folder, "out/%s%s", name, training ? "" : sampling ? "-samples" : "-test");
    const char *out = s.common.out ? s.common.out : folder;
    diffc_context *context = NULL;
    ex_begin();
    code = ex_context_open(&s.common, &context);
    if (!code)
        code = training   ? train(context, &s, name, out)
               : sampling ? sample(context, &s, name, out)
                          : test(context, &s, name, out);
    diffc_release(&context);
    return ex_end(code, out);
}

int main(int argc, char **argv)
{
    int code = ex_ranks_open(&argc, &argv);
    if (!code)
        code = run(argc, argv);
    return ex_ranks_close(code);
}
