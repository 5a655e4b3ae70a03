/* The calls of diffc/model.h: what they refuse, and that a file that does not fit is named (row S11 of the
 * hostile inputs). */

#include "train_case.h"

static diffc_context *context;

static diffc_archive *weights(void)
{
    diffc_archive *archive = NULL;
    diffc_model *model = tc_model(context, "ddpm");
    tc_ok(diffc_model_save(model, "test_model.tmp", DIFFC_F32));
    tc_ok(diffc_archive_open(context, "test_model.tmp", NULL, &archive));
    unlink("test_model.tmp");
    diffc_release(&model);
    return archive;
}

/* All tensors and metadata of `from` but the tensor at `but`, for which `other` (may be NULL) stands. */
static diffc_archive *without(const diffc_archive *from, int but, const diffc_tensor *other)
{
    diffc_archive *copy = NULL;
    const char *key;
    tc_ok(diffc_archive_create(context, &copy));
    for (int i = 0; (key = diffc_archive_metadata_key(from, i)); i++)
        tc_ok(diffc_archive_set_metadata(copy, key, diffc_archive_metadata(from, key)));
    for (int i = 0; i < diffc_archive_count(from); i++) {
        diffc_tensor *tensor = NULL;
        tc_ok(diffc_archive_get(from, diffc_archive_name(from, i), &tensor));
        if (i != but || other)
            tc_ok(diffc_archive_add(copy, diffc_archive_name(from, i), i == but ? other : tensor));
        diffc_release(&tensor);
    }
    return copy;
}

static void test_s11_tensors(void **state)
{
    static const int64_t shape[] = { 3, 7 };
    diffc_archive *whole = weights();
    diffc_tensor *other = NULL;
    diffc_model *model = NULL;
    (void)state;
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 2, shape, &other));
    diffc_archive *cut = without(whole, 0, NULL), *odd = without(whole, 0, other);
    tc_fails(diffc_model_from_archive(cut, NULL, &model), DIFFC_ERR_CONFIG, diffc_archive_name(whole, 0));
    tc_fails(diffc_model_from_archive(odd, NULL, &model), DIFFC_ERR_CONFIG, diffc_archive_name(whole, 0));
    assert_null(model);
    tc_ok(diffc_archive_add(whole, "of no use", other));
    tc_ok(diffc_model_from_archive(whole, NULL, &model));
    diffc_release(&model);
    diffc_release(&other);
    diffc_release(&cut);
    diffc_release(&odd);
    diffc_release(&whole);
}

/* Views of any strides may be added; they were once read as if their values lay in a row. */
static void test_strided_tensors(void **state)
{
    diffc_archive *whole = weights(), *odd = NULL;
    diffc_tensor *plain = NULL, *turned = NULL, *view = NULL, *stored = NULL;
    diffc_model *model = NULL;
    (void)state;
    int at = 0; /* a matrix with sides that differ */
    for (;; at++) {
        diffc_release(&plain);
        tc_ok(diffc_archive_get(whole, diffc_archive_name(whole, at), &plain));
        if (diffc_tensor_ndim(plain) == 2 && diffc_tensor_dim(plain, 0) != diffc_tensor_dim(plain, 1) &&
            diffc_tensor_dim(plain, 0) > 1 && diffc_tensor_dim(plain, 1) > 1)
            break;
    }
    const int64_t rows = diffc_tensor_dim(plain, 0), columns = diffc_tensor_dim(plain, 1);
    const int64_t shape[2] = { columns, rows };
    const int swap[2] = { 1, 0 };
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 2, shape, &turned));
    tc_ok(diffc_tensor_permute(turned, swap, &view));
    tc_ok(diffc_tensor_copy(plain, view)); /* the same matrix, by columns */
    odd = without(whole, at, view);
    tc_ok(diffc_model_from_archive(odd, NULL, &model));
    for (int i = 0; i < diffc_model_tensor_count(model); i++) {
        const char *name;
        diffc_release(&stored);
        tc_ok(diffc_model_tensor(model, i, &name, &stored, NULL));
        if (strcmp(name, diffc_archive_name(whole, at)) == 0)
            break;
    }
    assert_memory_equal(diffc_tensor_data(stored), diffc_tensor_data(plain),
                        (size_t)(rows * columns) * sizeof(float));
    diffc_release(&stored);
    diffc_release(&model);
    diffc_release(&odd);
    diffc_release(&view);
    diffc_release(&turned);
    diffc_release(&plain);
    diffc_release(&whole);
}

/* A file that asks for a model of gigabytes without its tensors is refused before they are taken. */
static void test_large_settings_alone(void **state)
{
    diffc_archive *archive = NULL;
    diffc_model *model = NULL;
    (void)state;
    tc_ok(diffc_archive_create(context, &archive));
    tc_ok(diffc_archive_set_metadata(archive, "architecture", "cs180_unet"));
    tc_ok(diffc_archive_set_metadata(archive, "width", "3000"));
    tc_fails(diffc_model_from_archive(archive, NULL, &model), DIFFC_ERR_CONFIG, "tensors are missing");
    diffc_release(&archive);
}

