/* With a limit on its memory a trainer or session does with less, and says how little it can do with. */

#include "train_case.h"

#define WIDTH 32
#define BATCH 12

static diffc_model *new_model(diffc_context *context)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_model *model = NULL;
    options.image_height = TC_SIDE;
    options.width = WIDTH;
    options.condition = "class";
    options.train_steps = 50;
    options.objective = "ddpm";
    options.seed = 3;
    tc_ok(diffc_model_create(context, "cs180_unet", &options, &model));
    return model;
}

static int64_t trainer_bytes(int threads, const char *precision, int64_t memory, int status)
{
    diffc_context *context = tc_context(threads);
    diffc_dataset *data = tc_data(context, 2 * BATCH);
    diffc_model *model = new_model(context);
    diffc_trainer_options options = {
        .struct_size = sizeof(options), .batch = BATCH, .precision = precision, .memory = memory
    };
    int64_t bytes = 0;
    tc_fails(diffc_trainer_bytes(model, data, &options, &bytes), status, NULL);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
    return bytes;
}

/* Weights after two updates, to be freed. */
static float *train(int threads, const char *precision, int64_t memory, enum dfi_tiling *tiles, size_t *bytes)
{
    diffc_context *context = tc_context(threads);
    diffc_dataset *data = tc_data(context, 2 * BATCH);
    diffc_model *model = new_model(context);
    diffc_trainer_options options = {
        .struct_size = sizeof(options), .batch = BATCH, .precision = precision, .memory = memory
    };
    diffc_trainer *trainer = tc_trainer(model, data, &options);
    tc_ok(diffc_trainer_step(trainer, NULL));
    tc_ok(diffc_trainer_step(trainer, NULL));
    *tiles = trainer->config.tiles;
    diffc_release(&trainer);
    float *weights = tc_weights(model, bytes);
    diffc_release(&model);
    diffc_release(&data);
    diffc_release(&context);
    return weights;
}

/* The smallest memory that the last message names. */
static int64_t named(void)
{
    const char *text = strstr(diffc_message(), "at least ");
    assert_non_null(text);
    return strtoll(text + strlen("at least "), NULL, 10);
}

static void test_trainer_names_the_smallest(void **state)
{
    static const char *const precisions[] = { "fp32", "bf16" };
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int64_t most = trainer_bytes(2, precisions[i], 0, DIFFC_OK);
        trainer_bytes(2, precisions[i], 1, DIFFC_ERR_LIMIT);
        const int64_t least = named();
        assert_true(least < most);
        assert_int_equal(trainer_bytes(2, precisions[i], least, DIFFC_OK), least);
        trainer_bytes(2, precisions[i], least - 1, DIFFC_ERR_LIMIT);
        assert_int_equal(named(), least);
        print_message("%s: %lld bytes, at least %lld\n", precisions[i], (long long)most, (long long)least);
    }
    trainer_bytes(1, "fp32", -1, DIFFC_ERR_ARG);
}

/* Packing weights in every run changes no bit; tiles do, but in the same way for any number of threads. */
static void test_bits_of_a_limited_trainer(void **state)
{
    enum dfi_tiling tiles = DFI_TILING_ALL;
    size_t bytes;
    (void)state;
    const int64_t most = trainer_bytes(DFI_LANES, "fp32", 0, DIFFC_OK);
    trainer_bytes(DFI_LANES, "fp32", 1, DIFFC_ERR_LIMIT);
    const int64_t least = named();
    float *whole = train(1, "fp32", 0, &tiles, &bytes), *packed = train(2, "fp32", most - 1, &tiles, &bytes);
    assert_int_equal(tiles, DFI_TILING_ALL);
    assert_memory_equal(whole, packed, bytes);
    float *small = train(1, "fp32", least, &tiles, &bytes);
    assert_true(tiles != DFI_TILING_ALL);
    assert_memory_not_equal(whole, small, bytes);
    for (int threads = 2; threads <= 5; threads += 3) {
        float *again = train(threads, "fp32", least, &tiles, &bytes);
        assert_memory_equal(small, again, bytes);
        free(again);
    }
    free(whole);
    free(packed);
    free(small);
}

static int64_t session_bytes(diffc_model *model, int batch, int64_t memory, int status)
{
    const diffc_session_options options = { .struct_size = sizeof(options),
                                            .batch = batch,
                                            .memory = memory };
    int64_t bytes = 0;
    tc_fails(diffc_session_bytes(model, &options, &bytes), status, NULL);
    return bytes;
}

/* The first prediction of a batch, to be freed. */
static float *predict(diffc_context *context, diffc_model *model, int batch, int64_t memory)
{
    const int64_t shape[4] = { batch, 1, TC_SIDE, TC_SIDE };
    const diffc_session_options options = { .struct_size = sizeof(options),
                                            .batch = batch,
                                            .memory = memory };
    float *values = malloc(TC_SIDE * TC_SIDE * sizeof(*values));
    diffc_session *session = NULL;
    diffc_tensor *x = NULL, *out = NULL;
    assert_non_null(values);
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &x));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 4, shape, &out));
    for (int i = 0; i < TC_SIDE * TC_SIDE; i++)
        ((float *)diffc_tensor_data(x))[i] = (float)(i % 11) / 10;
    tc_ok(diffc_session_create(model, &options, &session));
    const diffc_binding in = { "x", x }, result = { "out", out };
    tc_ok(diffc_session_run(session, &in, 1, &result, 1));
    memcpy(values, diffc_tensor_data(out), TC_SIDE * TC_SIDE * sizeof(*values));
    diffc_release(&session);
    diffc_release(&x);
    diffc_release(&out);
    return values;
}

/* A session with less memory gives the same bits, for any batch. */
static void test_limited_sessions(void **state)
{
    static const int batches[] = { 1, 5 };
    diffc_context *context = tc_context(2);
    diffc_model *model = new_model(context);
    float *whole = predict(context, model, 1, 0);
    (void)state;
    for (int i = 0; i < 2; i++) {
        const int64_t most = session_bytes(model, batches[i], 0, DIFFC_OK);
        session_bytes(model, batches[i], 1, DIFFC_ERR_LIMIT);
        const int64_t least = named();
        print_message("batch %d: %lld bytes, at least %lld\n", batches[i], (long long)most, (long long)least);
        assert_true(least < most);
        assert_true(session_bytes(model, batches[i], least, DIFFC_OK) <= least);
        float *limited = predict(context, model, batches[i], most - 1);
        assert_memory_equal(whole, limited, TC_SIDE * TC_SIDE * sizeof(*whole));
        free(limited);
    }
    free(whole);
    diffc_release(&model);
    diffc_release(&context);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_names_the_smallest),
        cmocka_unit_test(test_bits_of_a_limited_trainer),
        cmocka_unit_test(test_limited_sessions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
