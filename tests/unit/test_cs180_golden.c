/* The course's UNet against PyTorch: tests/data/cs180_golden.json, whose readme says how the numbers were
 * made. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/context.h"
#include "deterministic.h"
#include "model/architectures.h"
#include "nn/exec.h"

/* A group for each instruction set and numerics; the tolerances of the file are those of plain sums. */
static uint32_t mask;
static enum dfi_numerics numerics;
static const double widening[] = {
    [DFI_NUMERICS_DEFAULT] = 2, [DFI_NUMERICS_EXACT] = 1, [DFI_NUMERICS_FAST] = 20
};

static json_t *golden;
static struct diffc_context *context;

static double tolerance(const char *key)
{
    return widening[numerics] * json_number_value(json_object_get(json_object_get(golden, "tolerance"), key));
}

/* One variant, with a plan for its batch of four. */
struct network {
    const char *name;
    json_t *data;
    struct diffc_model *model;
    struct dfi_exec *exec;
};

static void fill_weights(struct diffc_model *model)
{
    for (int i = 0; i < model->params.count; i++) {
        const struct dfi_param *param = &model->params.list[i];
        dt_weights(param->name, param->ndim, param->shape, (float *)model->params.values + param->offset,
                   param->count);
    }
    for (int i = 0; i < model->params.stat_entries; i++) {
        const struct dfi_param *param = &model->params.stat_list[i];
        for (size_t k = 0; k < param->count; k++)
            ((float *)model->params.stats)[param->offset + k] = strstr(param->name, "running_var") ? 1 : 0;
    }
}

static void write_image(const struct dfi_exec *exec, int value, const char *name)
{
    struct diffc_tensor view;
    dfi_exec_view(exec, value, &view);
    const size_t count = (size_t)(view.shape[0] * view.shape[1] * view.shape[2] * view.shape[3]);
    float *values = malloc(count * sizeof(*values));
    dt_input(name, values, count);
    struct diffc_tensor source = view;
    source.data = values;
    source.strides[3] = 1;
    source.strides[2] = view.shape[3];
    source.strides[1] = view.shape[2] * view.shape[3];
    source.strides[0] = view.shape[1] * source.strides[1];
    dfi_tensor_copy(&source, &view);
    free(values);
}

static void write_inputs(const struct network *net, const struct dfi_model_values *values)
{
    static const int labels[4] = { 3, 7, 0, 9 }, dropped[4] = { 0, 0, 1, 0 };
    write_image(net->exec, values->x, "cs180.x");
    if (values->target >= 0)
        write_image(net->exec, values->target, "cs180.target");
    for (int n = 0; n < 4; n++) {
        if (values->t >= 0)
            ((float *)dfi_exec_value(net->exec, values->t).data)[n] =
                (float)json_integer_value(json_array_get(json_object_get(golden, "t"), (size_t)n)) / 300.0f;
        if (values->cls >= 0) {
            float *row = (float *)dfi_exec_value(net->exec, values->cls).data + 10 * n;
            memset(row, 0, 10 * sizeof(*row));
            row[labels[n]] = dropped[n] ? 0 : 1;
        }
    }
}

static void open_network(struct network *net, const char *name, int backward)
{
    struct dfi_model_config config = { 1, 28, 28, 8, 10, "none", "add", NULL, 300, .seed = 1 };
    net->name = name;
    net->data = json_object_get(json_object_get(golden, "variants"), name);
    assert_non_null(net->data);
    config.image_channels = (int)json_integer_value(json_object_get(net->data, "channels"));
    config.image_height = config.image_width = (int)json_integer_value(json_object_get(net->data, "H"));
    config.condition = strstr(name, "class") ? "class" : strstr(name, "time") ? "time" : "none";
    config.time_mode = strstr(name, "mul") ? "mul" : "add";
    assert_int_equal(dfi_model_new(context, &dfi_architecture_cs180_unet, &config, &net->model), DIFFC_OK);
    fill_weights(net->model);
    const struct dfi_exec_options options = { 4, 1, backward, .numerics = numerics };
    assert_int_equal(dfi_exec_create(backward ? net->model->loss_graph : net->model->graph,
                                     &net->model->params, &options, &net->exec),
                     DIFFC_OK);
    write_inputs(net, backward ? &net->model->loss_values : &net->model->values);
}

static void close_network(struct network *net)
{
    dfi_exec_destroy(net->exec);
    dfi_release(net->model);
}

