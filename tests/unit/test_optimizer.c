/* Updates against a scalar reference in double and against numbers from PyTorch 2 (torch.optim, in double).
 */

#include "train_case.h"

#include <math.h>

/* A trainer whose gradients are written by the test; wide enough for several pieces of the flat arrays. */
struct made {
    diffc_context *context;
    diffc_dataset *data;
    diffc_model *model;
    diffc_trainer *trainer;
    diffc_tensor *x;
};

static struct made make(int threads, const diffc_trainer_options *options)
{
    struct made made = { tc_context(threads), NULL, NULL, NULL, NULL };
    diffc_model_options shape = DIFFC_MODEL_OPTIONS;
    const int64_t sizes[4] = { 1, 1, TC_SIDE, TC_SIDE };
    shape.image_height = TC_SIDE;
    shape.width = 12;
    shape.objective = "denoise";
    tc_ok(diffc_model_create(made.context, "cs180_unet", &shape, &made.model));
    made.data = tc_data(made.context, 4);
    made.trainer = tc_trainer(made.model, made.data, options);
    tc_ok(diffc_tensor_create(made.context, DIFFC_F32, 4, sizes, &made.x));
    tc_ok(diffc_rng_normal(made.x, 1, 1, 0));
    assert_true(made.model->params.value_count > 2 * 16384);
    assert_true(made.model->params.value_count % 16384 != 0);
    return made;
}

static void drop(struct made *made)
{
    diffc_release(&made->x);
    diffc_release(&made->trainer);
    diffc_release(&made->model);
    diffc_release(&made->data);
    diffc_release(&made->context);
}

/* Room for new gradients: after this, apply may be called. */
static float *gradients(struct made *made)
{
    const diffc_binding inputs[1] = { { "x", made->x } };
    tc_ok(diffc_trainer_gradients(made->trainer, inputs, 1, made->x, NULL, NULL));
    return dfi_exec_gradients(made->trainer->exec);
}

static double some_gradient(size_t i, int step)
{
    return sin((double)i * 0.37 + step) * (i % 11 == 0 ? 1e-6 : i % 7 == 0 ? 10 : 0.1);
}

static void compare_with_reference(const char *optimizer, double decay, double clip)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 4;
    options.optimizer = optimizer;
    options.learning_rate = 0.01;
    options.weight_decay = decay;
    options.clip_norm = clip;
    options.ema_decay = 0.3;
    struct made made = make(2, &options);
    const size_t count = made.model->params.value_count;
    const int decoupled = strcmp(optimizer, "adamw") == 0;
    double *w = malloc(count * sizeof(*w)), *m = calloc(count, sizeof(*m)), *v = calloc(count, sizeof(*v)),
           *ema = malloc(count * sizeof(*ema));
    assert_true(w && m && v && ema);
    const float *weights = made.model->params.values;
    for (size_t i = 0; i < count; i++)
        ema[i] = w[i] = (double)weights[i];
    double worst = 0, worst_ema = 0;
    for (int step = 1; step <= 6; step++) {
        float *g = gradients(&made);
        double norm = 0;
        for (size_t i = 0; i < count; i++) {
            g[i] = (float)some_gradient(i, step);
            norm += (double)g[i] * (double)g[i];
        }
        norm = sqrt(norm);
        const double scale = clip > 0 && norm > clip ? clip / norm : 1;
        const double share = fmin(0.3, (1.0 + step) / (10.0 + step));
        for (size_t i = 0; i < count; i++) {
            const double gi = (double)g[i] * scale + (decoupled ? 0 : decay * w[i]);
            w[i] *= decoupled ? 1 - 0.01 * decay : 1;
            m[i] = 0.9 * m[i] + 0.1 * gi;
            v[i] = 0.999 * v[i] + 0.001 * gi * gi;
            w[i] -= 0.01 * (m[i] / (1 - pow(0.9, step))) / (sqrt(v[i] / (1 - pow(0.999, step))) + 1e-8);
            ema[i] = share * ema[i] + (1 - share) * w[i];
        }
        diffc_train_report report = DIFFC_TRAIN_REPORT;
        tc_ok(diffc_trainer_apply(made.trainer, &report));
        assert_true(fabs(report.gradient_norm - norm) < 1e-6 * norm);
        assert_true(report.learning_rate == 0.01);
        for (size_t i = 0; i < count; i++) {
            worst = fmax(worst, fabs((double)weights[i] - w[i]));
            worst_ema = fmax(worst_ema, fabs((double)made.trainer->ema[i] - ema[i]));
        }
    }
    print_message("%s, decay %g, clip %g: largest error %.2g, of the average %.2g\n", optimizer, decay, clip,
                  worst, worst_ema);
    assert_true(worst < 2e-6 && worst_ema < 2e-6);
    free(w);
    free(m);
    free(v);
    free(ema);
    drop(&made);
}

static void reference(void **state)
{
    (void)state;
    compare_with_reference("adam", 0, 0);
    compare_with_reference("adam", 0.1, 0);
    compare_with_reference("adamw", 0.1, 0);
    compare_with_reference("adamw", 0.1, 1.5);
    compare_with_reference("adam", 0, 1e9);
}

