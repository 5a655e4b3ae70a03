/* The T5 encoder against transformers: states and gradients of the tiny one, weights of every stored type. */

#include <jansson.h>

#include "kernel/gemm_wide.h"
#include "graph_case.h"
#include "io/folder.h"
#include "io_case.h"
#include "text_model.h"

#define LENGTH 77
#define TOLERANCE 5e-5 /* of the golden file */

static json_t *golden, *train;
static int32_t ids[2 * LENGTH], used[2];

static json_t *read_golden(const char *name)
{
    const char *folder = getenv("DIFFC_TEST_DATA");
    char path[512];
    json_error_t error;
    snprintf(path, sizeof(path), "%s/%s", folder ? folder : "tests/data", name);
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        fail_msg("%s: %s", path, error.text);
    return root;
}

static double number_at(const json_t *array, size_t i)
{
    return json_number_value(json_array_get(array, i));
}

static int is_close(const float *states, double bound)
{
    const json_t *right = json_object_get(golden, "output");
    for (size_t i = 0; i < json_array_size(right); i++)
        if (!(fabs(states[i] - number_at(right, i)) <= bound)) {
            print_error("state %zu: %.9g, not %.9g\n", i, states[i], number_at(right, i));
            return 0;
        }
    return 1;
}

static diffc_text_encoder *open_encoder(const char *folder, int batch)
{
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    diffc_text_encoder *encoder = NULL;
    options.batch = batch;
    if (diffc_text_encoder_open(io_context, folder, &options, &encoder))
        fail_msg("%s", diffc_message());
    return encoder;
}

/* One after another and together; both the same bits. */
static void test_golden(void **state)
{
    static const int f32[] = { DIFFC_F32 };
    (void)state;
    assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, f32, 1), DIFFC_OK);
    diffc_tensor *states[2] = { NULL, NULL };
    for (int batch = 1; batch <= 2; batch++) {
        diffc_text_encoder *encoder = open_encoder(io_path("te"), batch);
        assert_int_equal(diffc_text_encoder_width(encoder), 32);
        assert_int_equal(diffc_text_encoder_length(encoder), LENGTH);
        assert_int_equal(diffc_text_encoder_run(encoder, ids, used, 2, &states[batch - 1]), DIFFC_OK);
        assert_int_equal(diffc_tensor_dim(states[batch - 1], 2), 32);
        assert_true(is_close(diffc_tensor_data(states[batch - 1]), TOLERANCE));
        diffc_release(&encoder);
    }
    assert_memory_equal(diffc_tensor_data(states[0]), diffc_tensor_data(states[1]), 2 * LENGTH * 32 * 4);
    /* Padding of the empty prompt: all the same. */
    const float *empty = (float *)diffc_tensor_data(states[0]) + LENGTH * 32;
    for (int i = 2; i < LENGTH; i++)
        assert_memory_equal(empty + 32, empty + 32 * i, 32 * sizeof(float));
    diffc_release(&states[0]);
    diffc_release(&states[1]);
}

/* The encoder by weights of other types gives what the rounded weights give in F32, under every instruction
 * set and number of threads. */
