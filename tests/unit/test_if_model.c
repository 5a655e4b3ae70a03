/* Models of the DeepFloyd IF family through the public calls: folders, stored types, sessions with prompts,
 * and what bad files and settings give. */

#include "io_case.h"

#include <math.h>

#include "deterministic.h"

static const char tiny[] =
    "{\"_class_name\": \"UNet2DConditionModel\", \"_diffusers_version\": \"0.15.0\", \"sample_size\": 8,"
    "\"in_channels\": 6, \"out_channels\": 6, \"layers_per_block\": 1, \"block_out_channels\": [128, 256],"
    "\"down_block_types\": [\"ResnetDownsampleBlock2D\", \"SimpleCrossAttnDownBlock2D\"],"
    "\"mid_block_type\": \"UNetMidBlock2DSimpleCrossAttn\","
    "\"up_block_types\": [\"SimpleCrossAttnUpBlock2D\", \"ResnetUpsampleBlock2D\"], \"cross_attention_dim\": "
    "32,"
    "\"encoder_hid_dim\": 16, \"attention_head_dim\": 32, \"addition_embed_type\": \"text\","
    "\"addition_embed_type_num_heads\": 2, \"cross_attention_norm\": \"group_norm\", \"act_fn\": \"gelu\","
    "\"resnet_time_scale_shift\": \"scale_shift\", \"norm_num_groups\": 32, \"class_embed_type\": "
    "\"timestep\"}";

static void write_file(const char *name, const char *text)
{
    FILE *stream = fopen(io_path(name), "w");
    assert_non_null(stream);
    fputs(text, stream);
    fclose(stream);
}

static void ok(int status)
{
    if (status < 0)
        fail_msg("%s: %s", diffc_status_name(status), diffc_message());
}

static void refused(int found, int status, const char *message)
{
    if (found != status || !strstr(diffc_message(), message))
        fail_msg("%s (%s) instead of %s (%s)", diffc_status_name(found), found < 0 ? diffc_message() : "",
                 diffc_status_name(status), message);
}

static diffc_model *model_of(const char *config)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_model *model = NULL;
    options.config = config;
    options.seed = 5;
    ok(diffc_model_create(io_context, "if_unet", &options, &model));
    return model;
}

static diffc_model *new_model(void)
{
    return model_of(tiny);
}

static diffc_tensor *input(const char *name, int ndim, const int64_t *shape)
{
    diffc_tensor *tensor = NULL;
    ok(diffc_tensor_create(io_context, DIFFC_F32, ndim, shape, &tensor));
    dt_input(name, diffc_tensor_data(tensor), (size_t)diffc_tensor_count(tensor));
    return tensor;
}

static int64_t session_memory; /* of evaluate() */

/* Two pictures of 8 x 12 with 5 tokens each; returns 2 * 6 * 96 values. */
static float *evaluate(diffc_model *model)
{
    static const int64_t x_shape[4] = { 2, 6, 8, 12 }, text_shape[3] = { 2, 5, 16 }, two[1] = { 2 };
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    diffc_session *session = NULL;
    options.batch = 2;
    options.image_height = 8;
    options.image_width = 12;
    options.text_tokens = 5;
    options.memory = session_memory;
    ok(diffc_session_create(model, &options, &session));
    diffc_tensor *x = input("x", 4, x_shape), *text = input("text", 3, text_shape), *t = input("t", 1, two);
    diffc_tensor *class = input("class", 1, two), *y = input("y", 4, x_shape);
    const diffc_binding inputs[] = {
        { "x", x }, { "t", t }, { "text", text }, { "class", class }, { "text", text }
    };
    const diffc_binding output = { "out", y };
    ok(diffc_session_run(session, inputs, 4, &output, 1));
    refused(diffc_session_run(session, inputs, 5, &output, 1), DIFFC_ERR_ARG,
            "input 4: \"text\" is given twice");
    refused(diffc_session_run(session, inputs, 3, &output, 1), DIFFC_ERR_ARG, "\"class\"");
    float *values = malloc(2 * 6 * 96 * sizeof(*values));
    memcpy(values, diffc_tensor_data(y), 2 * 6 * 96 * sizeof(*values));
    diffc_release(&x);
    diffc_release(&text);
    diffc_release(&t);
    diffc_release(&class);
    diffc_release(&y);
    diffc_release(&session);
    return values;
}

