/* Whole runs of a tiny UNet: they learn, and their bits depend on nothing but the options. */

#include "train_case.h"

#include <math.h>

static diffc_trainer_options small_run(void)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 10;
    options.epochs = 2;
    options.learning_rate = 3e-3;
    options.seed = 11;
    options.decay = "exponential";
    options.ema_decay = 0.9;
    return options;
}

static void loss_falls(void **state)
{
    static const char *const objectives[] = { "denoise", "noise", "ddpm", "flow" };
    (void)state;
    for (int k = 0; k < 4; k++) {
        diffc_context *context = tc_context(2);
        diffc_dataset *data = tc_data(context, 64);
        diffc_model *model = tc_model(context, objectives[k]);
        diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
        options.batch = 16;
        options.epochs = 20;
        options.learning_rate = 1e-2;
        diffc_trainer *trainer = tc_trainer(model, data, &options);
        diffc_train_report report = DIFFC_TRAIN_REPORT;
        double first = 0, last = 0, before, after;
        tc_ok(diffc_trainer_evaluate(trainer, data, 5, 0, &before, NULL));
        for (int i = 0; i < 80; i++) {
            tc_ok(diffc_trainer_step(trainer, &report));
            first += i < 4 ? report.loss / 4 : 0;
            last += i >= 76 ? report.loss / 4 : 0;
        }
        assert_int_equal(report.step, 80);
        assert_int_equal(report.steps, 80);
        assert_int_equal(report.epoch, 20);
        tc_fails(diffc_trainer_step(trainer, &report), DIFFC_ERR_STATE, "80");
        tc_ok(diffc_trainer_evaluate(trainer, data, 5, 0, &after, NULL));
        print_message("%s: train %.4f -> %.4f, evaluation %.4f -> %.4f\n", objectives[k], first, last, before,
                      after);
        assert_true(last < 0.7 * first);
        assert_true(after < before);
        diffc_release(&trainer);
        diffc_release(&model);
        diffc_release(&data);
        diffc_release(&context);
    }
}

/* Trains `steps` updates on `threads` threads; in two trainers with a checkpoint between them if `cut` is not
 * 0. */
static float *run(const char *objective, const diffc_trainer_options *options, int threads, int64_t samples,
                  int steps, int cut, size_t *bytes)
{
    diffc_context *context = tc_context(threads);
    diffc_dataset *data = tc_data(context, samples);
    diffc_model *model = tc_model(context, objective), *average = NULL;
    diffc_trainer *trainer = tc_trainer(model, data, options);
    char directory[64];
    tc_directory(directory);
    for (int i = 0; i < steps; i++) {
        if (cut && i == cut) {
            tc_ok(diffc_trainer_save(trainer, directory, 1));
            diffc_release(&trainer);
            diffc_release(&model);
            model = tc_model(context, objective);
            trainer = tc_trainer(model, data, options);
            tc_ok(diffc_trainer_resume(trainer, directory));
        }
        tc_ok(diffc_trainer_step(trainer, NULL));
    }
    size_t own, averaged;
    float *weights = tc_weights(model, &own);
    tc_ok(diffc_trainer_ema_model(trainer, &average));
    float *ema = tc_weights(average, &averaged);
    char *both = malloc(own + averaged);
    assert_non_null(both);
    memcpy(both, weights, own);
    memcpy(both + own, ema, averaged);
    *bytes = own + averaged;
    free(weights);
    free(ema);
    tc_remove(directory);
    diffc_release(&average);
    diffc_release(&trainer);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
    return (float *)(void *)both;
}

static void threads_leave_no_trace(void **state)
{
    static const int threads[] = { 2, 3, 5 };
    static const char *const objectives[] = { "ddpm", "flow", "denoise" };
    const diffc_trainer_options options = small_run();
    size_t bytes, other;
    (void)state;
    for (int k = 0; k < 3; k++) {
        float *alone = run(objectives[k], &options, 1, 27, 6, 0, &bytes);
        for (int i = 0; i < 3; i++) {
            float *many = run(objectives[k], &options, threads[i], 27, 6, 0, &other);
            assert_int_equal(bytes, other);
            assert_memory_equal(alone, many, bytes);
            free(many);
        }
        free(alone);
    }
}

