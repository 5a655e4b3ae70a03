#include "io_case.h"

#include "io/npy.h"
#include "tensor/tensor.h"

static void expect_same(const diffc_tensor *a, const diffc_tensor *b)
{
    const size_t width = dfi_dtype_size(diffc_tensor_dtype(a));
    assert_int_equal(diffc_tensor_dtype(a), diffc_tensor_dtype(b));
    assert_int_equal(diffc_tensor_ndim(a), diffc_tensor_ndim(b));
    for (int i = 0; i < diffc_tensor_ndim(a); i++)
        assert_int_equal(diffc_tensor_dim(a, i), diffc_tensor_dim(b, i));
    assert_memory_equal(diffc_tensor_data(a), diffc_tensor_data(b), width * (size_t)diffc_tensor_count(a));
}

static void fill_bytes(const diffc_tensor *tensor)
{
    unsigned char *const data = diffc_tensor_data(tensor);
    const size_t bytes = dfi_dtype_size(diffc_tensor_dtype(tensor)) * (size_t)diffc_tensor_count(tensor);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(i * 37 + 11);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const int dtypes[] = { DIFFC_F32, DIFFC_F16, DIFFC_F64, DIFFC_U8, DIFFC_I32, DIFFC_I64 };
    static const int64_t shape[8] = { 2, 3, 1, 5, 2, 1, 2, 3 };
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        for (int ndim = 0; ndim <= 8; ndim++) {
            diffc_tensor *written = NULL, *read = NULL;
            assert_int_equal(diffc_tensor_create(io_context, dtypes[i], ndim, shape, &written), DIFFC_OK);
            fill_bytes(written);
            assert_int_equal(diffc_npy_write(written, io_path("a.npy")), DIFFC_OK);
            assert_int_equal(diffc_npy_read(io_context, io_path("a.npy"), &read), DIFFC_OK);
            expect_same(written, read);
            diffc_release(&written);
            diffc_release(&read);
        }
    }
}

/* The bytes that NumPy itself writes for arange(6, dtype='<f4').reshape(2, 3). */
static void test_bytes(void **state)
{
    (void)state;
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    const float values[6] = { 0, 1, 2, 3, 4, 5 };
    const int64_t shape[2] = { 2, 3 };
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, 2, shape, &tensor), DIFFC_OK);
    memcpy(diffc_tensor_data(tensor), values, sizeof(values));
    assert_int_equal(diffc_npy_write(tensor, io_path("n.npy")), DIFFC_OK);
    struct bytes file = bytes_load(io_path("n.npy"));
    assert_int_equal(file.size, 128 + sizeof(values));
    assert_memory_equal(file.data, "\x93NUMPY\1\0v\0", 10);
    assert_memory_equal(file.data + 10, header, strlen(header));
    assert_int_equal(file.data[127], '\n');
    assert_memory_equal(file.data + 128, values, sizeof(values));
    bytes_free(&file);
    diffc_release(&tensor);
}

static void test_strides(void **state)
{
    (void)state;
    const int64_t shape[3] = { 40, 50, 60 };
    const int axes[3] = { 2, 0, 1 };
    diffc_tensor *tensor = NULL, *part = NULL, *view = NULL, *copy = NULL, *read = NULL;
    assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, 3, shape, &tensor), DIFFC_OK);
    fill_bytes(tensor);
    assert_int_equal(diffc_tensor_slice(tensor, 1, 48, 17, -2, &part), DIFFC_OK);
    assert_int_equal(diffc_tensor_permute(part, axes, &view), DIFFC_OK);
    assert_int_equal(diffc_tensor_convert(view, 0, &copy), DIFFC_OK);
    assert_int_equal(diffc_npy_write(view, io_path("s.npy")), DIFFC_OK);
    assert_int_equal(diffc_npy_read(io_context, io_path("s.npy"), &read), DIFFC_OK);
    expect_same(copy, read);
    diffc_release(&read);
    diffc_release(&copy);
    diffc_release(&view);
    diffc_release(&part);
    diffc_release(&tensor);
}

static void test_fortran_and_swapped(void **state)
{
    (void)state;
    diffc_tensor *tensor = NULL;
    struct bytes file = make_npy(2, "{'shape': (2, 3,), 'fortran_order': True, 'descr': '|u1'}\n", 6);
    assert_int_equal(dfi_npy_decode(io_context, file.data, file.size, &tensor), DIFFC_OK);
    const unsigned char expected[6] = { 0, 2, 4, 1, 3, 5 };
    assert_int_equal(diffc_tensor_dim(tensor, 0), 2);
    assert_int_equal(diffc_tensor_dim(tensor, 1), 3);
    assert_memory_equal(diffc_tensor_data(tensor), expected, 6);
    diffc_release(&tensor);
    bytes_free(&file);

    file = make_npy(3, "{\"descr\": \">i4\", \"fortran_order\": False, \"shape\": (2,)}   \n", 8);
    assert_int_equal(dfi_npy_decode(io_context, file.data, file.size, &tensor), DIFFC_OK);
    const int32_t *const values = diffc_tensor_data(tensor);
    assert_int_equal(values[0], 0x00010203);
    assert_int_equal(values[1], 0x04050607);
    diffc_release(&tensor);
    bytes_free(&file);
}

static int decode(void *work)
{
    const struct bytes *const file = work;
    diffc_tensor *tensor = NULL;
    const int status = dfi_npy_decode(io_context, file->data, file->size, &tensor);
    diffc_release(&tensor);
    return status;
}

static int write_tensor(void *work)
{
    return diffc_npy_write(work, io_path("oom.npy"));
}

static void test_memory(void **state)
{
    (void)state;
    const int64_t shape[1] = { 7 };
    diffc_tensor *tensor = NULL;
    struct bytes file = make_npy(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }\n", 24);
    assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, 1, shape, &tensor), DIFFC_OK);
    const long points = io_fail_allocations(decode, &file) + io_fail_allocations(write_tensor, tensor);
    print_message("npy: %ld failing allocations\n", points);
    diffc_release(&tensor);
    bytes_free(&file);
}

static void test_arguments(void **state)
{
    (void)state;
    const int64_t shape[1] = { 3 };
    diffc_tensor *tensor = NULL, *none = NULL;
    assert_int_equal(diffc_tensor_create(io_context, DIFFC_BF16, 1, shape, &tensor), DIFFC_OK);
    assert_int_equal(diffc_npy_write(tensor, io_path("b.npy")), DIFFC_ERR_UNSUPPORTED);
    assert_non_null(strstr(diffc_message(), "BF16"));
    assert_int_equal(diffc_npy_write(NULL, "x"), DIFFC_ERR_ARG);
    assert_int_equal(diffc_npy_write(tensor, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_npy_read(NULL, "x", &none), DIFFC_ERR_ARG);
    assert_int_equal(diffc_npy_read(io_context, NULL, &none), DIFFC_ERR_ARG);
    assert_int_equal(diffc_npy_read(io_context, "x", NULL), DIFFC_ERR_ARG);
    diffc_release(&tensor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_strides),    cmocka_unit_test(test_fortran_and_swapped),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
