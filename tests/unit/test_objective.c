/* What each objective feeds: formulas, distributions, and that a sample's draws do not depend on the batch it
 * is in. */

#include "train_case.h"

#include <math.h>

#include "base/random.h"

static const struct dfi_objective *find(const char *name)
{
    const struct dfi_objective *objective = dfi_objective_find(name);
    assert_non_null(objective);
    return objective;
}

static void formulas(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_schedule *schedule = NULL;
    diffc_schedule_options options = DIFFC_SCHEDULE_OPTIONS;
    options.train_steps = 300;
    tc_ok(diffc_schedule_create(context, "linear", &options, &schedule));
    const float *bars = diffc_schedule_alpha_bars(schedule);
    const struct dfi_objective_constants constants = { 0.5f, bars, 300 };
    const float image[3] = { 0, 0.25f, 1 }, noise[3] = { -1.5f, 0.125f, 2 };
    for (int k = 0; k < 5; k++) {
        static const char *const names[] = { "denoise", "noise", "ddpm", "flow", "classify" };
        const uint32_t word = 0x9e3779b9u;
        float x[3], e[3];
        memcpy(x, image, sizeof(x));
        memcpy(e, noise, sizeof(e));
        const float t = find(names[k])->make(&constants, word, x, e, 3);
        const int step = (int)((double)word * 0x1p-32 * 300);
        for (int i = 0; i < 3; i++) {
            const double signal = sqrt((double)bars[step]), rest = sqrt(1 - (double)bars[step]);
            const double s = (double)(word >> 8) * 0x1p-24, x0 = (double)image[i], e0 = (double)noise[i];
            const double inputs[5] = { x0 + 0.5 * e0, e0, signal * x0 + rest * e0, (1 - s) * e0 + s * x0,
                                       x0 };
            const double targets[5] = { x0, x0, e0, x0 - e0, e0 };
            assert_true(fabs((double)x[i] - inputs[k]) < 3e-7);
            assert_true(fabs((double)e[i] - targets[k]) < 3e-7);
        }
        if (k == 2)
            assert_true(t == (float)step / 300.0f);
        if (k == 3)
            assert_true(t == (float)(word >> 8) * 0x1p-24f);
    }
    diffc_release(&schedule);
    diffc_release(&context);
}

/* The ends of the ranges: t = 0 and t = T - 1 occur, t = 1 of flow does not. */
static void ends_of_time(void **state)
{
    (void)state;
    const float bars[4] = { 1, 0.5f, 0.25f, 0 };
    const struct dfi_objective_constants constants = { 0.5f, bars, 4 };
    float x = 1, e = 1;
    assert_true(find("ddpm")->make(&constants, 0, &x, &e, 1) == 0.0f);
    assert_true(find("ddpm")->make(&constants, UINT32_MAX, &x, &e, 1) == 0.75f);
    assert_true(find("ddpm")->make(&constants, 0x3fffffff, &x, &e, 1) == 0.0f);
    assert_true(find("ddpm")->make(&constants, 0x40000000, &x, &e, 1) == 0.25f);
    assert_true(find("flow")->make(&constants, 0, &x, &e, 1) == 0.0f);
    assert_true(find("flow")->make(&constants, UINT32_MAX, &x, &e, 1) < 1.0f);
    assert_false(dfi_class_dropped(0, 0));
    assert_true(dfi_class_dropped(1, UINT32_MAX));
    assert_true(dfi_class_dropped(0.5, 0x7fffffff));
    assert_false(dfi_class_dropped(0.5, 0x80000000));
    assert_null(dfi_objective_entry(5));
    assert_null(dfi_objective_entry(-1));
    const char *name = NULL, *description = NULL;
    tc_ok(diffc_registry_entry(DIFFC_REGISTRY_OBJECTIVE, 2, &name, &description));
    assert_string_equal(name, "ddpm");
    assert_true(strlen(description) > 10);
}

struct made {
    diffc_context *context;
    diffc_dataset *data;
    diffc_model *model;
    diffc_trainer *trainer;
};

static struct made make(const char *objective, int64_t samples, int batch, double dropout)
{
    struct made made = { tc_context(2), NULL, NULL, NULL };
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = batch;
    options.epochs = 50;
    options.seed = 1234;
    options.class_dropout = dropout;
    made.data = tc_data(made.context, samples);
    made.model = tc_model(made.context, objective);
    made.trainer = tc_trainer(made.model, made.data, &options);
    return made;
}

static void drop(struct made *made)
{
    diffc_release(&made->trainer);
    diffc_release(&made->model);
    diffc_release(&made->data);
    diffc_release(&made->context);
}