/* Values of a golden entry against ours; returns the largest |difference|. */
static double worst(const json_t *entry, const float *values, size_t count)
{
    const json_t *indices = json_object_get(entry, "i"), *expected = json_object_get(entry, "f64");
    assert_int_equal(json_integer_value(json_object_get(entry, "n")), count);
    double largest = 0;
    for (size_t k = 0; k < json_array_size(indices); k++) {
        const size_t at = (size_t)json_integer_value(json_array_get(indices, k));
        const double difference = fabs(values[at] - json_number_value(json_array_get(expected, k)));
        largest = difference > largest || difference != difference ? difference : largest;
    }
    return largest;
}

static void assert_entry(const struct network *net, const char *what, const json_t *entry,
                         const float *values, size_t count, double relative, double absolute)
{
    const double limit = absolute > 0 ? absolute
                                      : relative * json_number_value(json_object_get(entry, "rms"));
    const double found = worst(entry, values, count);
    if (!(found <= limit))
        fail_msg("%s %s: off by %g, limit %g", net->name, what, found, limit);
}

static void assert_value(const struct network *net, const char *what, const json_t *entry, int value,
                         double relative)
{
    struct diffc_tensor view;
    dfi_exec_view(net->exec, value, &view);
    const size_t count = (size_t)(view.shape[0] * view.shape[1] * view.shape[2] * view.shape[3]);
    float *values = malloc(count * sizeof(*values));
    size_t k = 0;
    for (int64_t n = 0; n < view.shape[0]; n++)
        for (int64_t c = 0; c < view.shape[1]; c++)
            for (int64_t y = 0; y < view.shape[2]; y++)
                for (int64_t x = 0; x < view.shape[3]; x++)
                    values[k++] = ((float *)view.data)[n * view.strides[0] + c * view.strides[1] +
                                                       y * view.strides[2] + x * view.strides[3]];
    assert_entry(net, what, entry, values, count, relative, 0);
    free(values);
}

static int is_zero_gradient(const struct network *net, const char *name)
{
    size_t i;
    json_t *item;
    json_array_foreach (json_object_get(net->data, "zero_grad_params"), i, item)
        if (strcmp(json_string_value(item), name) == 0)
            return 1;
    return 0;
}

static void check_gradients(const struct network *net)
{
    const float *gradients = dfi_exec_gradients(net->exec);
    for (int i = 0; i < net->model->params.count; i++) {
        const struct dfi_param *param = &net->model->params.list[i];
        const json_t *entry = json_object_get(json_object_get(net->data, "grad"), param->name);
        assert_non_null(entry);
        if (is_zero_gradient(net, param->name)) {
            for (size_t k = 0; k < param->count; k++)
                assert_true(fabs(gradients[param->offset + k]) < tolerance("zero_grad_abs"));
        } else {
            assert_entry(net, param->name, entry, gradients + param->offset, param->count,
                         tolerance("grad_rel_rms"), 0);
        }
    }
}

static void check_statistics(const struct network *net, const char *key, const json_t *entries,
                             const char *mean_key, const char *variance_key)
{
    (void)key;
    for (int i = 0; i < net->model->params.stat_entries; i++) {
        const struct dfi_param *param = &net->model->params.stat_list[i];
        const char *limit = strstr(param->name, "running_var") ? variance_key : mean_key;
        assert_entry(net, param->name, json_object_get(entries, param->name),
                     (float *)net->model->params.stats + param->offset, param->count, 0, tolerance(limit));
    }
}

static void check_loss(const struct network *net, const char *what, double expected, double relative)
{
    const double loss = dfi_exec_loss(net->exec);
    if (!(fabs(loss - expected) <= relative * fabs(expected)))
        fail_msg("%s %s: %.9g, expected %.9g", net->name, what, loss, expected);
}

/* Output, loss, gradients and running statistics of one training step; then the output in evaluation mode. */
static void check_step(const char *name)
{
    struct network net;
    open_network(&net, name, 1);
    assert_int_equal(dfi_exec_forward(net.exec, 1), DIFFC_OK);
    assert_value(&net, "train_out", json_object_get(net.data, "train_out"), net.model->loss_values.out,
                 tolerance("train_out_rel_rms"));
    check_loss(&net, "loss", json_number_value(json_object_get(json_object_get(net.data, "loss"), "f64")),
               tolerance("loss_rel"));
    assert_int_equal(dfi_exec_backward(net.exec, 0), DIFFC_OK);
    check_gradients(&net);
    dfi_exec_keep_statistics(net.exec, &net.model->params);
    check_statistics(&net, "running", json_object_get(net.data, "running"), "running_mean_abs",
                     "running_var_abs");

    write_inputs(&net, &net.model->loss_values);
    assert_int_equal(dfi_exec_forward(net.exec, 0), DIFFC_OK);
    assert_value(&net, "eval_out", json_object_get(net.data, "eval_out"), net.model->loss_values.out,
                 tolerance("eval_out_rel_rms"));
    check_loss(&net, "eval_loss",
               json_number_value(json_object_get(json_object_get(net.data, "eval_loss"), "f64")),
               tolerance("loss_rel"));
    close_network(&net);
}

