#include <stdlib.h>
#include <string.h>

#include "metrics.h"
#include "mnist.h"
#include "models.h"
#include "ranks.h"

#define TEST_BATCH 100 /* the loss does not depend on it */

int ex_model_open(diffc_context *context, const char *weights, const char *run, const char *objectives,
                  diffc_model **model)
{
    char left[EX_PATH];
    const char *architecture = "";
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    snprintf(left, sizeof left, "out/%s/weights.safetensors", run);
    const char *path = weights ? weights : left;
    int status = diffc_model_open(context, path, NULL, model);
    if (!status)
        status = diffc_model_describe(*model, &architecture, &options);
    if (status)
        return ex_failed(path, status);
    if (options.objective && ex_holds(objectives, '|', options.objective))
        return 0;
    int code = ex_error(EX_FAILED, path, "is a %s trained for %s, expected %s", architecture,
                        options.objective ? options.objective : "an objective that its metadata do not name",
                        objectives);
    diffc_release(model);
    return code;
}

int ex_is_flow(const diffc_model *model)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    const char *architecture;
    return diffc_model_describe(model, &architecture, &options) == DIFFC_OK && options.objective &&
           !strcmp(options.objective, "flow");
}

double ex_trained_sigma(const diffc_model *model)
{
    const char *text = diffc_model_metadata(model, "sigma");
    double sigma = text ? strtod(text, NULL) : 0;
    return sigma > 0 ? sigma : 0.5;
}

/* A trainer that makes no step. */
static int evaluate(const struct ex_options *o, diffc_context *context, diffc_model *model,
                    const diffc_dataset *images, double *loss)
{
    diffc_trainer *trainer = NULL;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = TEST_BATCH;
    options.numerics = o->numerics;
    options.precision = o->precision;
    options.sigma = ex_trained_sigma(model);
    options.communicator = ex_ranks()->communicator;
    int status = diffc_trainer_create(model, images, &options, &trainer);
    ex_cancel_on_signal(context);
    if (!status)
        status = diffc_trainer_evaluate(trainer, images, o->seed, 0, loss, NULL);
    ex_cancel_on_signal(NULL);
    diffc_release(&trainer);
    return status ? ex_failed("test loss", status) : 0;
}

int ex_model_test(diffc_context *context, const struct ex_options *o, diffc_model *model, const char *out)
{
    struct ex_mnist mnist;
    double loss = 0;
    int code = ex_mnist_open(context, o->data, 0, 0, &mnist);
    if (code)
        return code;
    code = ex_ranks_agree(ex_ranks()->rank ? 0 : ex_check_folder(out));
    if (!code)
        code = evaluate(o, context, model, mnist.test, &loss);
    if (!code && !ex_ranks()->rank)
        code = ex_make_folder(out);
    if (!code) {
        json_t *metrics = ex_metrics_open(out, 0);
        const char *recorded = diffc_model_metadata(model, "test_loss");
        ex_metric_integer(metrics, "test_images", diffc_dataset_count(mnist.test));
        ex_metric_integer(metrics, "seed", (int64_t)o->seed);
        ex_metric(metrics, "test_loss", loss);
        if (recorded)
            ex_metric(metrics, "test_loss_recorded", strtod(recorded, NULL));
        code = ex_metrics_save(metrics, out);
        json_decref(metrics);
    }
    ex_mnist_close(&mnist);
    return code;
}