static void interruptions_leave_no_trace(void **state)
{
    static const int cuts[] = { 1, 2, 3, 5 };
    (void)state;
    for (int accumulate = 1; accumulate <= 2; accumulate++) {
        diffc_trainer_options options = small_run();
        options.accumulate = accumulate;
        options.epochs = 2 * accumulate;
        options.optimizer = accumulate == 1 ? "adam" : "adamw";
        options.weight_decay = 0.01;
        options.clip_norm = 0.5;
        size_t bytes, other;
        float *whole = run("ddpm", &options, 2, 27, 6, 0, &bytes); /* batches of 10, 10 and 7 */
        for (int i = 0; i < 4; i++) {
            float *parts = run("ddpm", &options, 1 + i % 3, 27, 6, cuts[i], &other);
            assert_memory_equal(whole, parts, bytes);
            free(parts);
        }
        free(whole);
    }
}

/* A whole batch against two halves: the same up to rounding where batch norm sees no difference, so a
 * classifier. */
static void accumulating_averages(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_model_options shape = DIFFC_MODEL_OPTIONS;
    shape.image_height = 16;
    diffc_model *models[2] = { NULL, NULL };
    const int64_t sizes[4] = { 20, 1, 16, 16 };
    diffc_tensor *images = NULL, *labels = NULL;
    diffc_dataset *data = NULL;
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, sizes, &images));
    tc_ok(diffc_tensor_create(context, DIFFC_I64, 1, sizes, &labels));
    tc_ok(diffc_rng_uniform(images, 1, 2, 0));
    for (int i = 0; i < 20; i++)
        ((int64_t *)diffc_tensor_data(labels))[i] = i % 10;
    tc_ok(diffc_dataset_create(images, labels, &data));
    double norms[2], losses[2];
    for (int k = 0; k < 2; k++) {
        diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
        options.batch = k ? 10 : 20;
        options.accumulate = k ? 2 : 1;
        tc_ok(diffc_model_create(context, "lenet", &shape, &models[k]));
        diffc_trainer *trainer = tc_trainer(models[k], data, &options);
        diffc_train_report report = DIFFC_TRAIN_REPORT;
        tc_ok(diffc_trainer_step(trainer, &report));
        assert_int_equal(report.steps, 1);
        norms[k] = report.gradient_norm;
        losses[k] = report.loss;
        diffc_release(&trainer);
    }
    assert_true(fabs(norms[0] - norms[1]) < 1e-5 * norms[0]);
    assert_true(fabs(losses[0] - losses[1]) < 1e-5 * losses[0]);
    diffc_release(&models[0]);
    diffc_release(&models[1]);
    diffc_release(&data);
    diffc_release(&images);
    diffc_release(&labels);
    diffc_release(&context);
}

/* A runner that asks for a cancel after so many grids. */
struct stopper {
    diffc_context *context;
    int calls, stop_at;
};

static void run_and_stop(void *opaque, diffc_task_fn task, void *work, int count)
{
    struct stopper *stopper = opaque;
    if (stopper->calls++ == stopper->stop_at)
        diffc_context_cancel(stopper->context);
    for (int i = 0; i < count; i++)
        task(work, i, 0);
}