static void test_stored_types(void **state)
{
    static const int kinds[][3] = { { DIFFC_F16, DIFFC_F16, DIFFC_F16 },
                                    { DIFFC_BF16, DIFFC_BF16, DIFFC_BF16 },
                                    { DIFFC_F16, DIFFC_F32, DIFFC_BF16 } };
    static const uint32_t masks[] = { DIFFC_CPU_NONE, DIFFC_CPU_AVX2, 0 };
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        diffc_archive *rounded = NULL, *whole = NULL;
        struct bytes config = { 0 };
        static float expected[2 * LENGTH * 32];
        assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, kinds[kind], 3), DIFFC_OK);
        config = bytes_load(io_path("te/config.json"));
        (void)mkdir(io_path("wide"), 0777);
        bytes_save(&config, io_path("wide/config.json"));
        bytes_free(&config);
        assert_int_equal(diffc_archive_open(io_context, io_path("te/model.safetensors"), NULL, &rounded),
                         DIFFC_OK);
        assert_int_equal(diffc_archive_create(io_context, &whole), DIFFC_OK);
        for (int i = 0; i < diffc_archive_count(rounded); i++) {
            diffc_tensor *tensor = NULL, *wide = NULL;
            assert_int_equal(diffc_archive_get(rounded, diffc_archive_name(rounded, i), &tensor), DIFFC_OK);
            assert_int_equal(diffc_tensor_convert(tensor, DIFFC_F32, &wide), DIFFC_OK);
            assert_int_equal(diffc_archive_add(whole, diffc_archive_name(rounded, i), wide), DIFFC_OK);
            diffc_release(&tensor);
            diffc_release(&wide);
        }
        assert_int_equal(diffc_archive_save(whole, io_path("wide/model.safetensors")), DIFFC_OK);
        diffc_release(&rounded);
        diffc_release(&whole);
        for (int m = 0; m < 3; m++)
            for (int threads = 1; threads <= 3; threads += 2)
                for (int wide = 1; wide >= 0; wide--) {
                    struct diffc_context *context = open_context(threads, masks[m]);
                    diffc_text_encoder *encoder = NULL;
                    diffc_tensor *states = NULL;
                    assert_int_equal(
                        diffc_text_encoder_open(context, io_path(wide ? "wide" : "te"), NULL, &encoder),
                        DIFFC_OK);
                    assert_int_equal(diffc_text_encoder_run(encoder, ids, used, 2, &states), DIFFC_OK);
                    if (threads == 1 && wide)
                        memcpy(expected, diffc_tensor_data(states), sizeof(expected));
                    else
                        assert_memory_equal(diffc_tensor_data(states), expected, sizeof(expected));
                    assert_true(is_close(diffc_tensor_data(states), kind == 0 ? 0.02 : 0.2));
                    diffc_release(&states);
                    diffc_release(&encoder);
                    diffc_release(&context);
                }
    }
}