static void pytorch_numbers(void **state)
{
    static const struct {
        const char *optimizer;
        double decay, result[3];
    } cases[] = {
        { "adam", 0, { 0.451491693173601, -1.2327012795973298, 1.9772666473287732 } },
        { "adam", 0.1, { 0.45078787299741224, -1.21990706294894, 1.9500215755428396 } },
        { "adamw", 0.1, { 0.4490943092711583, -1.2265376175304104, 1.9673072033374994 } },
    };
    (void)state;
    for (int k = 0; k < DFI_COUNT(cases); k++) {
        diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
        options.optimizer = cases[k].optimizer;
        options.weight_decay = cases[k].decay;
        options.learning_rate = 0.01;
        struct made made = make(1, &options);
        float *w = made.model->params.values;
        w[0] = 0.5f;
        w[1] = -1.25f;
        w[2] = 2;
        for (int step = 0; step < 5; step++) {
            float *g = gradients(&made);
            memset(g, 0, made.model->params.value_count * sizeof(*g));
            g[0] = (float)(0.1 * (step + 1));
            g[1] = (float)(-0.3 + 0.2 * step);
            g[2] = step < 2 ? 0 : 1e-4f;
            tc_ok(diffc_trainer_apply(made.trainer, NULL));
        }
        for (int i = 0; i < 3; i++)
            assert_true(fabs((double)w[i] - cases[k].result[i]) < 1e-6);
        drop(&made);
    }
}

static void rates(void **state)
{
    (void)state;
    struct dfi_train_config config = { .learning_rate = 1e-3, .epochs = 20, .decay_factor = 0.1 };
    double rate = 1e-3;
    assert_true(dfi_learning_rate(&config, 1234, 10, 200) == 1e-3);
    config.decay = DFI_DECAY_EXPONENTIAL;
    for (int epoch = 0; epoch < 20; epoch++) {
        for (int i = 0; i < 10; i++)
            assert_true(fabs(dfi_learning_rate(&config, epoch * 10 + i, 10, 200) - rate) < 1e-15);
        rate *= pow(0.1, 1.0 / 20);
    }
    assert_true(fabs(rate - 1e-4) < 1e-15);
    config.decay = DFI_DECAY_COSINE;
    assert_true(dfi_learning_rate(&config, 0, 10, 200) == 1e-3);
    assert_true(fabs(dfi_learning_rate(&config, 100, 10, 200) - 5.5e-4) < 1e-15);
    assert_true(fabs(dfi_learning_rate(&config, 200, 10, 200) - 1e-4) < 1e-15);
    assert_true(fabs(dfi_learning_rate(&config, 999, 10, 200) - 1e-4) < 1e-15);
    assert_true(dfi_ema_weight(0.999, 1) == 2.0 / 11);
    assert_true(dfi_ema_weight(0.999, 90) == 91.0 / 100);
    assert_true(dfi_ema_weight(0.999, 100000) == 0.999);
    assert_true(dfi_ema_weight(0.1, 1) == 0.1);
}

/* In a run: the rate falls epoch by epoch. */
static void rates_of_a_run(void **state)
{
    (void)state;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 3; /* two updates per epoch */
    options.epochs = 4;
    options.decay = "exponential";
    struct made made = make(1, &options);
    for (int step = 0; step < 8; step++) {
        diffc_train_report report = DIFFC_TRAIN_REPORT;
        tc_ok(diffc_trainer_step(made.trainer, &report));
        assert_true(fabs(report.learning_rate - 1e-3 * pow(0.1, (step / 2) / 4.0)) < 1e-15);
        assert_int_equal(report.epoch, (step + 1) / 2);
    }
    drop(&made);
}

static void pieces_on_any_thread(void **state)
{
    (void)state;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.ema_decay = 0.99;
    options.clip_norm = 0.1;
    struct made one = make(1, &options), many = make(3, &options);
    const size_t bytes = one.model->params.value_count * sizeof(float);
    double norms[2];
    for (int step = 1; step < 4; step++) {
        struct made *both[2] = { &one, &many };
        for (int k = 0; k < 2; k++) {
            diffc_train_report report = DIFFC_TRAIN_REPORT;
            float *g = gradients(both[k]);
            for (size_t i = 0; i < bytes / sizeof(float); i++)
                g[i] = (float)some_gradient(i, step);
            tc_ok(diffc_trainer_apply(both[k]->trainer, &report));
            norms[k] = report.gradient_norm;
        }
        assert_true(norms[0] == norms[1]);
    }
    assert_memory_equal(one.model->params.values, many.model->params.values, bytes);
    assert_memory_equal(one.trainer->m, many.trainer->m, bytes);
    assert_memory_equal(one.trainer->v, many.trainer->v, bytes);
    assert_memory_equal(one.trainer->ema, many.trainer->ema, bytes);
    drop(&one);
    drop(&many);
}

/* Running statistics are averaged with the weights. */
static void statistics_are_averaged(void **state)
{
    (void)state;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 4;
    options.ema_decay = 0.9;
    options.epochs = 9;
    struct made made = make(1, &options);
    const struct dfi_params *params = &made.model->params;
    double *ema = malloc(params->stat_count * sizeof(*ema));
    assert_non_null(ema);
    for (size_t i = 0; i < params->stat_count; i++)
        ema[i] = (double)((float *)params->stats)[i];
    for (int step = 1; step < 5; step++) {
        const double share = dfi_ema_weight(0.9, step);
        tc_ok(diffc_trainer_step(made.trainer, NULL));
        for (size_t i = 0; i < params->stat_count; i++) {
            ema[i] = share * ema[i] + (1 - share) * (double)((float *)params->stats)[i];
            assert_true(fabs(ema[i] - (double)made.trainer->ema_stats[i]) < 1e-6 * (1 + fabs(ema[i])));
        }
    }
    free(ema);
    drop(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference),
        cmocka_unit_test(pytorch_numbers),
        cmocka_unit_test(rates),
        cmocka_unit_test(rates_of_a_run),
        cmocka_unit_test(pieces_on_any_thread),
        cmocka_unit_test(statistics_are_averaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
