/* Networks of the DeepFloyd IF family against diffusers: tests/data/unet_golden.json (outputs and
 * intermediate values) and train_golden.json (gradients). */

#include "if_case.h"

#define SAMPLES 2
#define TOKENS 7

static json_t *golden, *trained;
static struct diffc_context *context;

struct network {
    struct diffc_model *model;
    struct dfi_graph *graph;
    struct dfi_model_values values;
    struct dfi_exec *exec;
};

/* The network of one graph, for an image and a text of the golden sizes. */
static void open_network(struct network *net, const char *name, int backward)
{
    const json_t *config = json_object_get(json_object_get(golden, "configs"), name);
    assert_non_null(config);
    net->model = if_open(context, config);
    if_fill(&net->model->params);
    struct dfi_model_config settings = net->model->config;
    settings.text_tokens = TOKENS;
    assert_int_equal(dfi_graph_create(context, &net->model->params, &net->graph), DIFFC_OK);
    net->values.target = net->values.loss = -1;
    dfi_architecture_if_unet.build(net->graph, &settings, &net->values);
    if (backward) {
        net->graph->nodes[net->values.x].gradient = net->graph->nodes[net->values.text].gradient = 1;
    }
}

static void plan_network(struct network *net, int backward)
{
    const struct dfi_exec_options options = { SAMPLES, 1, backward, .numerics = 0 };
    if (dfi_graph_finish(net->graph) < 0)
        fail_msg("%s", diffc_message());
    if (dfi_exec_create(net->graph, &net->model->params, &options, &net->exec) < 0)
        fail_msg("%s", diffc_message());
    if_write_input(net->exec, net->values.x, "input.sample");
    if_write_text(net->exec, net->values.text, "input.text");
    for (int n = 0; n < SAMPLES; n++) {
        ((float *)dfi_exec_value(net->exec, net->values.t).data)[n] = 610;
        if (net->values.cls >= 0)
            ((float *)dfi_exec_value(net->exec, net->values.cls).data)[n] = n ? 3 : 250;
    }
}

static void close_network(struct network *net)
{
    dfi_exec_destroy(net->exec);
    dfi_graph_destroy(net->graph);
    dfi_release(net->model);
}

static double worst_of(const json_t *entry, const double *data, size_t count)
{
    const json_t *all = json_object_get(entry, "data"), *first = json_object_get(entry, "first");
    double worst = 0, squares = 0;
    assert_int_equal(json_integer_value(json_object_get(entry, "n")), count);
    for (size_t i = 0; i < json_array_size(all); i++)
        worst = fmax(worst, fabs(data[i] - json_number_value(json_array_get(all, i))));
    for (size_t i = 0; i < json_array_size(first); i++) {
        const json_t *pair = json_array_get(first, i);
        const size_t at = (size_t)json_integer_value(json_array_get(pair, 0));
        worst = fmax(worst, fabs(data[at] - json_number_value(json_array_get(pair, 1))));
    }
    for (size_t i = 0; i < count; i++)
        squares += data[i] * data[i];
    const double rms = json_number_value(json_object_get(entry, "rms"));
    return fmax(worst, fabs(sqrt(squares / (double)count) - rms));
}

static void check_forward(const char *config)
{
    struct network net = { NULL };
    const char *key;
    json_t *entry;
    int values[16], used = 0, wrong = 0;
    open_network(&net, config, 0);
    json_object_foreach (json_object_get(golden, "tensors"), key, entry) {
        const char *slash = strchr(key, '/');
        if (strncmp(key, config, strlen(config)) != 0 || slash != key + strlen(config))
            continue;
        values[used] = strcmp(slash + 1, "output") == 0 ? net.values.out : if_find(net.graph, slash + 1);
        net.graph->nodes[values[used++]].keep = 1;
    }
    assert_true(used > 8);
    plan_network(&net, 0);
    assert_int_equal(dfi_exec_forward(net.exec, 0), DIFFC_OK);
    used = 0;
    json_object_foreach (json_object_get(golden, "tensors"), key, entry) {
        const char *slash = strchr(key, '/');
        if (strncmp(key, config, strlen(config)) != 0 || slash != key + strlen(config))
            continue;
        size_t count;
        double *data = if_read(net.exec, values[used++], strcmp(slash + 1, "encoder_hid_proj") == 0, &count);
        const double worst = worst_of(entry, data, count);
        const double bound = strcmp(slash + 1, "output") == 0 ? 5e-5 : 1e-4;
        if (!(worst <= bound)) {
            print_error("%s: off by %.3g\n", key, worst);
            wrong++;
        }
        free(data);
    }
    close_network(&net);
    assert_int_equal(wrong, 0);
}

static void test_forward(void **unused)
{
    (void)unused;
    check_forward("tiny-I");
    check_forward("tiny-II-self");
    check_forward("tiny-II-cross");
}

static double tolerance(const char *key)
{
    return json_number_value(json_object_get(json_object_get(trained, "tolerance"), key));
}

