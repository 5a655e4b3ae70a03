/* Judges digits with a classifier that the library trains itself.
 *
 *   mnist_eval train                     trains the classifier (LeNet)
 *   mnist_eval judge --weights FILE --classifier FILE [--guidance 0,1,2,5,10] [--samples 1000]
 *
 * judge draws samples at each guidance and reports how many of them the classifier reads as asked, their
 * Frechet distance to the test set, and how much the digits of a class differ; beside it the same for as many
 * real training images. */
#include <stdio.h>
#include <string.h>

#include "common/mnist.h"
#include "common/models.h"
#include "common/train_loop.h"
#include "eval_judge.h"

struct settings {
    struct ex_options common;
    const char *classifier;
    int limit, samples, clip;
};

static int train(diffc_context *context, const struct settings *s, const char *out)
{
    struct ex_mnist mnist;
    diffc_model *model = NULL;
    diffc_trainer *trainer = NULL;
    diffc_model_options model_options = DIFFC_MODEL_OPTIONS;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    int code = ex_mnist_open(context, s->common.data, s->limit, 0, &mnist);
    if (code)
        return code;
    model_options.image_height = mnist.height;
    model_options.image_width = mnist.width;
    model_options.classes = mnist.classes;
    model_options.objective = "classify";
    model_options.seed = s->common.seed;
    options.objective = "classify";
    options.batch = s->common.batch;
    options.epochs = s->common.epochs;
    options.seed = s->common.seed;
    options.learning_rate = s->common.learning_rate;
    options.decay = "exponential";
    options.numerics = s->common.numerics;
    options.precision = s->common.precision;
    int status = diffc_model_create(context, "lenet", &model_options, &model);
    if (!status)
        status = diffc_trainer_create(model, mnist.train, &options, &trainer);
    code = status ? ex_failed("classifier", status) : 0;
    if (!code) {
        struct ex_training run = {
            .options = &s->common,
            .out = out,
            .name = "lenet",
            .context = context,
            .model = model,
            .trainer = trainer,
            .train = mnist.train,
            .test = mnist.test,
            .title = "Classifier of MNIST digits",
            .loss_name = "cross entropy (nats)",
        };
        for (int epoch = 1; epoch <= s->common.epochs && epoch <= EX_REALS_MAX; epoch++)
            run.show.value[run.show.count++] = epoch;
        code = ex_train(&run);
    }
    diffc_release(&trainer);
    diffc_release(&model);
    ex_mnist_close(&mnist);
    return code;
}

static int judge(diffc_context *context, const struct settings *s, const char *out)
{
    struct ex_mnist mnist;
    diffc_model *model = NULL, *classifier = NULL;
    struct eval_judge work = { .context = context,
                               .mnist = &mnist,
                               .out = out,
                               .samples = s->samples,
                               .steps = s->common.timesteps,
                               .clip = s->clip,
                               .quiet = s->common.quiet,
                               .numerics = s->common.numerics,
                               .precision = s->common.precision,
                               .seed = s->common.seed,
                               .guidance = s->common.guidance };
    int code = ex_mnist_open(context, s->common.data, s->limit, 1, &mnist);
    if (code)
        return code;
    ex_cancel_on_signal(context);
    code = ex_model_open(context, s->classifier, "lenet", "classify", &classifier);
    if (!code && s->common.weights)
        code = ex_model_open(context, s->common.weights, "", "ddpm|flow", &model);
    if (!code)
        code = eval_judge_check(&work, classifier, model);
    if (!code)
        code = ex_make_folder(out);
    if (!code) {
        work.metrics = ex_metrics_open(out, 0);
        code = eval_judge_run(&work, classifier, model);
        if (!code)
            code = ex_metrics_save(work.metrics, out);
        json_decref(work.metrics);
    }
    ex_cancel_on_signal(NULL);
    diffc_release(&classifier);
    diffc_release(&model);
    ex_mnist_close(&mnist);
    return code;
}

static void set_defaults(struct settings *s)
{
    struct ex_options *o = &s->common;
    o->epochs = o->epochs ? o->epochs : 20;
    o->batch = o->batch ? o->batch : 64;
    o->learning_rate = o->learning_rate > 0 ? o->learning_rate : 1e-3;
    if (!o->guidance.count)
        o->guidance = (struct ex_reals) { 5, { 0, 1, 2, 5, 10 } };
}

int main(int argc, char **argv)
{
    struct settings s = { .samples = 1000 };
    const struct ex_option own[] = {
        { "classifier", EX_TEXT, &s.classifier, 0, 0, "FILE",
          "judge: its weights (out/lenet/weights.safetensors)" },
        { "samples", EX_INT, &s.samples, 2, 1e6, "N", "judge: how many digits at each guidance (1000)" },
        { "clip", EX_FLAG, &s.clip, 0, 0, NULL, "judge: ddpm: estimates of the image stay in 0 .. 1" },
        { "limit", EX_INT, &s.limit, 1, 1e9, "N", "only the first N training images" },
    };
    const struct ex_program program = {
        .about = "Trains a classifier of MNIST digits (train), and judges a generative model with it (judge; "
                 "without --weights\nonly the classifier and real images).",
        .commands = "train|judge",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "width time",
        .unused_by = { { "train", "timesteps guidance classifier samples clip" },
                       { "judge", "epochs batch lr resume" } },
    };
    int code = ex_options_read(&s.common, &program, argc, argv);
    if (code >= 0)
        return code;
    set_defaults(&s);
    int training = !strcmp(s.common.command, "train");
    const char *out = s.common.out ? s.common.out : training ? "out/lenet" : "out/judge";
    diffc_context *context = NULL;
    ex_begin();
    code = ex_context_open(&s.common, &context);
    if (!code)
        code = training ? train(context, &s, out) : judge(context, &s, out);
    diffc_release(&context);
    return ex_end(code, out);
}
