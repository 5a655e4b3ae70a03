#include "io_case.h"

#include "io/idx.h"

static void expect_values(diffc_tensor *tensor, int ndim, const uint32_t *dims)
{
    const unsigned char *const data = diffc_tensor_data(tensor);
    assert_int_equal(diffc_tensor_dtype(tensor), DIFFC_U8);
    assert_int_equal(diffc_tensor_ndim(tensor), ndim);
    for (int i = 0; i < ndim; i++)
        assert_int_equal(diffc_tensor_dim(tensor, i), dims[i]);
    for (int64_t i = 0; i < diffc_tensor_count(tensor); i++)
        assert_int_equal(data[i], i * 7 & 0xFF);
}

static void test_plain_and_packed(void **state)
{
    (void)state;
    const uint32_t dims[4] = { 5, 3, 4, 2 };
    size_t count = 1;
    for (int ndim = 1; ndim <= 4; ndim++) {
        count *= dims[ndim - 1];
        struct bytes plain = make_idx(8, ndim, dims, count), packed = deflate_bytes(&plain, 31);
        const struct bytes *const both[2] = { &plain, &packed };
        for (int i = 0; i < 2; i++) {
            diffc_tensor *tensor = NULL;
            bytes_save(both[i], io_path("images.idx"));
            assert_int_equal(diffc_idx_read(io_context, io_path("images.idx"), &tensor), DIFFC_OK);
            expect_values(tensor, ndim, dims);
            diffc_release(&tensor);
        }
        bytes_free(&plain);
        bytes_free(&packed);
    }
}

/* Larger than the buffers of the unpacker, and in two members as parallel packers write. */
static void test_large_and_members(void **state)
{
    (void)state;
    const uint32_t dims[3] = { 300, 28, 28 };
    struct bytes plain = make_idx(8, 3, dims, 300 * 28 * 28);
    struct bytes first = { plain.data, 100000, 0 }, second = { plain.data + 100000, plain.size - 100000, 0 };
    struct bytes one = deflate_bytes(&plain, 31), part = deflate_bytes(&first, 31),
                 rest = deflate_bytes(&second, 31);
    diffc_tensor *tensor = NULL;
    bytes_put(&part, rest.data, rest.size);
    assert_int_equal(dfi_idx_decode(io_context, one.data, one.size, &tensor), DIFFC_OK);
    expect_values(tensor, 3, dims);
    diffc_release(&tensor);
    assert_int_equal(dfi_idx_decode(io_context, part.data, part.size, &tensor), DIFFC_OK);
    expect_values(tensor, 3, dims);
    diffc_release(&tensor);
    bytes_free(&plain);
    bytes_free(&one);
    bytes_free(&part);
    bytes_free(&rest);
}

static void test_limit(void **state)
{
    (void)state;
    const uint32_t dims[1] = { 100 };
    diffc_limits limits = DIFFC_LIMITS;
    diffc_tensor *tensor = NULL;
    struct bytes file = make_idx(8, 1, dims, 100);
    for (int over = 0; over < 2; over++) {
        limits.idx_bytes = 100 - over;
        diffc_context *context = io_context_new(&limits);
        assert_int_equal(dfi_idx_decode(context, file.data, file.size, &tensor),
                         over ? DIFFC_ERR_LIMIT : DIFFC_OK);
        diffc_release(&tensor);
        diffc_release(&context);
    }
    bytes_free(&file);
}

static int decode(void *work)
{
    const struct bytes *const file = work;
    diffc_tensor *tensor = NULL;
    const int status = dfi_idx_decode(io_context, file->data, file->size, &tensor);
    diffc_release(&tensor);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    const uint32_t dims[2] = { 20, 30 };
    struct bytes plain = make_idx(8, 2, dims, 600), packed = deflate_bytes(&plain, 31);
    const long points = io_fail_allocations(decode, &plain) + io_fail_allocations(decode, &packed);
    print_message("idx: %ld failing allocations\n", points);
    bytes_free(&plain);
    bytes_free(&packed);
}

static void test_arguments(void **state)
{
    (void)state;
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_idx_read(NULL, "x", &tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_idx_read(io_context, NULL, &tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_idx_read(io_context, "x", NULL), DIFFC_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_and_packed),
        cmocka_unit_test(test_large_and_members),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
