#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <diffc/diffc.h>

#include "tensor/tensor.h"

static diffc_context *context;

static int make_context(void **state)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    (void)state;
    options.threads = 1;
    return diffc_context_create(&options, &context);
}

static int drop_context(void **state)
{
    (void)state;
    diffc_release(&context);
    return 0;
}

static diffc_tensor *make_tensor(int dtype, int ndim, const int64_t *shape)
{
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_tensor_create(context, dtype, ndim, shape, &tensor), DIFFC_OK);
    return tensor;
}

static diffc_tensor *make_range(int ndim, const int64_t *shape)
{
    diffc_tensor *tensor = make_tensor(DIFFC_F32, ndim, shape);
    for (int64_t i = 0; i < diffc_tensor_count(tensor); i++)
        ((float *)diffc_tensor_data(tensor))[i] = (float)i;
    return tensor;
}

static void test_create(void **state)
{
    static const int64_t shape[] = { 2, 3, 4 };
    diffc_tensor *tensor = make_tensor(DIFFC_I32, 3, shape);
    (void)state;
    assert_int_equal(diffc_tensor_dtype(tensor), DIFFC_I32);
    assert_int_equal(diffc_tensor_ndim(tensor), 3);
    assert_int_equal(diffc_tensor_count(tensor), 24);
    assert_int_equal(diffc_tensor_is_contiguous(tensor), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(diffc_tensor_dim(tensor, i), shape[i]);
        assert_int_equal(diffc_tensor_stride(tensor, i), ((const int[]) { 12, 4, 1 })[i]);
    }
    assert_int_equal(diffc_tensor_dim(tensor, -1), 0);
    assert_int_equal(diffc_tensor_dim(tensor, 3), 0);
    assert_int_equal(diffc_tensor_stride(tensor, 8), 0);
    const int32_t *data = diffc_tensor_data(tensor);
    for (int i = 0; i < 24; i++)
        assert_int_equal(data[i], 0);
    diffc_release(&tensor);
    tensor = make_tensor(DIFFC_F64, 0, NULL);
    assert_int_equal(diffc_tensor_count(tensor), 1);
    diffc_release(&tensor);
    tensor = make_tensor(DIFFC_U8, 2, (const int64_t[]) { 5, 0 });
    assert_int_equal(diffc_tensor_count(tensor), 0);
    assert_int_equal(diffc_tensor_is_contiguous(tensor), 1);
    diffc_release(&tensor);
}

static void expect_no_tensor(int status, int dtype, int ndim, const int64_t *shape)
{
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_tensor_create(context, dtype, ndim, shape, &tensor), status);
    assert_null(tensor);
}

