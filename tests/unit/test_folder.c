/* Weights in the folder layout of diffusers and transformers: which files are read, what an index may say,
 * and what is written. */

#include "io_case.h"

#include "io/folder.h"
#include "io/safetensors.h"

/* A file with tensors [2] of one value; `names` separated by spaces. */
static void write_weights(const char *file, const char *names, float value)
{
    diffc_archive *archive = NULL;
    char copy[128], *rest = copy;
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    snprintf(copy, sizeof(copy), "%s", names);
    for (const char *name; (name = strtok_r(rest, " ", &rest));) {
        const int64_t shape[1] = { 2 };
        diffc_tensor *tensor = NULL;
        assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, 1, shape, &tensor), DIFFC_OK);
        ((float *)diffc_tensor_data(tensor))[0] = ((float *)diffc_tensor_data(tensor))[1] = value;
        assert_int_equal(diffc_archive_add(archive, name, tensor), DIFFC_OK);
        diffc_release(&tensor);
    }
    assert_int_equal(diffc_archive_save(archive, io_path(file)), DIFFC_OK);
    diffc_release(&archive);
}

static void write_text(const char *file, const char *text)
{
    FILE *stream = fopen(io_path(file), "w");
    assert_non_null(stream);
    fputs(text, stream);
    fclose(stream);
}

static float value_of(const diffc_archive *archive, const char *name)
{
    diffc_tensor *tensor = NULL;
    if (diffc_archive_get(archive, name, &tensor) < 0)
        return -1;
    const float value = *(const float *)diffc_tensor_data(tensor);
    diffc_release(&tensor);
    return value;
}

/* Reads the folder and expects that many tensors, "a" of that value. */
static void expect(const char *variant, int count, float a)
{
    diffc_archive *archive = NULL;
    for (int map = 0; map < 2; map++) {
        if (dfi_folder_weights(io_context, io_folder, variant, map, &archive) < 0)
            fail_msg("%s", diffc_message());
        assert_int_equal(diffc_archive_count(archive), count);
        assert_true(value_of(archive, "a") == a);
        diffc_release(&archive);
    }
}

static void expect_failure(const char *variant, int status, const char *message)
{
    diffc_archive *archive = NULL;
    const int found = dfi_folder_weights(io_context, io_folder, variant, 0, &archive);
    if (found != status || !strstr(diffc_message(), message))
        fail_msg("%s (%s) instead of %s (%s)", diffc_status_name(found), diffc_message(),
                 diffc_status_name(status), message);
    assert_null(archive);
}

static void test_variants(void **unused)
{
    (void)unused;
    io_empty_folder();
    write_weights("diffusion_pytorch_model.safetensors", "a b", 1);
    write_weights("diffusion_pytorch_model.fp16.safetensors", "a", 2);
    write_weights("adapter.safetensors", "a b c", 3);
    expect(NULL, 2, 1);
    expect("fp16", 1, 2);
    expect("bf16", 2, 1); /* not there: the plain file */
    io_empty_folder();
    write_weights("model.fp16-00001-of-00002.safetensors", "a", 4);
    write_weights("model.fp16-00002-of-00002.safetensors", "b c", 5);
    expect(NULL, 3, 4); /* nothing plain: what there is */
    write_weights("odd.safetensors", "a", 6);
    expect(NULL, 1, 6);
    expect("fp16", 3, 4);
}

static void test_shards(void **unused)
{
    (void)unused;
    io_empty_folder();
    write_weights("model-00001-of-00003.safetensors", "a", 1);
    write_weights("model-00003-of-00003.safetensors", "b", 2);
    expect_failure(NULL, DIFFC_ERR_IO, "shard 2 of 3 is missing");
    write_weights("model-00002-of-00003.safetensors", "c a", 3);
    expect(NULL, 3, 1);
    write_text("model.safetensors.index.json",
               "{\"metadata\": {\"total_size\": 9}, \"weight_map\": {"
               "\"a\": \"model-00002-of-00003.safetensors\", \"c\": \"model-00002-of-00003.safetensors\"}}");
    expect(NULL, 2, 3);
    write_text("model.safetensors.index.json",
               "{\"weight_map\": {\"b\": \"model-00003-of-00003.safetensors\", \"c\": "
               "\"model-00002-of-00003.safetensors\", \"a\": \"model-00002-of-00003.safetensors\"}}");
    write_weights("model-00003-of-00003.safetensors", "b a", 2); /* the a that the index does not mean */
    expect(NULL, 3, 3);
    write_text("model.safetensors.index.json",
               "{\"metadata\": {\"total_size\": 9}, \"weight_map\": {"
               "\"a\": \"model-00002-of-00003.safetensors\", \"c\": \"model-00002-of-00003.safetensors\"}}");
    write_weights("model.safetensors.index.fp16.json.safetensors", "z", 1); /* no index, for all its name */
    expect(NULL, 2, 3);
    write_weights("model-00004-of-00004.safetensors", "d", 4);
    unlink(io_path("model.safetensors.index.json"));
    expect_failure(NULL, DIFFC_ERR_FORMAT, "its number does not fit");
}

