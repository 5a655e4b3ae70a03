#include "io_case.h"

#include <time.h>

#include "io/archive.h"
#include "io/safetensors.h"

static void open_text(const char *header, size_t data, diffc_archive **archive)
{
    struct bytes file = make_safetensors(header, data);
    const int status = diffc_archive_open_memory(io_context, file.data, file.size, archive);
    if (status)
        fail_msg("%s", diffc_message());
    bytes_free(&file);
}

static void test_contents(void **state)
{
    (void)state;
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = NULL;
    open_text("{\"__metadata__\":{\"format\":\"pt\",\"b\\u00e4r\":\"\\\"\\n\"},"
              "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
              "\"scalar\":{\"data_offsets\":[0,8],\"dtype\":\"I64\",\"shape\":[]},"
              "\"none\":{\"dtype\":\"F16\",\"shape\":[0,5],\"data_offsets\":[8,8]}}     ",
              32, &archive);
    assert_int_equal(diffc_archive_count(archive), 3);
    assert_string_equal(diffc_archive_name(archive, 0), "w");
    assert_string_equal(diffc_archive_name(archive, 1), "scalar");
    assert_null(diffc_archive_name(archive, 3));
    assert_null(diffc_archive_name(archive, -1));
    assert_string_equal(diffc_archive_metadata(archive, "format"), "pt");
    assert_string_equal(diffc_archive_metadata(archive, "b\xc3\xa4r"), "\"\n");
    assert_string_equal(diffc_archive_metadata_key(archive, 0), "format");
    assert_null(diffc_archive_metadata_key(archive, 2));
    assert_null(diffc_archive_metadata(archive, "missing"));
    assert_int_equal(diffc_archive_get(archive, "w", &tensor), DIFFC_OK);
    diffc_release(&archive); /* the tensor keeps the bytes */
    assert_int_equal(diffc_tensor_dim(tensor, 1), 3);
    assert_int_equal(((unsigned char *)diffc_tensor_data(tensor))[0], 8);
    assert_int_equal(((unsigned char *)diffc_tensor_data(tensor))[23], 31);
    diffc_release(&tensor);
}

/* The format lets a tensor begin at any byte; memory must be aligned all the same. */
static void test_unaligned(void **state)
{
    (void)state;
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                                 "\"b\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[3,19]},"
                                 "\"c\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[19,21]}}";
    struct bytes file = make_safetensors(header, 21);
    bytes_save(&file, io_path("u.safetensors"));
    for (int map = 0; map < 2; map++) {
        diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
        diffc_archive *archive = NULL;
        options.map = map;
        assert_int_equal(diffc_archive_open(io_context, io_path("u.safetensors"), &options, &archive),
                         DIFFC_OK);
        static const unsigned char first[3] = { 0, 3, 19 };
        for (int i = 0; i < 3; i++) {
            diffc_tensor *tensor = NULL;
            assert_int_equal(diffc_archive_get(archive, diffc_archive_name(archive, i), &tensor), DIFFC_OK);
            assert_int_equal(
                (uintptr_t)diffc_tensor_data(tensor) % dfi_dtype_size(diffc_tensor_dtype(tensor)), 0);
            assert_int_equal(*(unsigned char *)diffc_tensor_data(tensor), first[i]);
            diffc_release(&tensor);
        }
        diffc_release(&archive);
    }
    bytes_free(&file);
}

static void test_map(void **state)
{
    (void)state;
    struct bytes file = make_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}} ",
                                         16);
    diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = NULL;
    options.map = 1;
    assert_int_equal(file.size % 8, 0);
    bytes_save(&file, io_path("m.safetensors"));
    assert_int_equal(diffc_archive_open(io_context, io_path("m.safetensors"), &options, &archive), DIFFC_OK);
    assert_true(archive->block->mapped > 0);
    assert_int_equal(diffc_archive_get(archive, "a", &tensor), DIFFC_OK);
    diffc_release(&archive);
    assert_memory_equal(diffc_tensor_data(tensor), file.data + file.size - 16, 16);
    assert_int_equal(diffc_tensor_fill(tensor, 3), DIFFC_OK); /* private: the file stays as it is */
    diffc_release(&tensor);
    struct bytes again = bytes_load(io_path("m.safetensors"));
    assert_memory_equal(again.data, file.data, file.size);
    bytes_free(&again);
    options.map = 2;
    assert_int_equal(diffc_archive_open(io_context, io_path("m.safetensors"), &options, &archive),
                     DIFFC_ERR_ARG);
    bytes_free(&file);
}

