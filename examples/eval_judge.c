#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/classify.h"
#include "common/models.h"
#include "common/plot.h"
#include "common/sample.h"
#include "common/stats.h"
#include "eval_judge.h"

struct figures { /* of one set of images */
    double accuracy, frechet, spread_features, spread_pixels;
};

/* The first `count` images of a data set with their labels, which the caller frees, also after an error. */
static int read_real(const diffc_dataset *dataset, const diffc_tensor *raw, int64_t count,
                     diffc_tensor **images, int32_t **labels)
{
    *labels = malloc((size_t)count * sizeof **labels);
    if (!*labels)
        return ex_error(EX_FAILED, "labels", "no memory");
    for (int64_t i = 0; i < count; i++) {
        int status = diffc_dataset_sample(dataset, i, NULL, *labels + i);
        if (status)
            return ex_failed("labels", status);
    }
    return ex_mnist_floats(raw, 0, count, images);
}

/* Pixels as they are judged: clamped to [0, 1]. */
static void clamp(diffc_tensor *images)
{
    float *value = diffc_tensor_data(images);
    for (int64_t i = 0, count = diffc_tensor_count(images); i < count; i++)
        value[i] = value[i] > 0 ? (value[i] < 1 ? value[i] : 1) : 0;
}

static int measure(const struct eval_judge *work, diffc_model *classifier, diffc_tensor *images,
                   const int32_t *labels, const struct ex_judged *test, struct figures *figures)
{
    struct ex_judged judged;
    clamp(images);
    int code = ex_classify(work->context, classifier, images, &judged);
    if (code)
        return code;
    const int32_t *class_of = labels ? labels : judged.label;
    int classes = work->mnist->classes;
    int pixels = (int)(diffc_tensor_count(images) / judged.count);
    figures->accuracy = labels ? ex_accuracy(&judged, labels) : -1;
    figures->frechet = ex_frechet(judged.features, judged.count, test->features, test->count, judged.dim);
    figures->spread_features = ex_spread(judged.features, class_of, judged.count, judged.dim, classes);
    figures->spread_pixels = ex_spread(diffc_tensor_data(images), class_of, judged.count, pixels, classes);
    ex_judged_free(&judged);
    return 0;
}

/* The classifier on the test set; its features are what all Frechet distances go to. */
static int judge_test(const struct eval_judge *work, diffc_model *classifier, struct ex_judged *test)
{
    diffc_tensor *images = NULL;
    int32_t *labels = NULL;
    int64_t count = diffc_dataset_count(work->mnist->test);
    int code = read_real(work->mnist->test, work->mnist->test_images, count, &images, &labels);
    if (!code)
        code = ex_classify(work->context, classifier, images, test);
    if (!code) {
        ex_metric_integer(work->metrics, "test_images", count);
        ex_metric(work->metrics, "classifier_test_accuracy", ex_accuracy(test, labels));
    }
    diffc_release(&images);
    free(labels);
    return code;
}

/* As many real training images, where the data has any. */
static int judge_training(const struct eval_judge *work, diffc_model *classifier,
                          const struct ex_judged *test, struct figures *real)
{
    int64_t have = diffc_dataset_count(work->mnist->train);
    int64_t count = work->samples < have ? work->samples : have;
    diffc_tensor *images = NULL;
    int32_t *labels = NULL;
    int code = read_real(work->mnist->train, work->mnist->train_images, count, &images, &labels);
    if (!code)
        code = measure(work, classifier, images, labels, test, real);
    if (!code) {
        ex_metric_integer(work->metrics, "real_images", count);
        ex_metric(work->metrics, "real_accuracy", real->accuracy);
        ex_metric(work->metrics, "frechet_train_test", real->frechet);
        ex_metric(work->metrics, "real_spread_features", real->spread_features);
        ex_metric(work->metrics, "real_spread_pixels", real->spread_pixels);
    }
    diffc_release(&images);
    free(labels);
    return code;
}