/* Cancels a step at each of its grids in turn: either nothing has changed, or all of the update was made. */
static void cancel_leaves_whole_steps(void **state)
{
    (void)state;
    struct stopper stopper = { NULL, 0, -1 };
    diffc_context_options how = DIFFC_CONTEXT_OPTIONS;
    how.threads = 1;
    how.runner = run_and_stop;
    how.runner_opaque = &stopper;
    tc_ok(diffc_context_create(&how, &stopper.context));
    diffc_context *context = stopper.context;
    diffc_dataset *data = tc_data(context, 12);
    diffc_model *model = tc_model(context, "ddpm"), *reference_model = tc_model(context, "ddpm");
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 6;
    options.accumulate = 2;
    options.epochs = 1000;
    options.ema_decay = 0.5;
    diffc_trainer *trainer = tc_trainer(model, data, &options);
    diffc_trainer *reference = tc_trainer(reference_model, data, &options);
    int cancelled = 0, finished = 0, grids = 1;
    for (int at = 0; at < grids; at++) {
        size_t bytes;
        float *before = tc_weights(model, &bytes);
        const int64_t step = trainer->step;
        stopper.calls = 0;
        stopper.stop_at = at;
        const int status = diffc_trainer_step(trainer, NULL);
        stopper.stop_at = -1;
        float *after = tc_weights(model, &bytes);
        if (status == DIFFC_ERR_CANCELLED) {
            cancelled++;
            assert_memory_equal(before, after, bytes);
            assert_int_equal(trainer->step, step);
            stopper.calls = 0;
            tc_ok(diffc_trainer_step(trainer, NULL));
            grids = stopper.calls;
        } else {
            tc_ok(status);
            finished++;
            tc_fails(diffc_trainer_step(trainer, NULL), DIFFC_ERR_CANCELLED,
                     NULL); /* the next call was meant */
        }
        free(before);
        free(after);
        tc_ok(diffc_trainer_step(reference, NULL));
        assert_int_equal(trainer->step, reference->step);
        float *own = tc_weights(model, &bytes), *wanted = tc_weights(reference_model, &bytes);
        assert_memory_equal(own, wanted, bytes);
        assert_memory_equal(trainer->ema, reference->ema, model->params.value_count * sizeof(float));
        free(own);
        free(wanted);
    }
    print_message("%d grids: cancelled at %d, completed at %d\n", grids, cancelled, finished);
    assert_true(cancelled > 20);
    assert_true(finished >= 1);
    diffc_release(&reference);
    diffc_release(&trainer);
    diffc_release(&reference_model);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
}

/* Sample 5 is NaN while `broken` is set. */
static int read_broken(void *opaque, int64_t index, float *image, int32_t *label)
{
    const int *broken = opaque;
    unsigned char pixels[TC_SIDE * TC_SIDE], kind;
    tc_picture(index, pixels, &kind);
    for (int i = 0; i < TC_SIDE * TC_SIDE; i++)
        image[i] = (float)pixels[i] / 255.0f;
    *label = kind;
    if (*broken == 2)
        return -1234;
    if (*broken && index == 5)
        image[0] = NAN;
    return 0;
}

static void nonfinite_policies(void **state)
{
    (void)state;
    diffc_context *context = tc_context(2);
    for (int skip = 0; skip < 2; skip++) {
        int broken = 1, refused = 0;
        diffc_dataset *data = NULL;
        diffc_model *model = tc_model(context, "denoise");
        diffc_train_report report = DIFFC_TRAIN_REPORT;
        diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
        options.batch = 4;
        options.ema_decay = 0.9;
        options.nonfinite = skip ? "skip" : "stop";
        tc_ok(diffc_dataset_from_function(context, 12, 1, TC_SIDE, TC_SIDE, read_broken, &broken, &data));
        diffc_trainer *trainer = tc_trainer(model, data, &options);
        for (int i = 0; i < 3; i++) {
            size_t bytes;
            float *before = tc_weights(model, &bytes);
            const int status = diffc_trainer_step(trainer, &report);
            float *after = tc_weights(model, &bytes);
            if (status == DIFFC_ERR_NONFINITE || report.skipped > refused) {
                refused++;
                assert_memory_equal(before, after, bytes);
            }
            if (!skip && status == DIFFC_ERR_NONFINITE) {
                assert_int_equal(diffc_trainer_step(trainer, &report), DIFFC_ERR_NONFINITE);
                broken = 0; /* with good data the same step goes on */
                tc_ok(diffc_trainer_step(trainer, &report));
                broken = 1;
            } else {
                tc_ok(status);
            }
            free(before);
            free(after);
        }
        assert_int_equal(refused, 1);
        assert_int_equal(report.step, 3);
        assert_int_equal(report.skipped, skip);
        diffc_release(&trainer);
        trainer = tc_trainer(model, data, &options);
        broken = 2;
        tc_fails(diffc_trainer_step(trainer, NULL), -1234, "sample");
        diffc_release(&trainer);
        diffc_release(&model);
        diffc_release(&data);
    }
    diffc_release(&context);
}