static double distance(const float *a, const float *b)
{
    double worst = 0;
    for (int i = 0; i < 2 * 6 * 96; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

/* What a folder gives after a model was saved into it. */
static float *round_trip(const diffc_model *model, int dtype, const char *variant, int64_t shard, int map)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_model *read = NULL;
    io_empty_folder();
    ok(diffc_model_save_folder(model, io_folder, dtype, variant, shard));
    options.variant = variant;
    options.map = map;
    ok(diffc_model_open(io_context, io_folder, &options, &read));
    assert_int_equal(diffc_model_parameter_count(read), diffc_model_parameter_count(model));
    assert_null(diffc_model_unused(read, 0));
    float *values = evaluate(read);
    diffc_release(&read);
    return values;
}

/* The saved weights once more, in double. */
static void store_doubles(const char *file)
{
    diffc_archive *from = NULL, *to = NULL;
    ok(diffc_archive_open(io_context, io_path(file), NULL, &from));
    ok(diffc_archive_create(io_context, &to));
    for (int i = 0; i < diffc_archive_count(from); i++) {
        diffc_tensor *tensor = NULL, *wide = NULL;
        ok(diffc_archive_get(from, diffc_archive_name(from, i), &tensor));
        ok(diffc_tensor_convert(tensor, DIFFC_F64, &wide));
        ok(diffc_archive_add(to, diffc_archive_name(from, i), wide));
        diffc_release(&tensor);
        diffc_release(&wide);
    }
    ok(diffc_archive_save(to, io_path(file)));
    diffc_release(&from);
    diffc_release(&to);
}

/* Layers once took doubles for halves. */
static void test_doubles_are_converted(void **unused)
{
    diffc_model *model = new_model(), *read = NULL;
    float *single = round_trip(model, DIFFC_F32, NULL, 0, 0);
    (void)unused;
    store_doubles("diffusion_pytorch_model.safetensors");
    ok(diffc_model_open(io_context, io_folder, NULL, &read));
    float *twice = evaluate(read);
    assert_true(distance(twice, single) < 2e-5);
    free(single);
    free(twice);
    diffc_release(&read);
    diffc_release(&model);
}

/* Refused with `message`, or NULL. */
static double loss_with_text(diffc_trainer *trainer, diffc_tensor *text, const char *message)
{
    static const int64_t x_shape[4] = { 2, 6, 8, 8 }, out_shape[4] = { 2, 3, 8, 8 }, two[1] = { 2 };
    diffc_tensor *x = input("x", 4, x_shape), *t = input("t", 1, two), *class = input("class", 1, two);
    diffc_tensor *target = input("target", 4, out_shape);
    const diffc_binding inputs[4] = { { "x", x }, { "t", t }, { "class", class }, { "text", text } };
    double loss = -1;
    const int status = diffc_trainer_gradients(trainer, inputs, 4, target, NULL, &loss);
    if (message)
        refused(status, DIFFC_ERR_ARG, message);
    else
        ok(status);
    diffc_release(&x);
    diffc_release(&t);
    diffc_release(&class);
    diffc_release(&target);
    return loss;
}

/* Before the first update the average is the model. */
static void check_average(diffc_trainer *trainer, diffc_model *model)
{
    diffc_model *average = NULL;
    ok(diffc_trainer_ema_model(trainer, &average));
    for (int i = 0; i < diffc_model_tensor_count(model); i++) {
        diffc_tensor *a = NULL, *b = NULL;
        ok(diffc_model_tensor(model, i, NULL, &a, NULL));
        ok(diffc_model_tensor(average, i, NULL, &b, NULL));
        assert_memory_equal(diffc_tensor_data(a), diffc_tensor_data(b),
                            (size_t)diffc_tensor_count(a) * sizeof(float));
        diffc_release(&a);
        diffc_release(&b);
    }
    diffc_release(&average);
}

/* A trainer takes text with the caller's own batches; data sets have none. The model comes from a folder:
 * what was seen of its weights before stays. */
static void test_training_with_text(void **unused)
{
    static const int64_t shape[4] = { 2, 3, 8, 8 }, two[1] = { 2 }, one_text[3] = { 1, 77, 16 },
                         texts[3] = { 2, 77, 16 }, many[3] = { 3, 77, 16 }, turned[3] = { 2, 16, 77 };
    diffc_model *made = new_model(), *model = NULL;
    diffc_tensor *images = input("images", 4, shape), *labels = NULL, *weights = NULL;
    diffc_tensor *text = input("text", 3, one_text), *both = NULL, *others = input("other", 3, texts);
    diffc_tensor *wrong = input("text", 3, many), *sideways = input("text", 3, turned);
    diffc_dataset *data = NULL;
    diffc_trainer *trainer = NULL;
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    const char *name;
    double loss = 0;
    (void)unused;
    io_empty_folder();
    ok(diffc_model_save_folder(made, io_folder, DIFFC_F16, NULL, 0));
    ok(diffc_model_open(io_context, io_folder, NULL, &model));
    ok(diffc_model_tensor(model, 1, &name, &weights, NULL));
    ok(diffc_tensor_create(io_context, DIFFC_I32, 1, two, &labels));
    ok(diffc_dataset_create(images, labels, &data));
    options.objective = "flow";
    options.batch = 2;
    options.ema_decay = 0.5; /* averages once began with what lies behind the few weights in float */
    ok(diffc_trainer_create(model, data, &options, &trainer));
    check_average(trainer, model);
    diffc_tensor *seen = NULL;
    ok(diffc_tensor_convert(weights, DIFFC_F32, &seen));
    refused(diffc_trainer_step(trainer, NULL), DIFFC_ERR_UNSUPPORTED, "no text");
    refused(diffc_trainer_evaluate(trainer, data, 1, 0, &loss, NULL), DIFFC_ERR_UNSUPPORTED, "no text");
    ok(diffc_tensor_create(io_context, DIFFC_F32, 3, texts, &both));
    for (int n = 0; n < 2; n++)
        memcpy((float *)diffc_tensor_data(both) + n * 77 * 16, diffc_tensor_data(text),
               77 * 16 * sizeof(float));
    const double one = loss_with_text(trainer, text, NULL);
    assert_true(one > 0 && loss_with_text(trainer, both, NULL) == one);
    assert_true(loss_with_text(trainer, others, NULL) != one);
    loss_with_text(trainer, wrong, "text has 3 samples, the others 2");
    loss_with_text(trainer, sideways, "expected floats [N, 77, 16]");
    ok(diffc_trainer_apply(trainer, NULL));
    assert_true(loss_with_text(trainer, text, NULL) != one);
    diffc_release(&seen);
    diffc_release(&trainer);
    diffc_release(&data);
    diffc_release(&images);
    diffc_release(&labels);
    diffc_release(&weights);
    diffc_release(&text);
    diffc_release(&both);
    diffc_release(&others);
    diffc_release(&wrong);
    diffc_release(&sideways);
    diffc_release(&model);
    diffc_release(&made);
}

static void test_stored_types(void **unused)
{
    diffc_model *model = new_model();
    float *expected = evaluate(model);
    (void)unused;
    for (int map = 0; map < 2; map++) {
        float *same = round_trip(model, DIFFC_F32, NULL, 0, map),
              *parts = round_trip(model, DIFFC_F32, NULL, 500000, map);
        float *half = round_trip(model, DIFFC_F16, "fp16", 1000000, map),
              *brain = round_trip(model, DIFFC_BF16, NULL, 0, map);
        assert_true(distance(same, expected) < 2e-5); /* another order of sums, as memory allows */
        assert_memory_equal(parts, same, 2 * 6 * 96 * sizeof(float));
        assert_true(distance(half, expected) > 0 && distance(half, expected) < 5e-3);
        assert_true(distance(brain, expected) > distance(half, expected) && distance(brain, expected) < 5e-2);
        free(same);
        free(parts);
        free(half);
        free(brain);
    }
    free(expected);
    diffc_release(&model);
}

/* Little memory: weights are packed in every run, in groups of channels, and the bits are the same. */
static void test_little_memory(void **unused)
{
    static const int dtypes[2] = { DIFFC_F32, DIFFC_BF16 };
    diffc_model *model = new_model(), *read = NULL;
    diffc_session_options options = DIFFC_SESSION_OPTIONS, least = options;
    int64_t much = 0, little = 0;
    (void)unused;
    for (int i = 0; i < 2; i++) {
        io_empty_folder();
        ok(diffc_model_save_folder(model, io_folder, dtypes[i], NULL, 0));
        ok(diffc_model_open(io_context, io_folder, NULL, &read));
        session_memory = 0;
        float *kept = evaluate(read);
        ok(diffc_session_bytes(read, &options, &much));
        session_memory = least.memory = much - 1;
        float *packed = evaluate(read);
        ok(diffc_session_bytes(read, &least, &little));
        assert_true(little < much);
        assert_memory_equal(packed, kept, 2 * 6 * 96 * sizeof(float));
        session_memory = 0;
        least.memory = 1000;
        refused(diffc_session_bytes(read, &least, &little), DIFFC_ERR_LIMIT, "memory is 1000 bytes");
        free(kept);
        free(packed);
        diffc_release(&read);
    }
    diffc_release(&model);
}

/* Weights used in half precision give what the same numbers give as floats. */
static void test_in_place_is_exact(void **unused)
{
    diffc_model *model = new_model(), *half = NULL, *wide = NULL;
    (void)unused;
    io_empty_folder();
    ok(diffc_model_save_folder(model, io_folder, DIFFC_F16, NULL, 0));
    ok(diffc_model_open(io_context, io_folder, NULL, &half));
    float *stored = evaluate(half);
    ok(diffc_model_save_folder(half, io_folder, DIFFC_F32, NULL, 0));
    ok(diffc_model_open(io_context, io_folder, NULL, &wide));
    float *floats = evaluate(wide);
    assert_true(distance(stored, floats) < 2e-6);
    free(stored);
    free(floats);
    diffc_release(&half);
    diffc_release(&wide);
    diffc_release(&model);
}

/* Dropout is for training alone, where it is refused; the blocks of the family do not know upcast_attention.
 */
static void test_keys_of_training(void **unused)
{
    static const int64_t shape[4] = { 2, 3, 8, 8 };
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    diffc_trainer *trainer = NULL;
    diffc_dataset *data = NULL;
    char text[2048];
    int64_t bytes = 0;
    (void)unused;
    snprintf(text, sizeof(text), "{\"dropout\": 0.25, \"upcast_attention\": true, %s", tiny + 1);
    diffc_model *plain = new_model(), *model = model_of(text);
    float *expected = evaluate(plain), *found = evaluate(model);
    assert_memory_equal(found, expected, 2 * 6 * 96 * sizeof(float));
    diffc_tensor *images = input("images", 4, shape);
    ok(diffc_dataset_create(images, NULL, &data));
    options.objective = "ddpm";
    refused(diffc_trainer_create(model, data, &options, &trainer), DIFFC_ERR_UNSUPPORTED,
            "config.json: dropout is 0.25, must be 0 in training");
    refused(diffc_trainer_bytes(model, data, &options, &bytes), DIFFC_ERR_UNSUPPORTED, "dropout is 0.25");
    assert_null(trainer);
    free(expected);
    free(found);
    diffc_release(&data);
    diffc_release(&images);
    diffc_release(&model);
    diffc_release(&plain);
}

/* Rows S11 and S12. */
static void test_tensors(void **unused)
{
    diffc_model_options strict = DIFFC_MODEL_OPTIONS;
    diffc_model *model = new_model(), *read = NULL;
    diffc_archive *archive = NULL, *changed = NULL;
    const char *name;
    static const int64_t shape[1] = { 3 };
    (void)unused;
    for (int kind = 0; kind < 3; kind++) {
        io_empty_folder();
        ok(diffc_model_save_folder(model, io_folder, DIFFC_F32, NULL, 0));
        ok(diffc_archive_open(io_context, io_folder, NULL, &archive));
        ok(diffc_archive_create(io_context, &changed));
        for (int i = 0; (name = diffc_archive_name(archive, i)); i++) {
            diffc_tensor *tensor = NULL;
            const int chosen = strcmp(name, "conv_in.bias") == 0 || strcmp(name, "conv_out.bias") == 0;
            ok(kind == 1 && chosen ? diffc_tensor_create(io_context, DIFFC_F32, 1, shape, &tensor)
                                   : diffc_archive_get(archive, name, &tensor));
            if (kind != 0 || !chosen)
                ok(diffc_archive_add(changed, name, tensor));
            if (kind == 2 && chosen) { /* more than there should be, and a NaN */
                char more[64];
                ((float *)diffc_tensor_data(tensor))[1] = NAN;
                snprintf(more, sizeof(more), "ema.%s", name);
                ok(diffc_archive_add(changed, more, tensor));
            }
            diffc_release(&tensor);
        }
        ok(diffc_archive_save(changed, io_path("diffusion_pytorch_model.safetensors")));
        diffc_release(&archive);
        diffc_release(&changed);
        const int status = diffc_model_open(io_context, io_folder, NULL, &read);
        if (kind == 0)
            refused(status, DIFFC_ERR_CONFIG, "tensors are missing: conv_in.bias, conv_out.bias");
        else if (kind == 1)
            refused(status, DIFFC_ERR_CONFIG, "tensor conv_in.bias is F32 [3], expected F32 [128]");
        else
            ok(status);
        if (kind == 2) {
            assert_string_equal(diffc_model_unused(read, 0), "ema.conv_in.bias");
            assert_string_equal(diffc_model_unused(read, 1), "ema.conv_out.bias");
            assert_null(diffc_model_unused(read, 2));
            diffc_release(&read);
            strict.finite = 1;
            refused(diffc_model_open(io_context, io_folder, &strict, &read), DIFFC_ERR_NONFINITE,
                    "tensor \"conv_in.bias\": value 1 is NaN");
        }
        diffc_release(&read);
    }
    diffc_release(&model);
}

static const struct change {
    const char *from, *to;
    int status;
    const char *message;
} changes[] = {
    /* J2 */
    { "UNet2DConditionModel", "UNet3DConditionModel", DIFFC_ERR_UNSUPPORTED,
      "_class_name is \"UNet3DConditionModel\"" },
    { "\"sample_size\": 8", "\"nobody_knows\": [{}], \"sample_size\": 8", DIFFC_OK, "" },
    /* J3 */
    { "\"in_channels\": 6", "\"in_channels\": 0", DIFFC_ERR_CONFIG, "in_channels is 0, must be" },
    { "\"in_channels\": 6", "\"in_channels\": -1", DIFFC_ERR_CONFIG, "in_channels is -1, must be" },
    { "\"in_channels\": 6", "\"in_channels\": 2147483648", DIFFC_ERR_CONFIG, "in_channels is 2147483648" },
    { "\"in_channels\": 6", "\"in_channels\": 1e300", DIFFC_ERR_CONFIG, "in_channels is 1e+300" },
    { "\"in_channels\": 6", "\"in_channels\": \"3\"", DIFFC_ERR_CONFIG, "in_channels is \"3\"" },
    { "\"in_channels\": 6", "\"in_channels\": null", DIFFC_ERR_CONFIG, "in_channels is null" },
    { "\"attention_head_dim\": 32", "\"attention_head_dim\": 0", DIFFC_ERR_CONFIG,
      "attention_head_dim is 0" },
    { "\"attention_head_dim\": 32", "\"attention_head_dim\": 48", DIFFC_ERR_CONFIG,
      "divisible by attention_head_dim 48" },
    { "\"attention_head_dim\": 32", "\"attention_head_dim\": [32]", DIFFC_ERR_CONFIG,
      "a list of 1, must be a list of 2" },
    { "\"norm_num_groups\": 32", "\"norm_num_groups\": 5", DIFFC_ERR_CONFIG,
      "divisible by norm_num_groups 5" },
    { "\"norm_num_groups\": 32", "\"norm_num_groups\": null", DIFFC_ERR_CONFIG, "norm_num_groups is null" },
    { "\"addition_embed_type_num_heads\": 2", "\"addition_embed_type_num_heads\": 3", DIFFC_ERR_CONFIG,
      "addition_embed_type_num_heads" },
    { "\"cross_attention_dim\": 32", "\"cross_attention_dim\": 33", DIFFC_ERR_CONFIG,
      "cross_attention_dim is 33" },
    /* J4 */
    { "[128, 256]", "[128, 256, 256]", DIFFC_ERR_CONFIG,
      "block_out_channels is a list of 3, must be a list of 2" },
    { "[128, 256]", "[128, 0]", DIFFC_ERR_CONFIG, "block_out_channels[1] is 0" },
    { "[\"SimpleCrossAttnUpBlock2D\", ", "[", DIFFC_ERR_CONFIG, "up_block_types is a list of 1" },
    { "\"sample_size\": 8", "\"sample_size\": 1000000", DIFFC_ERR_LIMIT, "sample_size is 1000000" },
    { "\"sample_size\": 8", "\"sample_size\": 7", DIFFC_ERR_CONFIG, "sample_size is 7 x 7, both" },
    { "\"layers_per_block\": 1", "\"layers_per_block\": 1000", DIFFC_ERR_CONFIG, "layers_per_block is 1000" },
    /* what this family does not have */
    { "ResnetUpsampleBlock2D", "UpBlock2D", DIFFC_ERR_UNSUPPORTED, "up_block_types[1] is \"UpBlock2D\"" },
    { "UNetMidBlock2DSimpleCrossAttn", "UNetMidBlock2DCrossAttn", DIFFC_ERR_UNSUPPORTED, "mid_block_type" },
    { "\"gelu\"", "\"mish\"", DIFFC_ERR_UNSUPPORTED, "act_fn is \"mish\", must be \"gelu\"" },
    { "\"group_norm\"", "\"layer_norm\"", DIFFC_ERR_UNSUPPORTED, "cross_attention_norm" },
    /* without effect on a prediction */
    { "\"sample_size\": 8", "\"dropout\": 0.1, \"sample_size\": 8", DIFFC_OK, NULL },
    { "\"sample_size\": 8", "\"dropout\": 1, \"sample_size\": 8", DIFFC_OK, NULL },
    { "\"sample_size\": 8", "\"dropout\": 1.5, \"sample_size\": 8", DIFFC_ERR_CONFIG,
      "dropout is 1.5, must be a number from 0 to 1" },
    { "\"sample_size\": 8", "\"dropout\": -0.1, \"sample_size\": 8", DIFFC_ERR_CONFIG, "dropout is -0.1" },
    { "\"sample_size\": 8", "\"dropout\": \"0\", \"sample_size\": 8", DIFFC_ERR_CONFIG, "dropout is \"0\"" },
    { "\"sample_size\": 8", "\"upcast_attention\": true, \"sample_size\": 8", DIFFC_OK, NULL },
    { "\"sample_size\": 8", "\"upcast_attention\": 1, \"sample_size\": 8", DIFFC_ERR_CONFIG,
      "upcast_attention is 1, must be true or false" },
    { "\"sample_size\": 8", "\"center_input_sample\": true, \"sample_size\": 8", DIFFC_ERR_UNSUPPORTED,
      "center_input_sample is true" },
    { "\"sample_size\": 8", "\"num_class_embeds\": 10, \"sample_size\": 8", DIFFC_ERR_UNSUPPORTED,
      "num_class_embeds is 10" },
    { "\"sample_size\": 8", "\"time_embedding_type\": \"fourier\", \"sample_size\": 8", DIFFC_ERR_UNSUPPORTED,
      "time_embedding_type" },
    { "\"timestep\"", "\"projection\"", DIFFC_ERR_UNSUPPORTED, "class_embed_type is \"projection\"" },
    /* J1: syntax */
    { "\"act_fn\": ", "act_fn: ", DIFFC_ERR_FORMAT, "line 1" },
    { "\"sample_size\": 8,", "\"sample_size\": 8,,", DIFFC_ERR_FORMAT, "line 1" },
    { "\"sample_size\": 8", "\"sample_size\": 8, \"sample_size\": 8", DIFFC_ERR_FORMAT, "line 1" },
};

static void test_configs(void **unused)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    (void)unused;
    options.without_weights = 1;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        const struct change *change = &changes[i];
        const char *at = strstr(tiny, change->from);
        char text[4096];
        diffc_model *model = NULL;
        assert_non_null(at);
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - tiny), tiny, change->to,
                 at + strlen(change->from));
        write_file("config.json", text);
        const int status = diffc_model_open(io_context, io_folder, &options, &model);
        if (status != change->status || (status < 0 && !strstr(diffc_message(), change->message)))
            fail_msg("%s: %s (%s)", change->to, diffc_status_name(status), status < 0 ? diffc_message() : "");
        if (status < 0 && !strstr(diffc_message(), "config.json"))
            fail_msg("%s: no file in \"%s\"", change->to, diffc_message());
        diffc_release(&model);
    }
}