/* Shards with an index; the embedding under its other name. */
static void test_shards(void **state)
{
    static const int mixed[] = { DIFFC_F32 };
    diffc_archive *archive = NULL, *renamed = NULL;
    diffc_tensor *states = NULL;
    char text[1024];
    (void)state;
    assert_int_equal(tiny_t5_archive(io_context, 100, mixed, 1, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_create(io_context, &renamed), DIFFC_OK);
    for (int i = 0; i < diffc_archive_count(archive); i++) {
        const char *name = diffc_archive_name(archive, i);
        diffc_tensor *tensor = NULL;
        assert_int_equal(diffc_archive_get(archive, name, &tensor), DIFFC_OK);
        name = strcmp(name, "shared.weight") == 0 ? "encoder.embed_tokens.weight" : name;
        assert_int_equal(diffc_archive_add(renamed, name, tensor), DIFFC_OK);
        if (i == 0) /* what nobody asks for */
            assert_int_equal(diffc_archive_add(renamed, "decoder.embed_tokens.weight", tensor), DIFFC_OK);
        diffc_release(&tensor);
    }
    (void)mkdir(io_path("shards"), 0777);
    snprintf(text, sizeof(text), TINY_T5, 100);
    assert_int_equal(write_text(io_path("shards/config.json"), text), 0);
    assert_int_equal(dfi_folder_save(renamed, io_path("shards"), "model", NULL, 40000), DIFFC_OK);
    assert_int_equal(access(io_path("shards/model.safetensors.index.json"), R_OK), 0);
    diffc_text_encoder *encoder = open_encoder(io_path("shards"), 1);
    assert_int_equal(diffc_text_encoder_run(encoder, ids, used, 2, &states), DIFFC_OK);
    assert_true(is_close(diffc_tensor_data(states), TOLERANCE));
    diffc_release(&states);
    diffc_release(&encoder);
    diffc_release(&renamed);
    diffc_release(&archive);
}

/* Gradients of sum(states * w) / count by every parameter, float and double. (The reference takes its softmax
 * in float even in double precision.) Returns their norm. */
static double check_gradients(int dtype, uint32_t mask)
{
    const struct dfi_t5_config config = tiny_t5(100);
    const struct dfi_exec_options options = { .batch = 2, .conditions = 1, .backward = 1 };
    struct diffc_context *context = open_context(2, mask);
    struct dfi_t5_values values;
    struct net net;
    double loss = 0, squares = 0;
    static float w[2 * LENGTH * 32];
    net_open(&net, context, dtype);
    dfi_t5_build(net.graph, &config, LENGTH, &values);
    net_plan(&net, &options);
    for (int i = 0; i < net.params.count; i++) {
        const struct dfi_param *param = &net.params.list[i];
        float *weights = malloc(param->count * sizeof(*weights));
        dt_weights(param->name, param->ndim, param->shape, weights, param->count);
        for (size_t k = 0; k < param->count; k++)
            put(&net, net.params.values, param->offset + k, weights[k]);
        free(weights);
    }
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < LENGTH; i++) {
            put(&net, dfi_exec_value(net.exec, values.ids).data, (size_t)(n * LENGTH + i),
                ids[n * LENGTH + i]);
            put(&net, dfi_exec_value(net.exec, values.mask).data, (size_t)(n * LENGTH + i), i < used[n]);
        }
    assert_int_equal(dfi_exec_forward(net.exec, 1), DIFFC_OK);
    dt_input("train.t5w", w, 2 * LENGTH * 32);
    for (size_t i = 0; i < 2 * LENGTH * 32; i++) {
        loss += get(&net, dfi_exec_value(net.exec, values.out).data, i) * w[i] / (2 * LENGTH * 32);
        put(&net, dfi_exec_gradient_of(net.exec, values.out).data, i, w[i] / (2.0 * LENGTH * 32));
    }
    assert_int_equal(dfi_exec_backward(net.exec, 0), DIFFC_OK);
    const json_t *expected = json_object_get(train, "t5"), *gradients = json_object_get(expected, "grad");
    const double right = json_number_value(json_object_get(json_object_get(expected, "loss"), "f64"));
    const double unit = dtype == DIFFC_F64 ? 1e-6 : 5e-6;
    if (!(fabs(loss - right) <= unit * fabs(right)))
        fail_msg("loss %.9g, not %.9g", loss, right);
    for (int i = 0; i < net.params.count; i++) {
        const struct dfi_param *param = &net.params.list[i];
        const json_t *entry = json_object_get(gradients, param->name);
        const double rms = json_number_value(json_object_get(entry, "rms"));
        const json_t *at = json_object_get(entry, "i"), *value = json_object_get(entry, "f64");
        double sum = 0;
        assert_non_null(entry);
        for (size_t k = 0; k < param->count; k++)
            sum += pow(get(&net, dfi_exec_gradients(net.exec), param->offset + k), 2);
        squares += sum;
        if (!(fabs(sqrt(sum / (double)param->count) - rms) <= 1e-3 * rms))
            fail_msg("%s: rms %.9g, not %.9g", param->name, sqrt(sum / (double)param->count), rms);
        for (size_t k = 0; k < json_array_size(at); k++) {
            const double found = get(&net, dfi_exec_gradients(net.exec),
                                     param->offset + (size_t)json_integer_value(json_array_get(at, k)));
            if (!(fabs(found - number_at(value, k)) <= (dtype == DIFFC_F64 ? 1e-5 : 1e-3) * rms))
                fail_msg("%s, %zu: %.9g, not %.9g", param->name, k, found, number_at(value, k));
        }
    }
    net_close(&net);
    diffc_release(&context);
    return sqrt(squares);
}

