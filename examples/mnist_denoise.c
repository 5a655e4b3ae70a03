/* One-step denoising of MNIST digits: the UNet learns to remove noise of one strength, or to make an image of
 * pure noise at one stroke, which gives the mean digit.
 *
 *   mnist_denoise train [--sigma 0.5] [--pure-noise]   trains; pictures, loss curve and weights in out/NAME
 *   mnist_denoise show [--weights FILE]                noising grid, denoising, other strengths of noise
 *   mnist_denoise test [--weights FILE]                the test loss of a weight file again
 *   mnist_denoise noise                                the noising grid alone, without a network */
#include <stdio.h>
#include <string.h>

#include "common/mnist.h"
#include "common/models.h"
#include "common/train_loop.h"
#include "denoise_show.h"

struct settings {
    struct ex_options common;
    double sigma, ema;
    int pure_noise, limit, count;
    struct ex_reals show;
};

static const char *run_name(const struct settings *s)
{
    return s->pure_noise ? "b1.4-pure-noise" : "b1.2-denoise";
}

static int create_model(diffc_context *context, const struct settings *s, const struct ex_mnist *mnist,
                        diffc_model **model)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    char sigma[32];
    options.image_height = mnist->height;
    options.image_width = mnist->width;
    options.width = s->common.width;
    options.objective = s->pure_noise ? "noise" : "denoise";
    options.seed = s->common.seed;
    int status = diffc_model_create(context, "cs180_unet", &options, model);
    if (!status && !s->pure_noise) {
        snprintf(sigma, sizeof sigma, "%g", s->sigma);
        status = diffc_model_set_metadata(*model, "sigma", sigma);
    }
    return status ? ex_failed("model", status) : 0;
}

static int create_trainer(diffc_model *model, const struct settings *s, const struct ex_mnist *mnist,
                          diffc_trainer **trainer)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.objective = s->pure_noise ? "noise" : "denoise";
    options.sigma = s->sigma;
    options.batch = s->common.batch;
    options.epochs = s->common.epochs;
    options.seed = s->common.seed;
    options.learning_rate = s->common.learning_rate;
    options.ema_decay = s->ema;
    options.numerics = s->common.numerics;
    options.precision = s->common.precision;
    int status = diffc_trainer_create(model, mnist->train, &options, trainer);
    return status ? ex_failed("trainer", status) : 0;
}

static int train(diffc_context *context, const struct settings *s, const char *out)
{
    struct ex_mnist mnist;
    struct denoise_show show = { .context = context,
                                 .mnist = &mnist,
                                 .out = out,
                                 .numerics = s->common.numerics,
                                 .precision = s->common.precision,
                                 .seed = s->common.seed };
    diffc_model *model = NULL;
    diffc_trainer *trainer = NULL;
    int code = ex_mnist_open(context, s->common.data, s->limit, 0, &mnist);
    if (code)
        return code;
    code = create_model(context, s, &mnist, &model);
    if (!code)
        code = create_trainer(model, s, &mnist, &trainer);
    if (!code) {
        struct ex_training run = {
            .options = &s->common,
            .out = out,
            .name = run_name(s),
            .context = context,
            .model = model,
            .trainer = trainer,
            .train = mnist.train,
            .test = mnist.test,
            .show = s->show,
            .title = s->pure_noise ? "One step from pure noise" : "One-step denoiser",
            .loss_name = "mean squared error per pixel (pixels in 0 .. 1)",
            .picture = denoise_show_epoch,
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

static int show_results(diffc_context *context, const struct settings *s, const char *out)
{
    struct ex_mnist mnist;
    struct denoise_show show = {
        .context = context,
        .mnist = &mnist,
        .out = out,
        .numerics = s->common.numerics,
        .precision = s->common.precision,
        .seed = s->common.seed,
        .count = s->count,
    };
    diffc_model *model = NULL;
    int with_model = !strcmp(s->common.command, "show");
    int code = ex_mnist_open(context, s->common.data, 0, 1, &mnist);
    if (code)
        return code;
    ex_cancel_on_signal(context);
    if (with_model)
        code = ex_model_open(context, s->common.weights, run_name(s), "denoise|noise", &model);
    if (!code)
        code = ex_make_folder(out);
    if (!code)
        code = denoise_show_noising(&show);
    if (!code && with_model) {
        json_t *metrics = ex_metrics_open(out, 0);
        code = denoise_show_model(&show, model, metrics);
        if (!code)
            code = ex_metrics_save(metrics, out);
        json_decref(metrics);
    }
    ex_cancel_on_signal(NULL);
    diffc_release(&model);
    ex_mnist_close(&mnist);
    return code;
}

static int test(diffc_context *context, const struct settings *s, const char *out)
{
    diffc_model *model = NULL;
    int code = ex_model_open(context, s->common.weights, run_name(s), "denoise|noise", &model);
    if (!code)
        code = ex_model_test(context, &s->common, model, out);
    diffc_release(&model);
    return code;
}

static void set_defaults(struct settings *s)
{
    struct ex_options *o = &s->common;
    o->epochs = o->epochs ? o->epochs : 5;
    o->batch = o->batch ? o->batch : 256;
    o->learning_rate = o->learning_rate > 0 ? o->learning_rate : 1e-4;
    o->width = o->width ? o->width : 128;
    if (!s->show.count)
        s->show = (struct ex_reals) { 2, { 1, 5 } };
}

int main(int argc, char **argv)
{
    struct settings s = { .sigma = 0.5, .count = 100 };
    const struct ex_option own[] = {
        { "sigma", EX_REAL, &s.sigma, 1e-6, 100, "X", "train: strength of the noise (default 0.5)" },
        { "pure-noise", EX_FLAG, &s.pure_noise, 0, 0, NULL, "the run whose input is noise alone" },
        { "ema", EX_REAL, &s.ema, 0, 0.999999, "D", "train: also average the weights, with this decay" },
        { "limit", EX_INT, &s.limit, 1, 1e9, "N", "train: only the first N training images" },
        { "show", EX_REALS, &s.show, 1, 1e6, "N[,N...]",
          "train: epochs after which pictures are made (1,5)" },
        { "count", EX_INT, &s.count, 1, 1e6, "N", "show: test images that the errors are taken over (100)" },
    };
    const struct ex_program program = {
        .about = "One-step denoising of MNIST digits. train: the UNet learns it; show: what it does; test: "
                 "its test loss again; noise: noising alone.",
        .commands = "train|show|test|noise",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "time timesteps guidance",
        .unused_by = { { "train", "count" },
                       { "show|test|noise", "epochs batch lr width resume sigma ema limit show" },
                       { "test|noise", "count" },
                       { "noise", "weights precision numerics memory pure-noise" } },
    };
    int code = ex_options_read(&s.common, &program, argc, argv);
    if (code >= 0 || (code = ex_check_whole("--show", &s.show)))
        return code;
    set_defaults(&s);
    const char *command = s.common.command;
    char folder[64];
    snprintf(folder, sizeof folder, "out/%s%s%s", run_name(&s), strcmp(command, "train") ? "-" : "",
             strcmp(command, "train") ? command : "");
    const char *out = s.common.out ? s.common.out : folder;
    diffc_context *context = NULL;
    ex_begin();
    code = ex_context_open(&s.common, &context);
    if (!code)
        code = !strcmp(command, "train")  ? train(context, &s, out)
               : !strcmp(command, "test") ? test(context, &s, out)
                                          : show_results(context, &s, out);
    diffc_release(&context);
    return ex_end(code, out);
}