static const float *input(const struct made *made, int value, int sample)
{
    const struct dfi_block block = dfi_exec_value(made->trainer->exec, value);
    return (const float *)block.data + sample * block.sample_stride;
}

static void load(const struct made *made, int evaluates, int64_t epoch, int64_t first, int count)
{
    const struct dfi_batch batch = { made->data, made->trainer->config.seed, evaluates, epoch, first, count };
    tc_ok(dfi_batch_load(made->trainer, &batch));
}

/* t, class and noise over many epochs. */
static void distributions(void **state)
{
    (void)state;
    enum { SAMPLES = 400, EPOCHS = 50, STEPS = 50 };
    struct made made = make("ddpm", SAMPLES, SAMPLES, 0.1);
    const struct dfi_model_values *values = &made.model->loss_values;
    int times[STEPS] = { 0 }, dropped = 0;
    double sum = 0, squares = 0;
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        load(&made, 0, epoch, 0, SAMPLES);
        for (int i = 0; i < SAMPLES; i++) {
            const float t = *input(&made, values->t, i), *one_hot = input(&made, values->cls, i);
            const long step = lrintf(t * STEPS);
            float total = 0;
            assert_true(step >= 0 && step < STEPS && t == (float)step / STEPS);
            times[step]++;
            for (int c = 0; c < 10; c++)
                total += one_hot[c];
            assert_true(total == 0.0f || one_hot[made.trainer->labels[i]] == 1.0f);
            dropped += total == 0.0f;
            for (int p = 0; p < TC_SIDE * TC_SIDE; p++) {
                const double e = (double)input(&made, values->target, i)[p];
                sum += e;
                squares += e * e;
            }
        }
    }
    const double draws = SAMPLES * EPOCHS, expected = draws / STEPS;
    double chi = 0;
    for (int t = 0; t < STEPS; t++)
        chi += (times[t] - expected) * (times[t] - expected) / expected;
    const double rate = dropped / draws, mean = sum / (draws * 64),
                 variance = squares / (draws * 64) - mean * mean;
    print_message("chi^2 of t %.1f (49 degrees), dropped %.4f, noise mean %.5f variance %.5f\n", chi, rate,
                  mean, variance);
    assert_true(chi > 23 && chi < 85);
    assert_true(fabs(rate - 0.1) < 4 * sqrt(0.09 / draws));
    assert_true(fabs(mean) < 4 / sqrt(draws * 64));
    assert_true(fabs(variance - 1) < 4 * sqrt(2 / (draws * 64)));
    drop(&made);

    /* Never and always. */
    made = make("flow", 40, 40, -1);
    load(&made, 0, 0, 0, 40);
    for (int i = 0; i < 40; i++)
        assert_true(input(&made, made.model->loss_values.cls, i)[made.trainer->labels[i]] == 1.0f);
    drop(&made);
    made = make("flow", 40, 40, 1);
    load(&made, 0, 0, 0, 40);
    for (int i = 0; i < 40; i++)
        assert_true(input(&made, made.model->loss_values.cls, i)[made.trainer->labels[i]] == 0.0f);
    load(&made, 1, 0, 0, 40); /* but not when judging */
    for (int i = 0; i < 40; i++)
        assert_true(input(&made, made.model->loss_values.cls, i)[made.trainer->labels[i]] == 1.0f);
    drop(&made);
}

static void every_epoch_visits_all(void **state)
{
    (void)state;
    enum { SAMPLES = 137 };
    struct made made = make("denoise", SAMPLES, SAMPLES, 0);
    int64_t before[SAMPLES] = { 0 };
    int moved = 0;
    for (int epoch = 0; epoch < 4; epoch++) {
        int seen[SAMPLES] = { 0 };
        load(&made, 0, epoch, 0, SAMPLES);
        for (int i = 0; i < SAMPLES; i++) {
            const int64_t index = made.trainer->indices[i];
            assert_true(index >= 0 && index < SAMPLES && !seen[index]++);
            moved += epoch > 0 && index != before[i];
            before[i] = index;
        }
    }
    assert_true(moved > 3 * SAMPLES * 9 / 10);
    load(&made, 1, 0, 30, 20); /* judging goes in the order of the set */
    for (int i = 0; i < 20; i++)
        assert_int_equal(made.trainer->indices[i], 30 + i);
    drop(&made);
}