static void test_gradients(void **state)
{
    static const uint32_t masks[] = { DIFFC_CPU_NONE, DIFFC_CPU_AVX2, 0 };
    const json_t *norm = json_object_get(json_object_get(json_object_get(train, "t5"), "total_grad_norm"),
                                         "f64");
    const double right = json_number_value(norm);
    (void)state;
    assert_true(fabs(check_gradients(DIFFC_F64, 0) - right) <= 1e-6 * right);
    for (int m = 0; m < 3; m++)
        assert_true(fabs(check_gradients(DIFFC_F32, masks[m]) - right) <= 1e-5 * right);
}

static void expect_refused(const char *config, int status, const char *words)
{
    diffc_text_encoder *encoder = NULL;
    const long live = io_memory.live;
    if (config)
        assert_int_equal(write_text(io_path("te/config.json"), config), 0);
    assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), NULL, &encoder), status);
    assert_null(encoder);
    if (!strstr(diffc_message(), words))
        fail_msg("no \"%s\" in \"%s\"", words, diffc_message());
    assert_int_equal(io_memory.live, live);
}

/* Rows J and S11: settings and tensors that do not fit are named. */
static void test_refused(void **state)
{
    static const int f32[] = { DIFFC_F32 };
    static const struct {
        const char *from, *to;
        int status;
        const char *words;
    } rows[] = {
        { "\"t5\"", "\"bert\"", DIFFC_ERR_UNSUPPORTED, "model_type" },
        { "gated-gelu", "gated-tanh", DIFFC_ERR_UNSUPPORTED, "feed_forward_proj" },
        { "\"d_model\":32", "\"d_model\":0", DIFFC_ERR_CONFIG, "d_model" },
        { "\"d_model\":32", "\"d_model\":\"3\"", DIFFC_ERR_CONFIG, "d_model is \"3\"" },
        { "\"d_model\":32", "\"d_model\":1e300", DIFFC_ERR_CONFIG, "d_model" },
        { "\"d_model\":32", "\"d_other\":32", DIFFC_ERR_CONFIG, "d_model" },
        { "\"d_model\":32", "\"d_model\":48", DIFFC_ERR_CONFIG, "shared.weight" },
        { "\"num_layers\":3", "\"num_layers\":2147483648", DIFFC_ERR_LIMIT, "num_layers" },
        { "\"num_layers\":3", "\"num_layers\":4", DIFFC_ERR_CONFIG, "encoder.block.3.layer.0" },
        { "\"num_heads\":4", "\"num_heads\":-1", DIFFC_ERR_CONFIG, "num_heads" },
        { "num_buckets\":32", "num_buckets\":2", DIFFC_ERR_CONFIG, "num_buckets" },
        { "max_distance\":128", "max_distance\":8", DIFFC_ERR_CONFIG, "max_distance" },
        { "epsilon\":1e-06", "epsilon\":-1", DIFFC_ERR_CONFIG, "layer_norm_epsilon is -1" },
        { "{\"model_type\"", "[{\"model_type\"", DIFFC_ERR_FORMAT, "config.json" },
    };
    (void)state;
    assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, f32, 1), DIFFC_OK);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[1024], changed[1200];
        snprintf(text, sizeof(text), TINY_T5, 100);
        const char *found = strstr(text, rows[i].from);
        assert_non_null(found);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(found - text), text, rows[i].to,
                 found + strlen(rows[i].from));
        expect_refused(changed, rows[i].status, rows[i].words);
    }
    unlink(io_path("te/config.json"));
    expect_refused(NULL, DIFFC_ERR_IO, "config.json");
}

static void expect_limit(int64_t memory, const char *words)
{
    diffc_limits limits = DIFFC_LIMITS;
    diffc_text_encoder *encoder = NULL;
    char all[80];
    limits.memory = memory;
    diffc_context *small = io_context_new(&limits);
    const size_t before = io_memory.peak = io_memory.bytes;
    assert_int_equal(diffc_text_encoder_open(small, io_path("te"), NULL, &encoder), DIFFC_ERR_LIMIT);
    assert_null(encoder);
    snprintf(all, sizeof(all), "te: %s, the memory limit is %lld", words, (long long)memory);
    if (!strstr(diffc_message(), all))
        fail_msg("no \"%s\" in \"%s\"", all, diffc_message());
    assert_true(io_memory.peak - before < 100000);
    diffc_release(&small);
}