/* The parts by hand give what a step gives. */
static void parts_of_a_step(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_dataset *data = tc_data(context, 6);
    diffc_model *model = tc_model(context, "denoise"), *other = tc_model(context, "denoise");
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 6;
    options.epochs = 9;
    diffc_trainer *trainer = tc_trainer(model, data, &options), *whole = tc_trainer(other, data, &options);
    diffc_train_report report = DIFFC_TRAIN_REPORT, wanted = DIFFC_TRAIN_REPORT;
    diffc_tensor *x = NULL, *target = NULL, *output = NULL, *gradient = NULL;
    const int64_t shape[4] = { 6, 1, TC_SIDE, TC_SIDE };
    double loss = 0;
    size_t bytes;
    tc_fails(diffc_trainer_apply(trainer, NULL), DIFFC_ERR_STATE, "gradients");
    tc_fails(diffc_trainer_keep_statistics(trainer), DIFFC_ERR_STATE, "statistics");
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &x));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &target));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &output));

    /* The trainer's own staging buffers are the inputs of the step that `whole` makes. */
    tc_ok(diffc_trainer_step(whole, &wanted));
    memcpy(diffc_tensor_data(x), whole->images, (size_t)diffc_tensor_count(x) * sizeof(float));
    memcpy(diffc_tensor_data(target), whole->noise, (size_t)diffc_tensor_count(x) * sizeof(float));
    const diffc_binding inputs[1] = { { "x", x } };
    float *before = tc_weights(model, &bytes);
    tc_ok(diffc_trainer_gradients(trainer, inputs, 1, target, output, &loss));
    float *after = tc_weights(model, &bytes);
    assert_memory_equal(before, after, bytes);
    double error = 0;
    for (int64_t i = 0; i < diffc_tensor_count(x); i++) {
        const double d = (double)((float *)diffc_tensor_data(output))[i] -
                         (double)((float *)diffc_tensor_data(target))[i];
        error += d * d / (double)diffc_tensor_count(x);
    }
    assert_true(fabs(error - loss) < 1e-5 * loss);
    tc_ok(diffc_trainer_gradient(trainer, 0, &gradient));
    assert_int_equal(diffc_tensor_ndim(gradient), 4);
    assert_int_equal(diffc_tensor_dim(gradient, 2), 3);
    assert_true(diffc_tensor_data(gradient) == dfi_exec_gradients(trainer->exec));
    tc_fails(diffc_trainer_gradient(trainer, model->params.count, &gradient), DIFFC_ERR_ARG, "position is");
    double ignored;
    tc_ok(diffc_trainer_evaluate(trainer, data, 1, 0, &ignored, NULL)); /* does not disturb what is pending */
    tc_ok(diffc_trainer_keep_statistics(trainer));
    tc_ok(diffc_trainer_apply(trainer, &report));
    assert_true(report.loss == wanted.loss && report.gradient_norm == wanted.gradient_norm);
    assert_int_equal(report.step, 1);
    free(after);
    after = tc_weights(model, &bytes);
    float *result = tc_weights(other, &bytes);
    assert_memory_equal(after, result, bytes);
    tc_fails(diffc_trainer_apply(trainer, NULL), DIFFC_ERR_STATE, "gradients");
    free(before);
    free(after);
    free(result);
    diffc_release(&gradient);
    diffc_release(&x);
    diffc_release(&target);
    diffc_release(&output);
    diffc_release(&trainer);
    diffc_release(&whole);
    diffc_release(&model);
    diffc_release(&other);
    diffc_release(&data);
    diffc_release(&context);
}