static void test_steps(void **state)
{
    (void)state;
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(golden, "variants"), name, value)
        check_step(name);
}

static void adam_step(const struct network *net, float *m, float *v, int step)
{
    const struct dfi_adam_args args = { 1e-3, 0.9, 0.999, 1e-8, 0, 1 - pow(0.9, step), 1 - pow(0.999, step),
                                        0,    1 };
    dfi_kernels_get(context->cpu_flags, DIFFC_F32)
        ->adam(net->model->params.values, dfi_exec_gradients(net->exec), m, v, net->model->params.value_count,
               &args);
    dfi_exec_keep_statistics(net->exec, &net->model->params);
    dfi_exec_refresh(net->exec);
}

static void check_weights(const struct network *net, const char *key, const char *limit_key)
{
    int close = 0, all = 0;
    const char *name;
    json_t *entry;
    json_object_foreach (json_object_get(json_object_get(net->data, "adam"), key), name, entry) {
        int trainable = 0;
        const struct dfi_param *param = dfi_params_find(&net->model->params, name, &trainable);
        assert_non_null(param);
        const float *values = (float *)net->model->params.values + param->offset;
        assert_entry(net, name, entry, values, param->count, 0, tolerance(limit_key));
        all++;
        close += worst(entry, values, param->count) <= 5e-6 * widening[numerics];
    }
    assert_true(close >= 0.9 * all);
}

static void check_adam(const char *name)
{
    struct network net;
    open_network(&net, name, 1);
    float *m = calloc(net.model->params.value_count, sizeof(*m));
    float *v = calloc(net.model->params.value_count, sizeof(*v));
    const json_t *adam = json_object_get(net.data, "adam"), *losses = json_object_get(adam, "losses_f64");
    for (int step = 1; step <= 10; step++) {
        write_inputs(&net, &net.model->loss_values);
        assert_int_equal(dfi_exec_forward(net.exec, 1), DIFFC_OK);
        check_loss(&net, "adam loss", json_number_value(json_array_get(losses, (size_t)step - 1)),
                   tolerance("adam_losses_rel"));
        assert_int_equal(dfi_exec_backward(net.exec, 0), DIFFC_OK);
        adam_step(&net, m, v, step);
        if (step == 1)
            check_weights(&net, "weights_after_1", "weights_after_1_abs");
    }
    check_weights(&net, "weights_after_10", "weights_after_10_abs");
    check_statistics(&net, "running_after_10", json_object_get(adam, "running_after_10"),
                     "running_mean_after_10_abs", "running_var_after_10_abs");
    free(m);
    free(v);
    close_network(&net);
}

static void test_adam(void **state)
{
    (void)state;
    const char *name;
    json_t *value;
    json_object_foreach (json_object_get(golden, "variants"), name, value)
        check_adam(name);
}

/* Parameter counts of the same networks in PyTorch. */
static void test_parameter_counts(void **state)
{
    static const struct {
        int width;
        const char *condition;
        size_t count;
    } cases[] = { { 128, "none", 7891073 }, { 64, "time", 1996417 }, { 64, "class", 2019201 } };
    (void)state;
    for (int i = 0; i < DFI_COUNT(cases); i++) {
        const struct dfi_model_config config = { 1,     28,       28, cases[i].width, 10, cases[i].condition,
                                                 "add", .seed = 1 };
        struct diffc_model *model = NULL;
        assert_int_equal(dfi_model_new(context, &dfi_architecture_cs180_unet, &config, &model), DIFFC_OK);
        assert_int_equal(model->params.value_count, cases[i].count);
        dfi_release(model);
    }
}

static int set_up(void **state)
{
    char path[512];
    (void)state;
    snprintf(path, sizeof(path), "%s/cs180_golden.json", getenv("DIFFC_TEST_DATA"));
    golden = json_load_file(path, 0, NULL);
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    options.cpu_mask = mask;
    return golden ? dfi_context_new(&options, &context) : -1;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(golden);
    dfi_release(context);
    return 0;
}

int main(void)
{
    static const uint32_t masks[] = { DIFFC_CPU_NONE, DIFFC_CPU_AVX2, DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512 };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameter_counts),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_adam),
    };
    int failed = 0;
    for (int i = 0; i < DFI_COUNT(masks) * DFI_COUNT(widening); i++) {
        mask = masks[i / DFI_COUNT(widening)];
        numerics = (enum dfi_numerics)(i % DFI_COUNT(widening));
        failed += cmocka_run_group_tests(tests, set_up, tear_down);
    }
    return failed;
}