/* Row J6: what weights and run would take together is told before either is there; so it is with a
 * config.json that does not belong to the weights. */
static void test_j6_memory(void **state)
{
    static const int f32[] = { DIFFC_F32 };
    diffc_limits limits = DIFFC_LIMITS;
    diffc_text_encoder *encoder = NULL;
    struct stat file;
    char text[1024], wide[1024], words[80];
    int64_t bytes = 0;
    (void)state;
    assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, f32, 1), DIFFC_OK);
    assert_int_equal(diffc_text_encoder_bytes(io_context, io_path("te"), NULL, &limits.memory), DIFFC_OK);
    assert_int_equal(stat(io_path("te/model.safetensors"), &file), 0);
    snprintf(words, sizeof(words), "%lld bytes for weights and %lld for a run", (long long)file.st_size,
             (long long)(limits.memory - file.st_size));
    expect_limit(limits.memory - 1, words);
    expect_limit(1000, words);
    diffc_context *enough = io_context_new(&limits);
    assert_int_equal(diffc_text_encoder_open(enough, io_path("te"), NULL, &encoder), DIFFC_OK);
    diffc_release(&encoder);
    diffc_release(&enough);
    snprintf(text, sizeof(text), TINY_T5, 100);
    const char *at = strstr(text, "\"d_ff\":80");
    snprintf(wide, sizeof(wide), "%.*s\"d_ff\":65536%s", (int)(at - text), text, at + 9);
    assert_int_equal(write_text(io_path("te/config.json"), wide), 0);
    assert_int_equal(diffc_text_encoder_bytes(io_context, io_path("te"), NULL, &bytes), DIFFC_OK);
    assert_true(bytes > limits.memory + 2 * LENGTH * 65536 * 4);
    snprintf(words, sizeof(words), "%lld bytes for weights and %lld for a run", (long long)file.st_size,
             (long long)(bytes - file.st_size));
    expect_limit(limits.memory, words);
}

/* Row S12: refused where it is asked for. */
static void test_finite(void **state)
{
    static const int f32[] = { DIFFC_F32 };
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    diffc_text_encoder *encoder = NULL;
    diffc_archive *archive = NULL;
    diffc_tensor *weights = NULL;
    (void)state;
    assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, f32, 1), DIFFC_OK);
    options.finite = 1;
    assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder), DIFFC_OK);
    diffc_release(&encoder);
    assert_int_equal(tiny_t5_archive(io_context, 100, f32, 1, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_get(archive, "encoder.final_layer_norm.weight", &weights), DIFFC_OK);
    ((float *)diffc_tensor_data(weights))[7] = INFINITY;
    assert_int_equal(diffc_archive_save(archive, io_path("te/model.safetensors")), DIFFC_OK);
    diffc_release(&weights);
    diffc_release(&archive);
    for (options.map = 0; options.map < 2; options.map++) {
        const long live = io_memory.live;
        assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder),
                         DIFFC_ERR_NONFINITE);
        assert_null(encoder);
        assert_non_null(strstr(diffc_message(),
                               "te: tensor \"encoder.final_layer_norm.weight\": value 7 is NaN or infinite"));
        assert_int_equal(io_memory.live, live);
    }
    options.finite = 0;
    assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder), DIFFC_OK);
    diffc_release(&encoder);
}

/* Rounded factors, summed in float: near the same states, and the ones of float where the CPU has no such
 * products. */