/* The same place in the run, the same sample and draws, whatever the batch. */
static void batches_leave_no_trace(void **state)
{
    static const char *const objectives[] = { "denoise", "noise", "ddpm", "flow" };
    (void)state;
    for (int k = 0; k < 4; k++) {
        struct made one = make(objectives[k], 24, 24, 0.3), parts = make(objectives[k], 24, 7, 0.3);
        const struct dfi_model_values *values = &one.model->loss_values;
        for (int evaluates = 0; evaluates < 2; evaluates++) {
            load(&one, evaluates, 3, 0, 24);
            for (int first = 0; first < 24; first += 7) {
                const int count = 24 - first < 7 ? 24 - first : 7;
                load(&parts, evaluates, 3, first, count);
                for (int i = 0; i < count; i++) {
                    const size_t image = TC_SIDE * TC_SIDE * sizeof(float);
                    assert_int_equal(one.trainer->indices[first + i], parts.trainer->indices[i]);
                    assert_memory_equal(input(&one, values->x, first + i), input(&parts, values->x, i),
                                        image);
                    assert_memory_equal(input(&one, values->target, first + i),
                                        input(&parts, values->target, i), image);
                    if (values->t < 0)
                        continue;
                    assert_memory_equal(input(&one, values->t, first + i), input(&parts, values->t, i),
                                        sizeof(float));
                    assert_memory_equal(input(&one, values->cls, first + i), input(&parts, values->cls, i),
                                        10 * sizeof(float));
                }
            }
        }
        drop(&one);
        drop(&parts);
    }
}

/* Three channels: pixels come channels-last into the plan. */
static void channels(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_model_options shape = DIFFC_MODEL_OPTIONS;
    diffc_model *model = NULL;
    diffc_dataset *data = NULL;
    diffc_tensor *images = NULL;
    const int64_t sizes[4] = { 5, 3, 8, 12 };
    shape.image_channels = 3;
    shape.image_height = 8;
    shape.image_width = 12;
    shape.width = 2;
    shape.objective = "noise"; /* the target is the image itself */
    tc_ok(diffc_model_create(context, "cs180_unet", &shape, &model));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, sizes, &images));
    tc_ok(diffc_rng_uniform(images, 5, 6, 0));
    tc_ok(diffc_dataset_create(images, NULL, &data));
    struct made made = { context, data, model, tc_trainer(model, data, NULL) };
    load(&made, 0, 0, 0, 5);
    const float *values = diffc_tensor_data(images);
    const struct dfi_block block = dfi_exec_value(made.trainer->exec, model->loss_values.target);
    for (int i = 0; i < 5; i++)
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < 96; p++)
                assert_true(input(&made, model->loss_values.target, i)[p * block.ld + c] ==
                            values[(made.trainer->indices[i] * 3 + c) * 96 + p]);
    tc_ok(diffc_trainer_step(made.trainer, NULL));
    diffc_release(&images);
    drop(&made);
}

/* A classifier learns the labels of a set that it can tell apart, and says so. */
static void classifies(void **state)
{
    (void)state;
    diffc_context *context = tc_context(2);
    diffc_model_options shape = DIFFC_MODEL_OPTIONS;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    diffc_model *model = NULL;
    diffc_dataset *data = NULL;
    diffc_tensor *images = NULL, *labels = NULL;
    const int64_t sizes[3] = { 60, 16, 16 };
    double loss = 0, accuracy = 0, before = 0;
    shape.image_height = 16;
    tc_ok(diffc_model_create(context, "lenet", &shape, &model));
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 3, sizes, &images));
    tc_ok(diffc_tensor_create(context, DIFFC_I32, 1, sizes, &labels));
    for (int i = 0; i < 60; i++) {
        ((int32_t *)diffc_tensor_data(labels))[i] = i % 10;
        for (int x = 0; x < 16; x++)
            ((unsigned char *)diffc_tensor_data(
                images))[i * 256 + (i % 10 + 3) * 16 + x] = (unsigned char)(200 + i % 50);
    }
    tc_ok(diffc_dataset_create(images, labels, &data));
    options.batch = 20;
    options.epochs = 40;
    diffc_trainer *trainer = tc_trainer(model, data, &options);
    tc_ok(diffc_trainer_evaluate(trainer, data, 0, 0, &before, NULL));
    assert_true(fabs(before - log(10)) < 0.2);
    for (int i = 0; i < 120; i++)
        tc_ok(diffc_trainer_step(trainer, NULL));
    tc_ok(diffc_trainer_evaluate(trainer, data, 0, 0, &loss, &accuracy));
    print_message("classify: loss %.4f -> %.4f, accuracy %.3f\n", before, loss, accuracy);
    assert_true(accuracy == 1.0 && loss < 0.5 * before);
    struct made made = { context, data, model, trainer };
    diffc_release(&images);
    diffc_release(&labels);
    drop(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formulas),
        cmocka_unit_test(ends_of_time),
        cmocka_unit_test(distributions),
        cmocka_unit_test(every_epoch_visits_all),
        cmocka_unit_test(batches_leave_no_trace),
        cmocka_unit_test(channels),
        cmocka_unit_test(classifies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