static void test_create_errors(void **state)
{
    diffc_tensor *tensor = NULL;
    (void)state;
    expect_no_tensor(DIFFC_ERR_ARG, 0, 1, (const int64_t[]) { 1 });
    expect_no_tensor(DIFFC_ERR_ARG, 8, 1, (const int64_t[]) { 1 });
    expect_no_tensor(DIFFC_ERR_ARG, -1, 1, (const int64_t[]) { 1 });
    expect_no_tensor(DIFFC_ERR_ARG, DIFFC_F32, 9, (const int64_t[]) { 1, 1, 1, 1, 1, 1, 1, 1, 1 });
    expect_no_tensor(DIFFC_ERR_ARG, DIFFC_F32, -1, (const int64_t[]) { 1 });
    expect_no_tensor(DIFFC_ERR_ARG, DIFFC_F32, 1, NULL);
    expect_no_tensor(DIFFC_ERR_ARG, DIFFC_F32, 2, (const int64_t[]) { 2, -1 });
    assert_string_equal(diffc_message(), "shape[1] is -1, must not be negative");
    expect_no_tensor(DIFFC_ERR_LIMIT, DIFFC_F32, 2, (const int64_t[]) { INT64_MAX, 2 });
    expect_no_tensor(DIFFC_ERR_LIMIT, DIFFC_F32, 3, (const int64_t[]) { 4194305, 4194305, 211106198978564 });
    expect_no_tensor(DIFFC_ERR_NOMEM, DIFFC_U8, 1, (const int64_t[]) { INT64_MAX });
    assert_int_equal(diffc_tensor_create(NULL, DIFFC_F32, 0, NULL, &tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_create(context, DIFFC_F32, 0, NULL, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_dtype(NULL), 0);
    assert_int_equal(diffc_tensor_count(NULL), 0);
    assert_null(diffc_tensor_data(NULL));
}

static void count_release(void *opaque)
{
    ++*(int *)opaque;
}

static void test_wrap(void **state)
{
    static const int64_t shape[] = { 3, 2, 2 },
                         strides[] = { 1, 6, 3 }; /* a planar view of 2 x 2 interleaved RGB pixels */
    uint8_t pixels[12];
    int released = 0;
    diffc_tensor *image = NULL, *plane = NULL, *floats = NULL;
    (void)state;
    for (int i = 0; i < 12; i++)
        pixels[i] = (uint8_t)(i * 20);
    assert_int_equal(
        diffc_tensor_wrap(context, DIFFC_U8, 3, shape, strides, pixels, count_release, &released, &image),
        DIFFC_OK);
    assert_int_equal(diffc_tensor_is_contiguous(image), 0);
    assert_int_equal(diffc_tensor_slice(image, 0, 1, 1, 1, &plane), DIFFC_OK);
    diffc_release(&image);
    assert_int_equal(diffc_tensor_convert(plane, DIFFC_F32, &floats), DIFFC_OK);
    static const float greens[] = { 20, 80, 140, 200 };
    assert_memory_equal(diffc_tensor_data(floats), greens, sizeof(greens));
    diffc_release(&floats);
    assert_int_equal(released, 0);
    diffc_release(&plane);
    assert_int_equal(released, 1);
}

static void test_wrap_errors(void **state)
{
    static const int64_t shape[] = { 2, 2 };
    float data[4];
    int released = 0;
    diffc_tensor *tensor = NULL;
    (void)state;
    assert_int_equal(
        diffc_tensor_wrap(context, DIFFC_F32, 2, shape, NULL, NULL, count_release, &released, &tensor),
        DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_wrap(context, DIFFC_F32, 2, shape, NULL, (char *)data + 1, count_release,
                                       &released, &tensor),
                     DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_wrap(context, 99, 2, shape, NULL, data, count_release, &released, &tensor),
                     DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_wrap(context, DIFFC_F32, 2, shape, (const int64_t[]) { INT64_MAX / 2, 1 },
                                       data, count_release, &released, &tensor),
                     DIFFC_ERR_LIMIT);
    assert_int_equal(diffc_tensor_wrap(context, DIFFC_F32, 2, shape, (const int64_t[]) { INT64_MIN, 1 }, data,
                                       count_release, &released, &tensor),
                     DIFFC_ERR_LIMIT);
    assert_null(tensor);
    assert_int_equal(released, 0);
    assert_int_equal(
        diffc_tensor_wrap(context, DIFFC_F32, 1, (const int64_t[]) { 0 }, NULL, NULL, NULL, NULL, &tensor),
        DIFFC_OK);
    diffc_release(&tensor);
}

static void test_over_keeps_its_owner(void **state)
{
    diffc_tensor *owner = make_range(1, (const int64_t[]) { 6 }), *tensor = NULL, *view = NULL;
    (void)state;
    assert_int_equal(dfi_tensor_over(context, DIFFC_F32, 2, (const int64_t[]) { 2, 3 },
                                     diffc_tensor_data(owner), owner, &tensor),
                     DIFFC_OK);
    diffc_release(&owner);
    assert_int_equal(diffc_tensor_slice(tensor, 0, 1, 1, 1, &view), DIFFC_OK);
    diffc_release(&tensor);
    assert_true(((float *)diffc_tensor_data(view))[2] == 5.0f);
    diffc_release(&view);
}

static void expect_values(const diffc_tensor *tensor, const float *expected)
{
    diffc_tensor *plain = NULL;
    assert_int_equal(diffc_tensor_convert(tensor, 0, &plain), DIFFC_OK);
    assert_int_equal(diffc_tensor_is_contiguous(plain), 1);
    assert_memory_equal(diffc_tensor_data(plain), expected,
                        (size_t)diffc_tensor_count(plain) * sizeof(float));
    diffc_release(&plain);
}

static void test_slices(void **state)
{
    diffc_tensor *tensor = make_range(2, (const int64_t[]) { 3, 4 }), *view = NULL, *again = NULL;
    (void)state;
    assert_int_equal(diffc_tensor_slice(tensor, 1, 1, 2, 2, &view), DIFFC_OK);
    expect_values(view, (const float[]) { 1, 3, 5, 7, 9, 11 });
    assert_int_equal(diffc_tensor_slice(view, 0, 2, 3, -1, &again), DIFFC_OK);
    expect_values(again, (const float[]) { 9, 11, 5, 7, 1, 3 });
    diffc_release(&view);
    diffc_release(&again);
    assert_int_equal(diffc_tensor_slice(tensor, 0, 3, 0, 1, &view), DIFFC_OK);
    assert_int_equal(diffc_tensor_count(view), 0);
    diffc_release(&view);
    static const struct {
        int axis;
        int64_t start, length, step;
    } bad[] = {
        { 2, 0, 1, 1 },         { -1, 0, 1, 1 },        { 0, 0, 4, 1 }, { 0, 3, 1, 1 },
        { 0, -1, 1, 1 },        { 0, 0, -1, 1 },        { 0, 0, 1, 0 }, { 0, 0, 2, -1 },
        { 0, 1, 2, INT64_MAX }, { 0, 2, INT64_MAX, 2 }, { 0, 4, 0, 1 }, { 0, 0, 2, INT64_MIN },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(
            diffc_tensor_slice(tensor, bad[i].axis, bad[i].start, bad[i].length, bad[i].step, &view),
            DIFFC_ERR_ARG);
    assert_null(view);
    assert_int_equal(diffc_tensor_slice(NULL, 0, 0, 1, 1, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_slice(tensor, 0, 0, 1, 1, NULL), DIFFC_ERR_ARG);
    diffc_release(&tensor);
}

static void test_permutations(void **state)
{
    diffc_tensor *tensor = make_range(3, (const int64_t[]) { 2, 1, 3 }), *view = NULL;
    (void)state;
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 2, 0, 1 }, &view), DIFFC_OK);
    expect_values(view, (const float[]) { 0, 3, 1, 4, 2, 5 });
    assert_int_equal(diffc_tensor_dim(view, 0), 3);
    diffc_release(&view);
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 0, 1, 1 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 0, 1, 3 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 0, 1, -1 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_permute(tensor, NULL, &view), DIFFC_ERR_ARG);
    assert_null(view);
    diffc_release(&tensor);
}