static void evaluation_ignores_the_batch(void **state)
{
    static const int batches[] = { 1, 7, 20, 64 };
    (void)state;
    diffc_context *context = tc_context(2);
    diffc_dataset *data = tc_data(context, 23);
    double first = 0, average = 0;
    for (int i = 0; i < 4; i++) {
        diffc_model *model = tc_model(context, "flow");
        diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
        options.batch = batches[i];
        options.ema_decay = 0.9;
        diffc_trainer *trainer = tc_trainer(model, data, &options);
        size_t bytes;
        double loss = 0, ema = 0, other = 0;
        float *before = tc_weights(model, &bytes);
        tc_ok(diffc_trainer_evaluate(trainer, data, 77, 0, &loss, NULL));
        tc_ok(diffc_trainer_evaluate(trainer, data, 77, 1, &ema, NULL));
        tc_ok(diffc_trainer_evaluate(trainer, data, 78, 0, &other, NULL));
        float *after = tc_weights(model, &bytes);
        assert_memory_equal(before, after, bytes);
        assert_true(loss == ema); /* no update yet */
        assert_true(loss != other);
        if (i == 0)
            first = loss;
        assert_true(loss == first);
        tc_ok(diffc_trainer_step(trainer, NULL));
        tc_ok(diffc_trainer_evaluate(trainer, data, 77, 0, &loss, NULL));
        tc_ok(diffc_trainer_evaluate(trainer, data, 77, 1, &ema, NULL));
        assert_true(loss != ema);
        diffc_model *copy = NULL;
        tc_ok(diffc_trainer_ema_model(trainer, &copy));
        diffc_trainer *of_copy = tc_trainer(copy, data, &options);
        tc_ok(diffc_trainer_evaluate(of_copy, data, 77, 0, &average, NULL));
        assert_true(average == ema);
        free(before);
        free(after);
        diffc_release(&of_copy);
        diffc_release(&copy);
        diffc_release(&trainer);
        diffc_release(&model);
    }
    diffc_release(&data);
    diffc_release(&context);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_dataset *data = tc_data(context, 4), *other = NULL, *plain = NULL;
    diffc_model *ddpm = tc_model(context, "ddpm"), *denoise = tc_model(context, "denoise");
    diffc_trainer *trainer = NULL;
    diffc_schedule *schedule = NULL;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    int64_t bytes = 0;
    int unbroken = 0;
    tc_ok(diffc_dataset_from_function(context, 4, 1, 9, 8, read_broken, &unbroken, &other));
    tc_ok(diffc_dataset_create(data->images, NULL, &plain));
    tc_ok(diffc_schedule_create(context, "linear", NULL, &schedule));
    tc_fails(diffc_trainer_create(ddpm, other, &options, &trainer), DIFFC_ERR_CONFIG, "[1, 9, 8]");
    tc_fails(diffc_trainer_create(ddpm, plain, &options, &trainer), DIFFC_ERR_CONFIG, "labels");
    options.objective = "flow";
    tc_fails(diffc_trainer_create(ddpm, data, &options, &trainer), DIFFC_ERR_CONFIG, "train_steps is 50");
    tc_fails(diffc_trainer_create(denoise, data, &options, &trainer), DIFFC_ERR_CONFIG, "condition is none");
    options.objective = "denoise";
    tc_fails(diffc_trainer_create(ddpm, data, &options, &trainer), DIFFC_ERR_CONFIG, "has no t");
    options.objective = "classify";
    tc_fails(diffc_trainer_create(ddpm, data, &options, &trainer), DIFFC_ERR_CONFIG, "cs180_unet");
    options.objective = "dream";
    tc_fails(diffc_trainer_create(ddpm, data, &options, &trainer), DIFFC_ERR_ARG, "known: denoise");
    options = (diffc_trainer_options)DIFFC_TRAINER_OPTIONS;
    options.schedule = schedule;
    tc_fails(diffc_trainer_create(ddpm, data, &options, &trainer), DIFFC_ERR_CONFIG, "1000 timesteps");
    options = (diffc_trainer_options)DIFFC_TRAINER_OPTIONS;
#define REFUSED(field, value, status, part) \
    do { \
        options.field = value; \
        tc_fails(diffc_trainer_create(ddpm, data, &options, &trainer), status, part); \
        options = (diffc_trainer_options)DIFFC_TRAINER_OPTIONS; \
    } while (0)
    REFUSED(batch, -1, DIFFC_ERR_ARG, "batch is -1");
    REFUSED(batch, 4097, DIFFC_ERR_LIMIT, "4096");
    REFUSED(accumulate, -3, DIFFC_ERR_ARG, "accumulate");
    REFUSED(epochs, -1, DIFFC_ERR_ARG, "epochs");
    REFUSED(sigma, -1, DIFFC_ERR_ARG, "sigma");
    REFUSED(class_dropout, 1.5, DIFFC_ERR_ARG, "class_dropout");
    REFUSED(learning_rate, NAN, DIFFC_ERR_ARG, "learning_rate");
    REFUSED(beta1, 1, DIFFC_ERR_ARG, "beta1");
    REFUSED(beta2, -0.5, DIFFC_ERR_ARG, "beta2");
    REFUSED(epsilon, INFINITY, DIFFC_ERR_ARG, "epsilon");
    REFUSED(weight_decay, -1, DIFFC_ERR_ARG, "weight_decay");
    REFUSED(ema_decay, 1, DIFFC_ERR_ARG, "ema_decay");
    REFUSED(clip_norm, -1, DIFFC_ERR_ARG, "clip_norm");
    REFUSED(decay_factor, 2, DIFFC_ERR_ARG, "decay_factor");
    REFUSED(optimizer, "sgd", DIFFC_ERR_ARG, "known: adam, adamw");
    REFUSED(decay, "linear", DIFFC_ERR_ARG, "known: none, exponential, cosine");
    REFUSED(nonfinite, "panic", DIFFC_ERR_ARG, "known: stop, skip");
    REFUSED(precision, "fp64", DIFFC_ERR_ARG, "known: fp32, bf16");
    assert_null(trainer);
    tc_ok(diffc_trainer_bytes(ddpm, data, NULL, &bytes));
    assert_true(bytes > 100000);
    /* A memory beyond the context's limit is that limit. */
    const int64_t most = context->limits.memory;
    int64_t saved = 0;
    context->limits.memory = bytes - 1;
    options.memory = 2 * bytes;
    tc_ok(diffc_trainer_bytes(ddpm, data, &options, &saved));
    assert_true(saved < bytes);
    tc_ok(diffc_trainer_create(ddpm, data, &options, &trainer));
    diffc_release(&trainer);
    context->limits.memory = most;
    diffc_release(&schedule);
    diffc_release(&ddpm);
    diffc_release(&denoise);
    diffc_release(&other);
    diffc_release(&plain);
    diffc_release(&data);
    diffc_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_falls),
        cmocka_unit_test(threads_leave_no_trace),
        cmocka_unit_test(interruptions_leave_no_trace),
        cmocka_unit_test(accumulating_averages),
        cmocka_unit_test(cancel_leaves_whole_steps),
        cmocka_unit_test(nonfinite_policies),
        cmocka_unit_test(parts_of_a_step),
        cmocka_unit_test(evaluation_ignores_the_batch),
        cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