static void test_many_blocks(void **unused)
{
    diffc_model *model = NULL;
    char *text = malloc(400000), *end = text;
    (void)unused;
    end += sprintf(end, "{\"down_block_types\": [");
    for (int i = 0; i < 10000; i++)
        end += sprintf(end, "%s\"ResnetDownsampleBlock2D\"", i ? "," : "");
    sprintf(end, "]}");
    write_file("config.json", text);
    free(text);
    refused(diffc_model_open(io_context, io_folder, NULL, &model), DIFFC_ERR_LIMIT, "down_block_types");
}

/* Row J6: nothing of the size of the weights is asked for. */
static void test_memory_limit(void **unused)
{
    diffc_limits limits = DIFFC_LIMITS;
    diffc_model *model = new_model();
    (void)unused;
    io_empty_folder();
    ok(diffc_model_save_folder(model, io_folder, DIFFC_F32, NULL, 0));
    diffc_release(&model);
    limits.memory = 1000000;
    diffc_context *own = io_context, *small = io_context_new(&limits);
    io_memory.peak = io_memory.bytes;
    const size_t before = io_memory.bytes;
    refused(diffc_model_open(small, io_folder, NULL, &model), DIFFC_ERR_LIMIT, "the memory limit is 1000000");
    assert_true(io_memory.peak - before < 2000000);
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_session_options session = DIFFC_SESSION_OPTIONS;
    int64_t bytes = 0;
    options.without_weights = 1;
    ok(diffc_model_open(small, io_folder, &options, &model));
    ok(diffc_session_bytes(model, &session, &bytes));
    assert_true(bytes > 100000);
    diffc_session *none = NULL;
    refused(diffc_session_create(model, &session, &none), DIFFC_ERR_STATE, "without its weights");
    diffc_release(&model);
    diffc_release(&small);
    limits.memory = 54241064 + 4000000; /* the weights, and less than a plan */
    io_context = own;
    small = io_context_new(&limits);
    ok(diffc_model_open(small, io_folder, NULL, &model));
    refused(diffc_session_create(model, &session, &none), DIFFC_ERR_LIMIT,
            "limits.memory without the weights is");
    assert_null(none);
    session.memory = strtoll(strstr(diffc_message(), "at least ") + 9, NULL, 10);
    assert_true(session.memory > 100000 && session.memory < 5744512); /* with smaller tiles than by default */
    ok(diffc_session_create(model, &session, &none));
    diffc_release(&none);
    diffc_release(&model);
    diffc_release(&small);
    io_context = own;
}