static void test_bf16(void **state)
{
    static const int types[] = { DIFFC_F32, DIFFC_F16, DIFFC_BF16 };
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    const int rounds = dfi_wide_has_dots(io_context->cpu_flags, 32);
    (void)state;
    for (int type = 0; type < 3; type++) {
        diffc_tensor *states[2] = { NULL, NULL };
        double error = 0, size = 0;
        assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, &types[type], 1), DIFFC_OK);
        for (int i = 0; i < 2; i++) {
            diffc_text_encoder *encoder = NULL;
            options.precision = i ? "bf16" : "fp32";
            assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder),
                             DIFFC_OK);
            assert_int_equal(diffc_text_encoder_run(encoder, ids, used, 2, &states[i]), DIFFC_OK);
            diffc_release(&encoder);
        }
        const float *wide = diffc_tensor_data(states[0]), *narrow = diffc_tensor_data(states[1]);
        for (int i = 0; i < 2 * LENGTH * 32; i++) {
            error += pow((double)narrow[i] - (double)wide[i], 2);
            size += pow((double)wide[i], 2);
        }
        print_message("type %d: %.5f\n", types[type], sqrt(error / size));
        assert_true(sqrt(error / size) < 0.05);
        assert_int_equal(error > 0, rounds);
        diffc_release(&states[0]);
        diffc_release(&states[1]);
    }
    options.precision = "fp64";
    diffc_text_encoder *encoder = NULL;
    assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder), DIFFC_ERR_ARG);
    assert_non_null(strstr(diffc_message(), "known: fp32, bf16"));
}

static void test_arguments(void **state)
{
    static const int f32[] = { DIFFC_F32 };
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    diffc_text_encoder *encoder = NULL;
    diffc_tensor *states = NULL;
    int32_t bad_ids[LENGTH] = { 100 }, bad_used[1] = { 78 };
    int64_t bytes = 0;
    (void)state;
    assert_int_equal(tiny_t5_folder(io_context, io_path("te"), 100, f32, 1), DIFFC_OK);
    assert_int_equal(diffc_text_encoder_bytes(io_context, io_path("te"), NULL, &bytes), DIFFC_OK);
    assert_true(bytes > 100000 && bytes < 2000000);
    options.length = 5000;
    assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder), DIFFC_ERR_ARG);
    options.length = 0;
    options.batch = -1;
    assert_int_equal(diffc_text_encoder_open(io_context, io_path("te"), &options, &encoder), DIFFC_ERR_ARG);
    assert_int_equal(diffc_text_encoder_open(io_context, NULL, NULL, &encoder), DIFFC_ERR_ARG);
    encoder = open_encoder(io_path("te"), 1);
    assert_int_equal(diffc_text_encoder_run(encoder, bad_ids, used, 1, &states), DIFFC_ERR_ARG);
    assert_non_null(strstr(diffc_message(), "must be 0 to 99"));
    assert_int_equal(diffc_text_encoder_run(encoder, ids, bad_used, 1, &states), DIFFC_ERR_ARG);
    assert_int_equal(diffc_text_encoder_run(encoder, ids, used, 0, &states), DIFFC_ERR_ARG);
    assert_int_equal(diffc_text_encoder_run(NULL, ids, used, 1, &states), DIFFC_ERR_ARG);
    assert_null(states);
    diffc_release(&encoder);
}

static diffc_tensor *make_states(int64_t first, float value)
{
    const int64_t shape[3] = { first, 4, 3 };
    diffc_tensor *made = NULL;
    assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, 3, shape, &made), DIFFC_OK);
    for (int i = 0; i < 12; i++)
        ((float *)diffc_tensor_data(made))[i] = value + (float)i;
    return made;
}