static void test_model_arguments(void **state)
{
    diffc_model *model = tc_model(context, "ddpm"), *none = NULL;
    diffc_tensor *tensor = NULL;
    (void)state;
    tc_fails(diffc_model_create(context, "unet", NULL, &none), DIFFC_ERR_ARG, "lenet");
    tc_fails(diffc_model_create(NULL, "lenet", NULL, &none), DIFFC_ERR_ARG, "context is NULL");
    tc_fails(diffc_model_tensor(model, -1, NULL, &tensor, NULL), DIFFC_ERR_ARG,
             "position is -1, must be 0 to");
    tc_fails(diffc_model_save(model, "x", 99), DIFFC_ERR_ARG, "dtype is 99");
    tc_fails(diffc_model_set_metadata(model, "", "x"), DIFFC_ERR_ARG, "key is empty");
    tc_fails(diffc_model_set_metadata(model, "note", "\xff"), DIFFC_ERR_ARG, "\"note\" is not UTF-8");
    tc_fails(diffc_model_set_metadata(model, "\xff", "x"), DIFFC_ERR_ARG, "is not UTF-8");
    /* They once replaced the library's own in the file, which then could not be opened. */
    static const char *const own[] = { "architecture", "width", "config", "checkpoint.step" };
    for (int i = 0; i < 4; i++)
        tc_fails(diffc_model_set_metadata(model, own[i], "my net"), DIFFC_ERR_ARG, "is the library's own");
    tc_ok(diffc_model_set_metadata(model, "note", "a"));
    tc_ok(diffc_model_set_metadata(model, "other", "c"));
    tc_ok(diffc_model_set_metadata(model, "note", "b"));
    assert_string_equal(diffc_model_metadata(model, "note"), "b");
    tc_ok(diffc_model_set_metadata(model, "note", NULL));
    assert_null(diffc_model_metadata(model, "note"));
    assert_string_equal(diffc_model_metadata(model, "other"), "c");
    assert_null(none);
    assert_null(tensor);
    diffc_release(&model);
}

static void test_session_arguments(void **state)
{
    static const int32_t labels[] = { 1, 2, 10 };
    diffc_model *model = tc_model(context, "ddpm");
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    diffc_session *session = NULL;
    diffc_denoiser denoiser = DIFFC_DENOISER;
    diffc_tensor *t = NULL;
    const int64_t one = 1;
    int64_t bytes = -7;
    (void)state;
    options.batch = -1;
    tc_fails(diffc_session_bytes(model, &options, &bytes), DIFFC_ERR_ARG, "batch is -1");
    options.batch = INT32_MAX;
    tc_fails(diffc_session_bytes(model, &options, &bytes), DIFFC_ERR_LIMIT, "batch is 2147483647");
    assert_int_equal(bytes, -7);
    options.batch = 2;
    tc_ok(diffc_session_create(model, &options, &session));
    tc_fails(diffc_session_run(session, NULL, 1, NULL, 0), DIFFC_ERR_ARG, "inputs is NULL");
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 1, &one, &t));
    tc_fails(diffc_session_run(session, (diffc_binding[2]) { { "t", t }, { "t", t } }, 2, NULL, 0),
             DIFFC_ERR_ARG, "input 1: \"t\" is given twice");
    diffc_release(&t);
    tc_fails(diffc_session_set_labels(session, labels, 3), DIFFC_ERR_ARG, "count is 3");
    tc_fails(diffc_session_set_labels(session, labels + 1, 2), DIFFC_ERR_ARG,
             "label 1 is 10, must be 0 to 9");
    tc_ok(diffc_session_set_labels(session, labels, 2));
    tc_ok(diffc_session_refresh(session));
    tc_ok(diffc_session_denoiser(session, &denoiser));
    denoiser.struct_size = 0;
    tc_fails(diffc_session_denoiser(session, &denoiser), DIFFC_ERR_ARG, "denoiser.struct_size is 0");
    denoiser.struct_size = offsetof(diffc_denoiser, out_channels); /* of a program that knows no more */
    denoiser.out_channels = 77;
    tc_ok(diffc_session_denoiser(session, &denoiser));
    assert_int_equal(denoiser.out_channels, 77);
    tc_fails(denoiser.predict(NULL, NULL, NULL, 0), DIFFC_ERR_ARG, "denoiser.opaque is NULL");
    diffc_release(&session);
    diffc_release(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s11_tensors),          cmocka_unit_test(test_strided_tensors),
        cmocka_unit_test(test_large_settings_alone), cmocka_unit_test(test_model_arguments),
        cmocka_unit_test(test_session_arguments),
    };
    context = tc_context(2);
    const int failed = cmocka_run_group_tests_name("model", tests, NULL, NULL);
    diffc_release(&context);
    return failed;
}