/* The denoiser of a session gives what single runs give, for each prompt and noise level; with little memory
 * one condition after another. */
static void check_session(int little)
{
    static const int64_t x_shape[4] = { 1, 3, 8, 8 }, whole_shape[4] = { 1, 6, 8, 8 };
    static const int64_t text_shape[3] = { 1, 4, 16 }, one[1] = { 1 };
    const float t = 321;
    const int32_t level = 250;
    diffc_model *model = new_model();
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    diffc_session *session = NULL;
    diffc_denoiser denoiser = DIFFC_DENOISER;
    options.text_tokens = 4;
    if (little) {
        options.conditions = 1;
        ok(diffc_session_bytes(model, &options, &options.memory));
        options.conditions = 2;
    }
    ok(diffc_session_create(model, &options, &session));
    ok(diffc_session_denoiser(session, &denoiser));
    assert_int_equal(denoiser.out_channels, 6);
    diffc_tensor *x = input("x", 4, x_shape), *image = input("image", 4, x_shape),
                 *whole = input("w", 4, whole_shape);
    diffc_tensor *texts[2] = { input("a", 3, text_shape), input("b", 3, text_shape) };
    diffc_tensor *out[2] = { input("o", 4, whole_shape), input("p", 4, whole_shape) };
    diffc_tensor *expected = input("q", 4, whole_shape), *times = input("t", 1, one),
                 *class = input("c", 1, one);
    const diffc_query queries[2] = { { .x = x, .out = out[0], .condition = 0 },
                                     { .x = x, .out = out[1], .condition = DIFFC_UNCONDITIONAL } };
    refused(denoiser.predict(denoiser.opaque, &t, queries, 2), DIFFC_ERR_ARG, "x is");
    ok(diffc_session_set_image(session, image));
    refused(denoiser.predict(denoiser.opaque, &t, queries, 2), DIFFC_ERR_STATE, "condition 0 has no text");
    ok(diffc_session_set_text(session, 0, texts[0]));
    refused(denoiser.predict(denoiser.opaque, &t, queries, 2), DIFFC_ERR_STATE, "noise level");
    ok(diffc_session_set_labels(session, &level, 1));
    refused(denoiser.predict(denoiser.opaque, &t, queries, 2), DIFFC_ERR_STATE, "condition -1 has no text");
    ok(diffc_session_set_text(session, DIFFC_UNCONDITIONAL, texts[1]));
    ok(denoiser.predict(denoiser.opaque, &t, queries, 2));
    memcpy(diffc_tensor_data(whole), diffc_tensor_data(x), 3 * 64 * sizeof(float));
    memcpy((float *)diffc_tensor_data(whole) + 3 * 64, diffc_tensor_data(image), 3 * 64 * sizeof(float));
    *(float *)diffc_tensor_data(times) = t;
    *(float *)diffc_tensor_data(class) = 250;
    for (int i = 0; i < 2; i++) {
        const diffc_binding inputs[4] = {
            { "x", whole }, { "t", times }, { "text", texts[i] }, { "class", class }
        };
        const diffc_binding output = { "out", expected };
        ok(diffc_session_run(session, inputs, 4, &output, 1));
        assert_memory_equal(diffc_tensor_data(out[i]), diffc_tensor_data(expected), 6 * 64 * sizeof(float));
        diffc_release(&texts[i]);
    }
    assert_memory_not_equal(diffc_tensor_data(out[0]), diffc_tensor_data(out[1]), 6 * 64 * sizeof(float));
    ok(diffc_session_refresh(session)); /* texts are of the weights that were */
    refused(denoiser.predict(denoiser.opaque, &t, queries, 2), DIFFC_ERR_STATE, "condition 0 has no text");
    diffc_tensor *all[] = { x, image, whole, out[0], out[1], expected, times, class };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        diffc_release(&all[i]);
    diffc_release(&session);
    diffc_release(&model);
}