/* The first ten of each class. */
static int draw_samples(const struct eval_judge *work, const diffc_tensor *images, int has_class,
                        double guidance)
{
    struct ex_grid grid = { .rows = 10,
                            .columns = 10,
                            .row_axis = "sample",
                            .column_axis = has_class ? "digit asked for" : "sample" };
    char title[64], name[48], path[EX_PATH];
    diffc_tensor *cells = NULL;
    if (diffc_tensor_dim(images, 0) < 100)
        grid.rows = (int)(diffc_tensor_dim(images, 0) / 10);
    if (!grid.rows)
        return 0;
    snprintf(title, sizeof title, has_class ? "Samples, guidance %g" : "Samples", guidance);
    snprintf(name, sizeof name, has_class ? "samples-guidance-%g.png" : "samples.png", guidance);
    for (int i = 0; i < 10; i++) {
        snprintf(grid.row_label[i], EX_LABEL, "%d", i + 1);
        snprintf(grid.column_label[i], EX_LABEL, "%d", has_class ? i : i + 1);
    }
    grid.title = title;
    int status = diffc_tensor_slice(images, 0, 0, grid.rows * 10, 1, &cells);
    if (status)
        return ex_failed("picture", status);
    grid.images = cells;
    int code = ex_grid_write(&grid, ex_path(path, work->out, name));
    diffc_release(&cells);
    return code;
}

static int judge_samples(const struct eval_judge *work, diffc_model *classifier, diffc_model *model,
                         const int32_t *labels, double guidance, const struct ex_judged *test,
                         struct figures *found)
{
    char label[48];
    snprintf(label, sizeof label, labels ? "guidance %g" : "samples", guidance);
    struct ex_sampling sampling = { .context = work->context,
                                    .model = model,
                                    .count = work->samples,
                                    .labels = labels,
                                    .guidance = guidance,
                                    .steps = work->steps,
                                    .clip = work->clip,
                                    .numerics = work->numerics,
                                    .precision = work->precision,
                                    .seed = work->seed,
                                    .quiet = work->quiet,
                                    .label = label };
    if (!sampling.steps && labels && ex_is_flow(model))
        sampling.steps = 300;
    double begin = ex_seconds();
    int code = ex_sample(&sampling);
    if (code)
        return code;
    double rate = (double)work->samples / (ex_seconds() - begin);
    code = measure(work, classifier, sampling.images, labels, test, found);
    if (!code)
        code = draw_samples(work, sampling.images, labels != NULL, guidance);
    ex_sample_free(&sampling);
    if (code)
        return code;
    printf("%-12s accuracy %.4f  frechet %.4f  spread %.4f (features) %.4f (pixels)  %.2f images/s\n", label,
           found->accuracy, found->frechet, found->spread_features, found->spread_pixels, rate);
    json_t *list = json_object_get(work->metrics, "sweep");
    json_t *entry = json_object();
    ex_metric(entry, "guidance", guidance);
    ex_metric(entry, "frechet_samples_test", found->frechet);
    ex_metric(entry, "spread_features", found->spread_features);
    ex_metric(entry, "spread_pixels", found->spread_pixels);
    ex_metric(entry, "images_per_second", rate);
    if (labels)
        ex_metric(entry, "sample_accuracy", found->accuracy);
    json_array_append_new(list, entry);
    return ex_metrics_save(work->metrics, work->out); /* a sweep takes long: what is known is kept */
}

/* Accuracy and Frechet distance over the guidance, real images as level lines. */
static int draw_sweep(const struct eval_judge *work, const struct figures *found, const struct figures *real)
{
    int count = work->guidance.count;
    double accuracy[EX_REALS_MAX], frechet[EX_REALS_MAX], ends[2] = { HUGE_VAL, -HUGE_VAL };
    char path[EX_PATH];
    for (int i = 0; i < count; i++) {
        accuracy[i] = 100 * found[i].accuracy;
        frechet[i] = found[i].frechet;
        ends[0] = fmin(ends[0], work->guidance.value[i]);
        ends[1] = fmax(ends[1], work->guidance.value[i]);
    }
    double real_accuracy[2] = { 100 * real->accuracy, 100 * real->accuracy };
    double real_frechet[2] = { real->frechet, real->frechet };
    int series = real->frechet > 0 ? 2 : 1;
    struct ex_chart chart = { .title = "Digits that the classifier reads as asked",
                              .x_axis = "guidance",
                              .y_axis = "share of the samples (%)",
                              .series_count = series };
    chart.series[0] = (struct ex_series) {
        "samples", count, work->guidance.value, accuracy, { 0.1, 0.3, 0.7 }, 2, 1
    };
    chart.series[1] = (struct ex_series) { "real training images", 2,   ends, real_accuracy,
                                           { 0.4, 0.4, 0.4 },      1.5, 0 };
    int code = ex_chart_write(&chart, ex_path(path, work->out, "sweep-accuracy.png"));
    if (code)
        return code;
    chart.title = "Distance of the samples to the test set";
    chart.y_axis = "Frechet distance of the classifier's features";
    chart.log_y = 1;
    chart.series[0].y = frechet;
    chart.series[1].y = real_frechet;
    return ex_chart_write(&chart, ex_path(path, work->out, "sweep-frechet.png"));
}