static void test_embeddings(void **state)
{
    diffc_archive *archive = NULL;
    diffc_tensor *a = make_states(1, 1), *b = make_states(1, 100), *two = make_states(2, 0), *found = NULL;
    (void)state;
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_embeddings_add(archive, "a cat", a), DIFFC_OK);
    assert_int_equal(diffc_embeddings_add(archive, "", b), DIFFC_OK);
    assert_int_equal(diffc_embeddings_add(archive, "a cat", b), DIFFC_ERR_ARG);
    assert_int_equal(diffc_embeddings_add(archive, "two", two), DIFFC_ERR_ARG);
    /* Latin 1 once left its tensor behind, whose name the next one wanted. */
    assert_int_equal(diffc_embeddings_add(archive, "caf\xE9", a), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_count(archive), 2);
    assert_int_equal(diffc_archive_add(archive, "named by its text", a), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("prompts.safetensors")), DIFFC_OK);
    diffc_release(&archive);
    assert_int_equal(diffc_archive_open(io_context, io_path("prompts.safetensors"), NULL, &archive),
                     DIFFC_OK);
    assert_string_equal(diffc_embeddings_prompt(archive, 0), "a cat");
    assert_string_equal(diffc_embeddings_prompt(archive, 1), "");
    assert_null(diffc_embeddings_prompt(archive, 2));
    static const char *const names[] = { "a cat", "", "named by its text" };
    for (int i = 0; i < 3; i++) {
        assert_int_equal(diffc_embeddings_find(archive, names[i], &found), DIFFC_OK);
        assert_int_equal(diffc_tensor_ndim(found), 3);
        assert_memory_equal(diffc_tensor_data(found), diffc_tensor_data(i == 1 ? b : a), 48);
        diffc_release(&found);
    }
    assert_int_equal(diffc_embeddings_find(archive, "a dog", &found), DIFFC_ERR_ARG);
    diffc_release(&archive);
    diffc_release(&a);
    diffc_release(&b);
    diffc_release(&two);
}

static int open_and_encode(void *work)
{
    diffc_text_encoder *encoder = NULL;
    diffc_tensor *states = NULL;
    static const char *const prompts[] = { "the license", "" };
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    options.length = 9;
    int status = diffc_text_encoder_open(io_context, io_path("oom"), &options, &encoder);
    if (status == DIFFC_OK)
        status = diffc_text_encode(encoder, work, prompts, 2, NULL, NULL, &states);
    diffc_release(&states);
    diffc_release(&encoder);
    return status;
}

static void test_memory_fails(void **state)
{
    static const int mixed[] = { DIFFC_F16, DIFFC_F32 };
    diffc_tokenizer *tokenizer = NULL;
    const char *folder = getenv("DIFFC_TEST_DATA");
    char path[512];
    (void)state;
    snprintf(path, sizeof(path), "%s/tiny_spiece.model", folder ? folder : "tests/data");
    assert_int_equal(diffc_tokenizer_open(io_context, path, &tokenizer), DIFFC_OK);
    assert_int_equal(tiny_t5_folder(io_context, io_path("oom"), 1400, mixed, 2), DIFFC_OK);
    assert_true(io_fail_allocations(open_and_encode, tokenizer) > 50);
    diffc_release(&tokenizer);
}

static int set_up(void **state)
{
    if (io_setup(state) != 0)
        return -1;
    golden = read_golden("t5_golden.json");
    train = read_golden("train_golden.json");
    for (size_t n = 0; n < 2; n++)
        for (size_t i = 0; i < LENGTH; i++) {
            ids[n * LENGTH + i] = (int32_t)number_at(json_array_get(json_object_get(golden, "ids"), n), i);
            used[n] += number_at(json_array_get(json_object_get(golden, "mask"), n), i) > 0;
        }
    return 0;
}

static int tear_down(void **state)
{
    char command[512];
    json_decref(golden);
    json_decref(train);
    snprintf(command, sizeof(command), "rm -rf %s/te %s/wide %s/shards %s/oom", io_folder, io_folder,
             io_folder, io_folder);
    if (system(command) != 0)
        return -1;
    return io_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),     cmocka_unit_test(test_stored_types),
        cmocka_unit_test(test_shards),     cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_embeddings), cmocka_unit_test(test_memory_fails),
        cmocka_unit_test(test_bf16),       cmocka_unit_test(test_j6_memory),
        cmocka_unit_test(test_finite),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