static void test_session(void **unused)
{
    (void)unused;
    check_session(0);
    check_session(1);
}

static void test_session_settings(void **unused)
{
    static const int64_t wrong[3] = { 1, 77, 17 }, many[3] = { 2, 77, 16 };
    diffc_model *model = new_model();
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    diffc_session *session = NULL;
    (void)unused;
    options.image_height = 9;
    refused(diffc_session_create(model, &options, &session), DIFFC_ERR_ARG,
            "9 x 9, both sides must be multiples of 2");
    options.image_height = 0;
    ok(diffc_session_create(model, &options, &session));
    diffc_tensor *text = input("text", 3, wrong), *two = input("text", 3, many);
    refused(diffc_session_set_text(session, 0, text), DIFFC_ERR_ARG,
            "text is F32 [1, 77, 17], expected floats [N, 77, 16]");
    refused(diffc_session_set_text(session, 0, two), DIFFC_ERR_ARG, "batch");
    refused(diffc_session_set_text(session, -2, two), DIFFC_ERR_ARG, "condition is -2");
    diffc_release(&text);
    diffc_release(&two);
    diffc_release(&session);
    diffc_release(&model);
    refused(diffc_model_create(io_context, "if_unet", NULL, &model), DIFFC_ERR_ARG, "config");
    refused(diffc_model_open(io_context, "/", NULL, &model), DIFFC_ERR_IO, "not a model");
}