static int sweep(const struct eval_judge *work, diffc_model *classifier, diffc_model *model,
                 const struct ex_judged *test, const struct figures *real)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    const char *architecture;
    struct figures found[EX_REALS_MAX];
    int status = diffc_model_describe(model, &architecture, &options);
    if (status)
        return ex_failed("model", status);
    int has_class = options.condition && !strcmp(options.condition, "class"), best = 0, code = 0;
    int count = has_class ? work->guidance.count : 1;
    int32_t *labels = malloc((size_t)work->samples * sizeof *labels);
    if (!labels)
        return ex_error(EX_FAILED, "labels", "no memory");
    for (int i = 0; i < work->samples; i++)
        labels[i] = i % options.classes;
    json_object_set_new(work->metrics, "sweep", json_array());
    for (int i = 0; i < count && !code; i++) {
        code = judge_samples(work, classifier, model, has_class ? labels : NULL, work->guidance.value[i],
                             test, &found[i]);
        if (!code && found[i].frechet < found[best].frechet)
            best = i;
    }
    free(labels);
    if (code)
        return code;
    ex_metric_integer(work->metrics, "samples", work->samples);
    ex_metric_integer(work->metrics, "seed", (int64_t)work->seed);
    ex_metric(work->metrics, "frechet_samples_test", found[best].frechet);
    if (real->frechet > 0)
        ex_metric(work->metrics, "frechet_ratio", found[best].frechet / real->frechet);
    if (!has_class)
        return 0;
    ex_metric(work->metrics, "best_guidance", work->guidance.value[best]);
    /* The course's guidance is 5; of another list the accuracy of its last value stands for all. */
    int judged = count - 1;
    for (int i = 0; i < count; i++)
        if (work->guidance.value[i] == 5)
            judged = i;
    ex_metric(work->metrics, "sample_guidance", work->guidance.value[judged]);
    ex_metric(work->metrics, "sample_accuracy", found[judged].accuracy);
    return draw_sweep(work, found, real);
}

/* The classifier must know the data's classes, and a model with classes the same ones; a covariance needs two
 * images. */
int eval_judge_check(const struct eval_judge *work, const diffc_model *classifier, const diffc_model *model)
{
    const diffc_model *models[2] = { classifier, model };
    const char *names[2] = { "--classifier", "--weights" }, *architecture;
    const diffc_dataset *parts[2] = { work->mnist->test, work->mnist->train };
    for (int i = 0; i < 2; i++)
        if (parts[i] && diffc_dataset_count(parts[i]) < 2)
            return ex_error(EX_FAILED, i ? "training images" : "test images",
                            "there is one, a Frechet distance needs two");
    for (int i = 0; i < 2 && models[i]; i++) {
        diffc_model_options options = DIFFC_MODEL_OPTIONS;
        int status = diffc_model_describe(models[i], &architecture, &options);
        if (status)
            return ex_failed(names[i], status);
        int has_classes = i == 0 || (options.condition && !strcmp(options.condition, "class"));
        if (has_classes && options.classes != work->mnist->classes)
            return ex_error(EX_FAILED, names[i], "has %d classes, expected %d", options.classes,
                            work->mnist->classes);
        if (options.image_height != work->mnist->height || options.image_width != work->mnist->width)
            return ex_error(EX_FAILED, names[i], "is for images of %d x %d, the data has %d x %d",
                            options.image_height, options.image_width, work->mnist->height,
                            work->mnist->width);
    }
    return 0;
}

int eval_judge_run(const struct eval_judge *work, diffc_model *classifier, diffc_model *model)
{
    struct ex_judged test = { 0 };
    struct figures real = { 0 };
    int code = judge_test(work, classifier, &test);
    if (!code && work->mnist->train_images)
        code = judge_training(work, classifier, &test, &real);
    if (!code && model)
        code = sweep(work, classifier, model, &test, &real);
    ex_judged_free(&test);
    return code;
}