static void append_tensors(struct bytes *header, int count)
{
    char entry[160];
    bytes_text(header, "{");
    for (int i = 0; i < count; i++) {
        snprintf(entry, sizeof(entry),
                 "%s\"unet.down_blocks.%d.resnets.%d.conv%d.weight\":{\"dtype\":\"F32\","
                 "\"shape\":[1,2,1],\"data_offsets\":[%d,%d]}",
                 i ? "," : "", i % 7, i, i % 3, 8 * i, 8 * i + 8);
        bytes_text(header, entry);
    }
    bytes_put(header, "}", 2);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void test_many_tensors(void **state)
{
    (void)state;
    struct bytes header = { 0 };
    diffc_archive *archive = NULL;
    append_tensors(&header, 5000);
    struct bytes file = make_safetensors((const char *)header.data, 40000);
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        const double start = seconds();
        diffc_release(&archive);
        assert_int_equal(diffc_archive_open_memory(io_context, file.data, file.size, &archive), DIFFC_OK);
        const double took = seconds() - start;
        best = took < best ? took : best;
    }
    print_message("safetensors: header of 5000 tensors, %zu bytes, in %.1f ms\n", header.size, best * 1e3);
    assert_int_equal(diffc_archive_count(archive), 5000);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(dfi_archive_find(archive, diffc_archive_name(archive, i)), i);
    assert_int_equal(dfi_archive_find(archive, "unet"), -1);
    diffc_release(&archive);
    bytes_free(&file);
    bytes_free(&header);
}

static void test_limits(void **state)
{
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"a\":\"1\",\"b\":\"2\"},"
                                 "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
                                 "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}";
    struct bytes file = make_safetensors(header, 0);
    diffc_archive *archive = NULL;
    for (int i = 0; i < 4; i++) {
        diffc_limits limits = DIFFC_LIMITS;
        limits.archive_header = (int64_t)strlen(header) - (i == 1);
        limits.archive_tensors = 2 - (i == 2);
        diffc_context *context = io_context_new(&limits);
        assert_int_equal(diffc_archive_open_memory(context, file.data, file.size, &archive),
                         i == 1 || i == 2 ? DIFFC_ERR_LIMIT : DIFFC_OK);
        diffc_release(&archive);
        diffc_release(&context);
    }
    bytes_free(&file);
}

static int parse(void *work)
{
    const struct bytes *const file = work;
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = NULL;
    int status = diffc_archive_open_memory(io_context, file->data, file->size, &archive);
    if (!status)
        status = diffc_archive_get(archive, "a", &tensor);
    diffc_release(&tensor);
    diffc_release(&archive);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    struct bytes even = make_safetensors(
        "{\"__metadata__\":{\"k\":\"v\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
        "\"data_offsets\":[0,4]}}",
        4);
    struct bytes odd = make_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]},"
                                        "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                                        5);
    const long points = io_fail_allocations(parse, &even) + io_fail_allocations(parse, &odd);
    print_message("safetensors: %ld failing allocations\n", points);
    bytes_free(&even);
    bytes_free(&odd);
}

static void test_arguments(void **state)
{
    (void)state;
    diffc_archive *archive = NULL;
    assert_int_equal(diffc_archive_open(NULL, "x", NULL, &archive), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_open(io_context, NULL, NULL, &archive), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_open(io_context, "x", NULL, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_open_memory(io_context, NULL, 8, &archive), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_open_memory(NULL, "", 0, &archive), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_count(NULL), 0);
    assert_null(diffc_archive_name(NULL, 0));
    assert_null(diffc_archive_metadata(NULL, "x"));
    assert_null(diffc_archive_metadata_key(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),     cmocka_unit_test(test_unaligned), cmocka_unit_test(test_map),
        cmocka_unit_test(test_many_tensors), cmocka_unit_test(test_limits),    cmocka_unit_test(test_memory),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