static int open_once(void *work)
{
    diffc_model *model = NULL;
    diffc_session *session = NULL;
    (void)work;
    int status = diffc_model_open(io_context, io_folder, NULL, &model);
    if (status == DIFFC_OK)
        status = diffc_session_create(model, NULL, &session);
    diffc_release(&session);
    diffc_release(&model);
    return status;
}

static void test_allocations(void **unused)
{
    diffc_model *model = new_model();
    (void)unused;
    io_empty_folder();
    ok(diffc_model_save_folder(model, io_folder, DIFFC_F16, NULL, 0));
    diffc_release(&model);
    const long live = io_memory.live;
    for (long n = 1;; n += n < 60 ? 1 : 41) {
        io_memory.calls = 0;
        io_memory.fail_from = n;
        io_memory.fail_count = 1;
        const int status = open_once(NULL);
        io_memory.fail_from = 0;
        assert_int_equal(io_memory.live, live);
        if (io_memory.calls < n)
            break;
        if (status != DIFFC_ERR_NOMEM)
            fail_msg("allocation %ld: %s", n, diffc_status_name(status));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_types),
        cmocka_unit_test(test_doubles_are_converted),
        cmocka_unit_test(test_training_with_text),
        cmocka_unit_test(test_in_place_is_exact),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_session),
        cmocka_unit_test(test_session_settings),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_little_memory),
        cmocka_unit_test(test_keys_of_training),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