/* Row S13 of the table of hostile inputs. */
static void test_hostile_index(void **unused)
{
    static const struct {
        const char *map, *message;
        int status;
    } cases[] = {
        { "{\"a\": \"/etc/passwd\"}", "must be a safetensors file beside it", DIFFC_ERR_FORMAT },
        { "{\"a\": \"/tmp/model.safetensors\"}", "must be a safetensors file beside it", DIFFC_ERR_FORMAT },
        { "{\"a\": \"../model.safetensors\"}", "must be a safetensors file beside it", DIFFC_ERR_FORMAT },
        { "{\"a\": \"..\"}", "must be a safetensors file beside it", DIFFC_ERR_FORMAT },
        { "{\"a\": \"model.safetensors\\u0000x\"}", "line 1", DIFFC_ERR_FORMAT },
        { "{\"a\": \"\"}", "something else than file names", DIFFC_ERR_FORMAT },
        { "{\"a\": 3}", "something else than file names", DIFFC_ERR_FORMAT },
        { "{\"a\": \"part.safetensors\", \"a\": \"part.safetensors\"}", "line 1", DIFFC_ERR_FORMAT },
        { "{\"a\": \"gone.safetensors\"}", "gone.safetensors", DIFFC_ERR_IO },
        { "{\"a\": \"part.safetensors\", \"b\": \"part.safetensors\"}", "\"b\"", DIFFC_ERR_FORMAT },
        { "{}", "weight_map", DIFFC_ERR_FORMAT },
        { "[]", "weight_map", DIFFC_ERR_FORMAT },
    };
    (void)unused;
    io_empty_folder();
    write_weights("part.safetensors", "a", 1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"weight_map\": %s}", cases[i].map);
        write_text("model.safetensors.index.json", text);
        expect_failure(NULL, cases[i].status, cases[i].message);
    }
    write_text("model.safetensors.index.json", "[]");
    expect_failure(NULL, DIFFC_ERR_FORMAT, "not a JSON object");
}

static void test_nothing_to_read(void **unused)
{
    (void)unused;
    io_empty_folder();
    expect_failure(NULL, DIFFC_ERR_IO, "no weights");
    write_text("diffusion_pytorch_model.bin", "PK");
    expect_failure(NULL, DIFFC_ERR_UNSUPPORTED, "bindings/convert_checkpoint.py");
    write_text("diffusion_pytorch_model.safetensors", "PK\3\4 a zip file under a wrong name");
    expect_failure(NULL, DIFFC_ERR_UNSUPPORTED, "bindings/convert_checkpoint.py");
    io_empty_folder();
    diffc_archive *archive = NULL;
    assert_int_equal(dfi_folder_weights(io_context, io_path("none"), NULL, 0, &archive), DIFFC_ERR_IO);
}

static void test_save(void **unused)
{
    static const uint64_t shards[] = { 0, 8, 16, 1 };
    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        diffc_archive *archive = NULL;
        io_empty_folder();
        write_weights("model.safetensors", "a b c", 7);
        assert_int_equal(dfi_folder_weights(io_context, io_folder, NULL, 0, &archive), DIFFC_OK);
        io_empty_folder();
        assert_int_equal(
            dfi_folder_save(archive, io_folder, "diffusion_pytorch_model", i % 2 ? "fp16" : NULL, shards[i]),
            DIFFC_OK);
        diffc_release(&archive);
        assert_int_equal(dfi_folder_has(io_folder, i % 2
                                                       ? "diffusion_pytorch_model.safetensors.index.fp16.json"
                                                       : "diffusion_pytorch_model.safetensors.index.json"),
                         i != 0);
        expect(i % 2 ? "fp16" : NULL, 3, 7);
        uint64_t bytes = 0;
        assert_int_equal(dfi_folder_weight_bytes(io_context, io_folder, NULL, &bytes), DIFFC_OK);
        assert_true(bytes > 24);
    }
}

/* Saved in shards, then whole: the index of the first save once led to the old weights. */
static void test_save_again(void **unused)
{
    (void)unused;
    io_empty_folder();
    for (int i = 0; i < 3; i++) {
        diffc_archive *archive = NULL;
        write_weights("given.safetensors", "a b c", (float)i);
        assert_int_equal(dfi_safetensors_open(io_context, io_path("given.safetensors"), 0, &archive),
                         DIFFC_OK);
        assert_int_equal(dfi_folder_save(archive, io_folder, "diffusion_pytorch_model", NULL, i == 1 ? 0 : 8),
                         DIFFC_OK);
        diffc_release(&archive);
        expect(NULL, 3, (float)i);
    }
}

static void scenario(void)
{
    diffc_archive *archive = NULL;
    if (dfi_folder_weights(io_context, io_folder, NULL, 0, &archive) == DIFFC_OK)
        (void)dfi_folder_save(archive, io_folder, "z", NULL, 8);
    diffc_release(&archive);
}

/* Every allocation fails in turn: no leak, and the folder still reads. */
static void test_allocations(void **unused)
{
    (void)unused;
    io_empty_folder();
    write_weights("m-00001-of-00002.safetensors", "a", 1);
    write_weights("m-00002-of-00002.safetensors", "b", 1);
    write_text("m.safetensors.index.json", "{\"weight_map\": {\"a\": \"m-00001-of-00002.safetensors\", "
                                           "\"b\": \"m-00002-of-00002.safetensors\"}}");
    const long before = io_memory.live;
    for (long n = 1; n < 400; n++) {
        io_memory.calls = 0;
        io_memory.fail_from = n;
        io_memory.fail_count = 1;
        scenario();
        io_memory.fail_from = 0;
        assert_int_equal(io_memory.live, before);
        if (io_memory.calls < n)
            break;
    }
    expect(NULL, 2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),      cmocka_unit_test(test_shards),
        cmocka_unit_test(test_hostile_index), cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_save_again),    cmocka_unit_test(test_save),
        cmocka_unit_test(test_allocations),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