static void test_reshape(void **state)
{
    diffc_tensor *tensor = make_range(2, (const int64_t[]) { 3, 4 }), *view = NULL, *turned = NULL;
    (void)state;
    assert_int_equal(diffc_tensor_reshape(tensor, 3, (const int64_t[]) { 2, -1, 3 }, &view), DIFFC_OK);
    assert_int_equal(diffc_tensor_dim(view, 1), 2);
    assert_int_equal(diffc_tensor_stride(view, 0), 6);
    assert_ptr_equal(diffc_tensor_data(view), diffc_tensor_data(tensor));
    diffc_release(&view);
    assert_int_equal(diffc_tensor_reshape(tensor, 2, (const int64_t[]) { 5, -1 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_reshape(tensor, 2, (const int64_t[]) { -1, -1 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_reshape(tensor, 1, (const int64_t[]) { 13 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_reshape(tensor, 2, (const int64_t[]) { 0, -1 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_reshape(tensor, 2, (const int64_t[]) { INT64_MAX, INT64_MAX }, &view),
                     DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_reshape(tensor, 9, (const int64_t[]) { 12 }, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 1, 0 }, &turned), DIFFC_OK);
    assert_int_equal(diffc_tensor_reshape(turned, 1, (const int64_t[]) { 12 }, &view), DIFFC_ERR_ARG);
    assert_null(view);
    diffc_release(&turned);
    diffc_release(&tensor);
}

/* Every way to turn a small tensor, against an element-by-element copy. */
static void test_strided_copies(void **state)
{
    static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    static const int dtypes[] = { DIFFC_F32, DIFFC_F16, DIFFC_F64, DIFFC_U8, DIFFC_I64 };
    static const int64_t shape[] = { 3, 5, 2 };
    diffc_tensor *source = make_range(3, shape);
    (void)state;
    for (int pair = 0; pair < 36 * 5; pair++) {
        diffc_tensor *from = NULL, *to = NULL, *plain = NULL, *whole = NULL;
        int64_t turned[3];
        int back[3];
        const int *order = orders[pair % 6], *second = orders[pair / 6 % 6];
        for (int i = 0; i < 3; i++) {
            back[second[i]] = i;
            turned[i] = shape[order[second[i]]];
        }
        assert_int_equal(diffc_tensor_permute(source, order, &from), DIFFC_OK);
        whole = make_tensor(dtypes[pair / 36], 3, turned);
        assert_int_equal(diffc_tensor_permute(whole, back, &to), DIFFC_OK);
        assert_int_equal(diffc_tensor_copy(from, to), DIFFC_OK);
        assert_int_equal(diffc_tensor_convert(to, DIFFC_F32, &plain), DIFFC_OK);
        const float *values = diffc_tensor_data(plain);
        int64_t at[3];
        for (at[0] = 0; at[0] < shape[order[0]]; at[0]++)
            for (at[1] = 0; at[1] < shape[order[1]]; at[1]++)
                for (at[2] = 0; at[2] < shape[order[2]]; at[2]++) {
                    int64_t index[3];
                    for (int i = 0; i < 3; i++)
                        index[order[i]] = at[i];
                    assert_true(*values++ == (float)((index[0] * 5 + index[1]) * 2 + index[2]));
                }
        diffc_release(&from);
        diffc_release(&to);
        diffc_release(&plain);
        diffc_release(&whole);
    }
    diffc_release(&source);
}

static void test_copy_errors_and_fill(void **state)
{
    diffc_tensor *a = make_range(2, (const int64_t[]) { 2, 3 }),
                 *b = make_range(2, (const int64_t[]) { 3, 2 }), *view = NULL;
    (void)state;
    assert_int_equal(diffc_tensor_copy(a, b), DIFFC_ERR_ARG);
    assert_string_equal(diffc_message(), "source is F32 [2, 3], destination F32 [3, 2]: the shapes differ");
    assert_int_equal(diffc_tensor_copy(NULL, b), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_convert(a, 77, &view), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_slice(a, 1, 0, 2, 2, &view), DIFFC_OK);
    assert_int_equal(diffc_tensor_fill(view, 0.5), DIFFC_OK);
    expect_values(a, (const float[]) { 0.5f, 1, 0.5f, 0.5f, 4, 0.5f });
    assert_int_equal(diffc_tensor_fill(NULL, 0.5), DIFFC_ERR_ARG);
    diffc_release(&view);
    diffc_release(&a);
    diffc_release(&b);
}

static void test_expect(void **state)
{
    diffc_tensor *tensor = make_range(2, (const int64_t[]) { 2, 3 }), *turned = NULL, *bytes = NULL;
    (void)state;
    assert_int_equal(dfi_tensor_expect(tensor, "x", 2, (const int64_t[]) { -1, 3 }), DIFFC_OK);
    assert_int_equal(dfi_tensor_expect(tensor, "x", 2, (const int64_t[]) { -1, 4 }), DIFFC_ERR_ARG);
    assert_string_equal(diffc_message(), "x is F32 [2, 3], must be F32 [any, 4]");
    assert_int_equal(dfi_tensor_expect(NULL, "x", 2, (const int64_t[]) { -1, 4 }), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 1, 0 }, &turned), DIFFC_OK);
    assert_int_equal(dfi_tensor_expect(turned, "x", 2, (const int64_t[]) { 3, 2 }), DIFFC_ERR_ARG);
    assert_string_equal(diffc_message(), "x (F32 [3, 2]) is not contiguous");
    assert_int_equal(diffc_tensor_convert(tensor, DIFFC_U8, &bytes), DIFFC_OK);
    assert_int_equal(dfi_tensor_expect(bytes, "x", 2, (const int64_t[]) { 2, 3 }), DIFFC_ERR_ARG);
    char text[8];
    assert_string_equal(dfi_tensor_text(tensor, text, sizeof(text)), "F32 [2]");
    diffc_release(&tensor);
    diffc_release(&turned);
    diffc_release(&bytes);
}

/* Value of a half-precision number, by its definition. */
static double half_value(int bits, int exponent_bits, int mantissa_bits)
{
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int mantissa = bits & ((1 << mantissa_bits) - 1),
              exponent = bits >> mantissa_bits & ((1 << exponent_bits) - 1);
    double value = exponent ? ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
                            : ldexp(mantissa, 1 - bias - mantissa_bits);
    if (exponent == (1 << exponent_bits) - 1)
        value = mantissa ? NAN : INFINITY;
    return bits & 0x8000 ? -value : value;
}

static void check_halves(int dtype, int exponent_bits, int mantissa_bits)
{
    for (int i = 0; i < 65536; i++) {
        const uint16_t half = (uint16_t)i;
        const double expected = half_value(i, exponent_bits, mantissa_bits);
        float single;
        double twice;
        uint16_t back, back_twice;
        dfi_convert(dtype, &half, DIFFC_F32, &single, 1);
        dfi_convert(dtype, &half, DIFFC_F64, &twice, 1);
        dfi_convert(DIFFC_F32, &single, dtype, &back, 1);
        dfi_convert(DIFFC_F64, &twice, dtype, &back_twice, 1);
        if (isnan(expected)) {
            assert_true(isnan(single) && isnan(twice));
            assert_true(isnan(half_value(back, exponent_bits, mantissa_bits)));
            continue;
        }
        assert_true((double)single == expected && twice == expected);
        assert_int_equal(back, i);
        assert_int_equal(back_twice, i);
    }
}

/* Between two neighbours: the middle goes to the even one, anything beside it to the nearer. */
static void check_rounding(int dtype, int exponent_bits, int mantissa_bits)
{
    const int infinity = ((1 << exponent_bits) - 1) << mantissa_bits;
    for (int i = 0; i < infinity; i++) {
        const double low = half_value(i, exponent_bits, mantissa_bits);
        const double high = i + 1 < infinity ? half_value(i + 1, exponent_bits, mantissa_bits)
                                             : ldexp(1, 1 << (exponent_bits - 1));
        const double middle = low / 2 + high / 2;
        const double below = nextafter(middle, 0), above = nextafter(middle, INFINITY);
        const int even = i % 2 ? i + 1 : i;
        uint16_t half;
        dfi_convert(DIFFC_F64, &middle, dtype, &half, 1);
        assert_int_equal(half, even);
        dfi_convert(DIFFC_F64, &below, dtype, &half, 1);
        assert_int_equal(half, i);
        dfi_convert(DIFFC_F64, &above, dtype, &half, 1);
        assert_int_equal(half, i + 1);
        const float single = (float)middle, single_below = nextafterf(single, 0),
                    single_above = nextafterf(single, INFINITY);
        if ((double)single != middle)
            continue;
        dfi_convert(DIFFC_F32, &single, dtype, &half, 1);
        assert_int_equal(half, even);
        dfi_convert(DIFFC_F32, &single_below, dtype, &half, 1);
        assert_int_equal(half, i);
        dfi_convert(DIFFC_F32, &single_above, dtype, &half, 1);
        assert_int_equal(half, i + 1);
    }
}

static void test_half_precision(void **state)
{
    (void)state;
    check_halves(DIFFC_F16, 5, 10);
    check_halves(DIFFC_BF16, 8, 7);
    check_rounding(DIFFC_F16, 5, 10);
    check_rounding(DIFFC_BF16, 8, 7);
}

static void test_integers(void **state)
{
    static const double values[] = { -1e30, -2147483649.0, -1.5,  -0.5, 0.5,          1.5,
                                     2.5,   254.5,         255.5, 300,  2147483647.5, 1e30 };
    static const uint8_t bytes[] = { 0, 0, 0, 0, 0, 2, 2, 254, 255, 255, 255, 255 };
    static const int32_t words[] = {
        INT32_MIN, INT32_MIN, -2, 0, 0, 2, 2, 254, 256, 300, INT32_MAX, INT32_MAX
    };
    static const int64_t longs[] = { INT64_MIN, -2147483649, -2,  0,   0,          2,
                                     2,         254,         256, 300, 2147483648, INT64_MAX };
    const double nan = NAN;
    uint8_t to_bytes[12];
    int32_t to_words[12];
    int64_t to_longs[12];
    (void)state;
    dfi_convert(DIFFC_F64, values, DIFFC_U8, to_bytes, 12);
    dfi_convert(DIFFC_F64, values, DIFFC_I32, to_words, 12);
    dfi_convert(DIFFC_F64, values, DIFFC_I64, to_longs, 12);
    assert_memory_equal(to_bytes, bytes, sizeof(bytes));
    assert_memory_equal(to_words, words, sizeof(words));
    assert_memory_equal(to_longs, longs, sizeof(longs));
    dfi_convert(DIFFC_F64, &nan, DIFFC_U8, to_bytes, 1);
    dfi_convert(DIFFC_F64, &nan, DIFFC_I64, to_longs, 1);
    assert_int_equal(to_bytes[0], 0);
    assert_int_equal(to_longs[0], 0);

    static const int64_t extremes[] = { INT64_MIN, INT64_MAX, -5, 256 };
    float singles[4];
    dfi_convert(DIFFC_I64, extremes, DIFFC_I32, to_words, 4);
    dfi_convert(DIFFC_I64, extremes, DIFFC_U8, to_bytes, 4);
    dfi_convert(DIFFC_I64, extremes, DIFFC_F32, singles, 4);
    assert_int_equal(to_words[0], INT32_MIN);
    assert_int_equal(to_words[1], INT32_MAX);
    assert_int_equal(to_words[2], -5);
    assert_int_equal(to_bytes[0], 0);
    assert_int_equal(to_bytes[1], 255);
    assert_int_equal(to_bytes[3], 255);
    assert_true(singles[0] == -0x1p63f && singles[1] == 0x1p63f && singles[3] == 256.0f);
}

/* 2^56 + 2^48 is the middle of two bfloat16 numbers; one more must not be lost on the way through a double.
 */
static void test_integers_are_rounded_once(void **state)
{
    static const int64_t values[] = { ((int64_t)1 << 56) + ((int64_t)1 << 48),
                                      ((int64_t)1 << 56) + ((int64_t)1 << 48) + 1,
                                      -(((int64_t)1 << 56) + ((int64_t)1 << 48) + 1), 70000 };
    uint16_t halves[4];
    float singles[4];
    (void)state;
    dfi_convert(DIFFC_I64, values, DIFFC_BF16, halves, 4);
    dfi_convert(DIFFC_BF16, halves, DIFFC_F32, singles, 4);
    assert_true(singles[0] == 0x1p56f);
    assert_true(singles[1] == 0x1.02p56f);
    assert_true(singles[2] == -0x1.02p56f);
    dfi_convert(DIFFC_I64, values, DIFFC_F16, halves, 4);
    assert_int_equal(halves[0], 0x7c00);
    assert_int_equal(halves[3], 0x7c00);
}

/* All pairs of dtypes agree on small whole numbers. */
static void test_all_pairs(void **state)
{
    static const int64_t shape[] = { 300 };
    (void)state;
    for (int from = DIFFC_F32; from <= DIFFC_I64; from++)
        for (int to = DIFFC_F32; to <= DIFFC_I64; to++) {
            diffc_tensor *range = make_range(1, shape), *first = NULL, *second = NULL, *last = NULL;
            for (int i = 0; i < 300; i++)
                ((float *)diffc_tensor_data(range))[i] = (float)(i % 251);
            assert_int_equal(diffc_tensor_convert(range, from, &first), DIFFC_OK);
            assert_int_equal(diffc_tensor_convert(first, to, &second), DIFFC_OK);
            assert_int_equal(diffc_tensor_convert(second, DIFFC_F32, &last), DIFFC_OK);
            assert_memory_equal(diffc_tensor_data(last), diffc_tensor_data(range), 300 * sizeof(float));
            diffc_release(&range);
            diffc_release(&first);
            diffc_release(&second);
            diffc_release(&last);
        }
}

/* Whatever mode the caller computes in, conversions round to nearest. */
static void test_rounding_mode_of_the_caller(void **state)
{
    static const int modes[] = { FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };
    double values[] = { 1.0 + 0x1p-30, 2.5, -1.0 - 0x1p-30, 0x1p-15 + 0x1p-40 };
    const int64_t count = 4;
    diffc_tensor *source = NULL;
    (void)state;
    assert_int_equal(diffc_tensor_wrap(context, DIFFC_F64, 1, &count, NULL, values, NULL, NULL, &source),
                     DIFFC_OK);
    for (int i = 0; i < 3; i++) {
        diffc_tensor *single = NULL, *half = NULL, *whole = NULL;
        fesetround(modes[i]);
        (void)diffc_tensor_convert(source, DIFFC_F32, &single);
        (void)diffc_tensor_convert(source, DIFFC_F16, &half);
        (void)diffc_tensor_convert(source, DIFFC_I32, &whole);
        const int mode = fegetround();
        fesetround(FE_TONEAREST);
        assert_int_equal(mode, modes[i]);
        const float *singles = diffc_tensor_data(single);
        const uint16_t *halves = diffc_tensor_data(half);
        const int32_t *wholes = diffc_tensor_data(whole);
        assert_true(singles[0] == 1.0f && singles[2] == -1.0f);
        assert_int_equal(halves[0], 0x3c00);
        assert_int_equal(halves[3], 0x0200);
        assert_int_equal(wholes[1], 2);
        diffc_release(&single);
        diffc_release(&half);
        diffc_release(&whole);
    }
    diffc_release(&source);
}

static void test_random_tensors(void **state)
{
    static const int64_t shape[] = { 40, 50 };
    diffc_tensor *plain = make_tensor(DIFFC_F32, 2, shape), *wide = make_tensor(DIFFC_F64, 2, shape);
    diffc_tensor *whole = make_tensor(DIFFC_F32, 2, (const int64_t[]) { 50, 40 }), *turned = NULL;
    diffc_tensor *bytes = make_tensor(DIFFC_U8, 2, shape),
                 *small = make_tensor(DIFFC_F32, 1, (const int64_t[]) { 5 });
    diffc_generator *generator = NULL;
    (void)state;
    assert_int_equal(diffc_tensor_permute(whole, (const int[]) { 1, 0 }, &turned), DIFFC_OK);
    assert_int_equal(diffc_rng_normal(plain, 1, 2, 3), DIFFC_OK);
    assert_int_equal(diffc_rng_normal(wide, 1, 2, 3), DIFFC_OK);
    assert_int_equal(diffc_rng_normal(turned, 1, 2, 3), DIFFC_OK);
    expect_values(turned, diffc_tensor_data(plain));
    for (int i = 0; i < 2000; i++)
        assert_true(((float *)diffc_tensor_data(plain))[i] == ((double *)diffc_tensor_data(wide))[i]);
    assert_int_equal(diffc_rng_uniform(bytes, 1, 2, 3), DIFFC_ERR_ARG);
    assert_int_equal(diffc_rng_uniform(NULL, 1, 2, 3), DIFFC_ERR_ARG);
    assert_int_equal(diffc_rng_uniform(plain, 1, 2, 3), DIFFC_OK);
    assert_int_equal(diffc_generator_create(context, (uint64_t)7 << 32, &generator), DIFFC_OK);
    assert_int_equal(diffc_generator_normal(generator, turned), DIFFC_ERR_ARG);
    assert_int_equal(diffc_generator_normal(generator, bytes), DIFFC_ERR_ARG);
    assert_int_equal(diffc_generator_normal(generator, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_generator_normal(generator, small), DIFFC_OK);
    assert_true(fabsf(((float *)diffc_tensor_data(small))[0] - 1.5409960747f) < 1e-6f);
    diffc_release(&generator);
    diffc_release(&plain);
    diffc_release(&wide);
    diffc_release(&whole);
    diffc_release(&turned);
    diffc_release(&bytes);
    diffc_release(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_create_errors),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_wrap_errors),
        cmocka_unit_test(test_over_keeps_its_owner),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_permutations),
        cmocka_unit_test(test_reshape),
        cmocka_unit_test(test_strided_copies),
        cmocka_unit_test(test_copy_errors_and_fill),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_half_precision),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_integers_are_rounded_once),
        cmocka_unit_test(test_all_pairs),
        cmocka_unit_test(test_rounding_mode_of_the_caller),
        cmocka_unit_test(test_random_tensors),
    };
    return cmocka_run_group_tests(tests, make_context, drop_context);
}