/* d loss / d output of loss = mean((out[:, :3] - target)^2); returns the loss. */
static double seed_gradient(const struct network *net)
{
    struct diffc_tensor view;
    size_t count;
    double *out = if_read(net->exec, net->values.out, 0, &count), loss = 0;
    dfi_exec_view(net->exec, net->values.out, &view);
    const size_t plane = (size_t)(view.shape[2] * view.shape[3]), target_count = SAMPLES * 3 * plane;
    float *target = malloc(target_count * sizeof(*target));
    dt_input("train.target", target, target_count);
    const struct dfi_block dy = dfi_exec_gradient_of(net->exec, net->values.out);
    for (size_t n = 0; n < SAMPLES; n++)
        for (size_t c = 0; c < 6; c++)
            for (size_t p = 0; p < plane; p++) {
                const double difference = c < 3
                                              ? out[(n * 6 + c) * plane + p] - target[(n * 3 + c) * plane + p]
                                              : 0;
                loss += difference * difference / (double)target_count;
                dfi_set(net->exec, dy.data, n * (size_t)dy.sample_stride + p * (size_t)dy.ld + c,
                        2 * difference / (double)target_count);
            }
    free(target);
    free(out);
    return loss;
}

static int off(const char *what, double found, double expected, double bound)
{
    if (fabs(found - expected) <= bound)
        return 0;
    print_error("%s: %.9g, not %.9g\n", what, found, expected);
    return 1;
}

/* Values at some places against a tolerance in units of the tensor's root mean square. */
static int check_places(const char *what, const json_t *entry, const double *gradient, double relative)
{
    const json_t *places = json_object_get(entry, "i"), *expected = json_object_get(entry, "f64");
    const double bound = relative * json_number_value(json_object_get(entry, "rms"));
    int wrong = 0;
    for (size_t i = 0; i < json_array_size(places); i++)
        wrong += off(what, gradient[json_integer_value(json_array_get(places, i))],
                     json_number_value(json_array_get(expected, i)), bound);
    return wrong;
}

static int is_zero_gradient(const json_t *unet, const char *name)
{
    const json_t *list = json_object_get(unet, "zero_grad_params");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0)
            return 1;
    return 0;
}

static int check_parameters(const struct network *net, const json_t *unet)
{
    const struct dfi_params *params = &net->model->params;
    const json_t *norms = json_object_get(unet, "all_norms"), *places = json_object_get(unet, "grad");
    int wrong = 0;
    double total = 0;
    assert_int_equal(json_object_size(norms), params->count);
    for (int i = 0; i < params->count; i++) {
        const struct dfi_param *param = &params->list[i];
        const float *gradient = (const float *)dfi_exec_gradients(net->exec) + param->offset;
        double squares = 0, *values = malloc(param->count * sizeof(*values));
        for (size_t k = 0; k < param->count; k++) {
            values[k] = (double)gradient[k];
            squares += values[k] * values[k];
        }
        total += squares;
        const double norm = json_number_value(json_object_get(norms, param->name));
        if (is_zero_gradient(unet, param->name))
            wrong += off(param->name, sqrt(squares / (double)param->count), 0,
                         tolerance("unet_zero_grad_abs"));
        else
            wrong += off(param->name, sqrt(squares), norm, tolerance("unet_all_norms_rel") * norm) +
                     check_places(param->name, json_object_get(places, param->name), values,
                                  tolerance("unet_grad_rel_rms"));
        free(values);
    }
    const double norm = json_number_value(json_object_get(json_object_get(unet, "total_grad_norm"), "f64"));
    return wrong +
           off("norm of all gradients", sqrt(total), norm, tolerance("unet_total_grad_norm_rel") * norm);
}

static int check_inputs(const struct network *net, const json_t *unet)
{
    const int values[2] = { net->values.x, net->values.text };
    static const char *const names[2] = { "d_sample", "d_text" };
    int wrong = 0;
    for (int k = 0; k < 2; k++) {
        const struct dfi_block block = dfi_exec_gradient_of(net->exec, values[k]);
        struct diffc_tensor view;
        size_t count;
        dfi_exec_view(net->exec, values[k], &view);
        view.data = block.data;
        if (k == 1) { /* tokens */
            const struct diffc_tensor image = view;
            view.shape[1] = image.shape[3];
            view.strides[1] = image.strides[3];
            view.shape[3] = image.shape[1];
            view.strides[3] = image.strides[1];
        }
        double *data = if_read_view(&view, &count);
        wrong += check_places(names[k], json_object_get(unet, names[k]), data,
                              tolerance("unet_d_input_rel_rms"));
        free(data);
    }
    return wrong;
}

static void test_gradients(void **unused)
{
    const json_t *unet = json_object_get(trained, "unet");
    struct network net = { NULL };
    (void)unused;
    open_network(&net, "tiny-I", 1);
    plan_network(&net, 1);
    assert_int_equal(dfi_exec_forward(net.exec, 1), DIFFC_OK);
    const double loss = seed_gradient(&net);
    const double expected = json_number_value(json_object_get(json_object_get(unet, "loss"), "f64"));
    assert_int_equal(dfi_exec_backward(net.exec, 0), DIFFC_OK);
    int wrong = off("loss", loss, expected, tolerance("unet_loss_rel") * expected);
    wrong += check_parameters(&net, unet) + check_inputs(&net, unet);
    close_network(&net);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_forward), cmocka_unit_test(test_gradients) };
    golden = if_load_json("unet_golden.json");
    trained = if_load_json("train_golden.json");
    context = open_context(2, 0);
    const int failed = cmocka_run_group_tests_name("if_golden", tests, NULL, NULL);
    diffc_release(&context);
    json_decref(golden);
    json_decref(trained);
    return failed;
}
