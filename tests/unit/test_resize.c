/* Preparing pictures: resizing against Pillow and PyTorch, cropping, bytes, alpha. */

#include "sched_case.h"

static uint64_t hash_of(const unsigned char *bytes, int64_t count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < count; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

/* What Pillow 13.0.0 makes of the deterministic tensor "resize": FNV-1a of the bytes (mode L), and the values
 * in the middle (H W / 2) and at the end of mode F. */
static const struct {
    const char *method;
    int h, w, height, width;
    uint64_t hash;
    float values[2];
} cases[] = {
    { "bicubic", 37, 53, 64, 64, 0x863cc1caad122dccu, { 1.01911581f, -1.08027244f } },
    { "bilinear", 37, 53, 64, 64, 0x65c6363565d6354au, { 0.95167410f, -1.07325721f } },
    { "nearest", 37, 53, 64, 64, 0xc6a9ad0c22e9e81au, { 1.34052217f, -1.07325721f } },
    { "bicubic", 64, 64, 16, 16, 0xc42531154b5db6d3u, { 0.14034818f, 0.02285275f } },
    { "bilinear", 64, 64, 16, 16, 0xd4e67c62163cc5feu, { 0.15298678f, 0.03074277f } },
    { "nearest", 64, 64, 16, 16, 0x9711b75dff9b06e0u, { 0.06086557f, -0.38257605f } },
    { "bicubic", 20, 30, 64, 96, 0xfb7bf981e1f79bbcu, { 1.05446780f, 0.57897055f } },
    { "bilinear", 20, 30, 64, 96, 0x8cad8d1794147d6eu, { 0.77740288f, 0.30823666f } },
    { "nearest", 20, 30, 64, 96, 0x946b2bfb0dc34505u, { 0.87752056f, 0.30823666f } },
    { "bicubic", 100, 7, 33, 7, 0xbeab410663547ad8u, { 0.98913664f, -0.74714208f } },
    { "bilinear", 100, 7, 33, 7, 0xce532d9f903ddc68u, { 0.83053434f, -0.74011308f } },
    { "nearest", 100, 7, 33, 7, 0x445ef3fb3ea010bdu, { 1.51219213f, -1.11206865f } },
    { "bicubic", 5, 200, 5, 31, 0x6ac1714ef31f3531u, { 0.15317905f, -1.00861311f } },
    { "bilinear", 5, 200, 5, 31, 0x2bcaacfacb6e41b3u, { 0.15292343f, -0.98184019f } },
    { "nearest", 5, 200, 5, 31, 0x04d5133dbf0a466cu, { 0.56453127f, 0.60050648f } },
    { "bicubic", 48, 48, 77, 31, 0x0182bf92f2749f8bu, { 0.02440216f, 0.50559032f } },
    { "bilinear", 48, 48, 77, 31, 0x5274c9a7b4135569u, { 0.04732490f, 0.38899538f } },
    { "nearest", 48, 48, 77, 31, 0x6999964ce09fb2d9u, { 0.43635660f, 0.39852554f } },
    { "bicubic", 1, 1, 4, 3, 0xbe14a8a46b804b51u, { -0.49918205f, -0.49918205f } },
    { "bilinear", 1, 1, 4, 3, 0xbe14a8a46b804b51u, { -0.49918205f, -0.49918205f } },
    { "nearest", 1, 1, 4, 3, 0xbe14a8a46b804b51u, { -0.49918205f, -0.49918205f } },
};

/* The same tensor before it is scaled, as bytes. */
static diffc_tensor *named_bytes(int64_t h, int64_t w)
{
    const int64_t shape[4] = { 1, 1, h, w };
    uint64_t state = dt_seed("resize");
    diffc_tensor *bytes = NULL;
    check_ok(diffc_tensor_create(case_context, DIFFC_U8, 4, shape, &bytes));
    for (int64_t i = 0; i < h * w; i++)
        ((unsigned char *)diffc_tensor_data(bytes))[i] = (unsigned char)((dt_next(&state) + 1) * 128);
    return bytes;
}

static void test_equal_to_pillow(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const int64_t h = cases[i].height, w = cases[i].width;
        diffc_tensor *x = named_tensor("resize", 1, 1, cases[i].h, cases[i].w),
                     *bytes = named_bytes(cases[i].h, cases[i].w);
        diffc_tensor *resized = NULL, *resized_bytes = NULL;
        check_ok(diffc_image_resize(bytes, h, w, cases[i].method, &resized_bytes));
        check_ok(diffc_image_resize(x, h, w, cases[i].method, &resized));
        assert_int_equal(diffc_tensor_dim(resized, 2), h);
        assert_int_equal(diffc_tensor_dim(resized, 3), w);
        if (hash_of(diffc_tensor_data(resized_bytes), h * w) != cases[i].hash)
            fail_msg("%s %d x %d to %d x %d: other bytes than Pillow", cases[i].method, cases[i].h,
                     cases[i].w, (int)h, (int)w);
        check_near(data_of(resized)[h * w / 2], cases[i].values[0], 1e-7);
        check_near(data_of(resized)[h * w - 1], cases[i].values[1], 1e-7);
        diffc_release(&resized);
        diffc_release(&resized_bytes);
        diffc_release(&bytes);
        diffc_release(&x);
    }
}

static void test_equal_to_pytorch(void **state)
{
    static const double corners[7] = { -0.49918205, -0.81436368, -1.12954531, -1.44472694,
                                       -1.34948091, -1.25423487, -1.15898883 };
    static const double area[6] = { 0.2552565932273865,  0.14213627576828003, 0.052814409136772156,
                                    0.18080729246139526, 0.3436570465564728,  -0.2043958306312561 };
    diffc_tensor *x = named_tensor("resize", 1, 1, 3, 5), *y = NULL;
    (void)state;
    check_ok(diffc_image_resize(x, 7, 9, "bilinear_corners", &y));
    for (int i = 0; i < 7; i++)
        check_near(data_of(y)[9 * i], corners[i], 1e-7);
    check_near(data_of(y)[62], 1.1557528972625732, 1e-6);
    check_near(data_of(y)[31], -1.0445822477340698, 1e-6);
    diffc_release(&y);
    diffc_release(&x);
    x = named_tensor("resize", 1, 1, 6, 8);
    check_ok(diffc_image_resize(x, 3, 2, "area", &y));
    for (int i = 0; i < 6; i++)
        check_near(data_of(y)[i], area[i], 1e-6);
    diffc_release(&y);
    diffc_release(&x);
}

/* Weights sum to 1, whatever the sizes. */
static void test_constants_stay(void **state)
{
    const char *method, *description;
    static const int64_t sizes[][4] = {
        { 7, 7, 16, 16 }, { 31, 17, 5, 3 }, { 1, 9, 4, 1 }, { 2, 3, 200, 1 }, { 10, 3, 3, 10 }
    };
    (void)state;
    for (int m = 0; !diffc_registry_entry(DIFFC_REGISTRY_RESIZE, m, &method, &description); m++)
        for (int i = 0; i < 5; i++) {
            diffc_tensor *x = new_tensor(2, 3, sizes[i][0], sizes[i][1]), *y = NULL;
            for (int64_t k = 0; k < diffc_tensor_count(x); k++)
                data_of(x)[k] = 3;
            check_ok(diffc_image_resize(x, sizes[i][2], sizes[i][3], method, &y));
            for (int64_t k = 0; k < diffc_tensor_count(y); k++)
                check_near(data_of(y)[k], 3, 1e-6);
            diffc_release(&y);
            diffc_release(&x);
        }
}

/* Planes and strides: an RGB buffer with its channels last gives what its planes give. */
static void test_strides(void **state)
{
    diffc_tensor *x = named_tensor("resize", 2, 3, 12, 10), *turned = NULL, *whole = NULL, *part = NULL;
    (void)state;
    check_ok(diffc_image_resize(x, 5, 20, "bicubic", &whole));
    check_ok(diffc_tensor_permute(x, (const int[]) { 0, 1, 3, 2 }, &turned));
    check_ok(diffc_image_resize(turned, 20, 5, "bicubic", &part));
    for (int p = 0; p < 100; p++)
        check_near(data_of(part)[500 + p % 20 * 5 + p / 20], data_of(whole)[500 + p], 1e-6);
    diffc_release(&part);
    diffc_release(&turned);
    diffc_release(&whole);
    diffc_release(&x);
}

static void test_crop_and_fit(void **state)
{
    diffc_tensor *x = named_tensor("resize", 1, 3, 9, 6), *y = NULL, *z = NULL, *middle = NULL;
    (void)state;
    check_ok(diffc_image_crop(x, 4, 3, &y));
    assert_ptr_equal(diffc_tensor_data(y), data_of(x) + 2 * 6 + 1);
    assert_int_equal(diffc_tensor_dim(y, 2), 4);
    diffc_release(&y);
    check_fails(diffc_image_crop(x, 10, 3, &y), DIFFC_ERR_ARG, "cannot be cropped to 10 x 3");
    check_ok(diffc_image_fit(x, 4, 4, "bicubic", &y)); /* 6 x 4, then rows 1 to 4 */
    check_ok(diffc_image_resize(x, 6, 4, "bicubic", &z));
    check_ok(diffc_image_crop(z, 4, 4, &middle));
    assert_int_equal(diffc_tensor_is_contiguous(y), 1);
    for (int c = 0; c < 3; c++)
        assert_memory_equal(data_of(y) + c * 16, data_of(middle) + c * 24, 16 * sizeof(float));
    diffc_release(&middle);
    diffc_release(&z);
    diffc_release(&y);
    diffc_release(&x);
}

static void test_bytes(void **state)
{
    diffc_tensor *bytes = NULL, *values = NULL, *again = NULL;
    const int64_t shape[1] = { 256 };
    (void)state;
    check_ok(diffc_tensor_create(case_context, DIFFC_U8, 1, shape, &bytes));
    for (int i = 0; i < 256; i++)
        ((unsigned char *)diffc_tensor_data(bytes))[i] = (unsigned char)i;
    check_ok(diffc_image_from_bytes(bytes, -1, 1, &values));
    for (int i = 0; i < 256; i++)
        assert_true(data_of(values)[i] == (float)i / 127.5f - 1);
    check_ok(diffc_image_to_bytes(values, -1, 1, &again));
    assert_memory_equal(diffc_tensor_data(again), diffc_tensor_data(bytes), 256);
    diffc_release(&again);
    diffc_release(&values);
    check_ok(diffc_image_from_bytes(bytes, 0, 1, &values));
    for (int i = 0; i < 256; i++)
        assert_true(data_of(values)[i] == (float)i / 255.0f);
    data_of(values)[0] = NAN;
    data_of(values)[1] = 2;
    data_of(values)[2] = -1;
    check_ok(diffc_image_to_bytes(values, 1, 0, &again));
    assert_int_equal(((unsigned char *)diffc_tensor_data(again))[0], 0);
    assert_int_equal(((unsigned char *)diffc_tensor_data(again))[1], 0);
    assert_int_equal(((unsigned char *)diffc_tensor_data(again))[2], 255);
    assert_int_equal(((unsigned char *)diffc_tensor_data(again))[3], 252);
    diffc_release(&again);
    check_fails(diffc_image_to_bytes(bytes, 0, 1, &again), DIFFC_ERR_ARG, "the dtype is U8, must be F32");
    check_fails(diffc_image_from_bytes(values, 0, 1, &again), DIFFC_ERR_ARG, "the dtype is F32, must be U8");
    check_fails(diffc_image_from_bytes(bytes, 1, 0, &again), DIFFC_ERR_ARG, "low and high are 1 and 0");
    check_fails(diffc_image_to_bytes(values, 1, NAN, &again), DIFFC_ERR_ARG, "must be finite");
    diffc_release(&values);
    diffc_release(&bytes);
}

static void test_flatten(void **state)
{
    diffc_tensor *x = new_tensor(2, 4, 1, 2), *flat = NULL;
    (void)state;
    for (int i = 0; i < 16; i++)
        data_of(x)[i] = (float)(i % 8) / 8;
    check_ok(diffc_image_flatten(x, 1, &flat)); /* alphas 0.75 and 0.875 */
    assert_int_equal(diffc_tensor_dim(flat, 1), 3);
    for (int i = 0; i < 12; i++) {
        const double alpha = i % 2 ? 0.875 : 0.75;
        check_near(data_of(flat)[i], i % 6 / 8.0 * alpha + 1 - alpha, 1e-7);
    }
    diffc_release(&flat);
    check_fails(diffc_image_flatten(x, 2, &flat), DIFFC_ERR_ARG, "background is 2");
    diffc_release(&x);
    x = new_tensor(1, 3, 2, 2);
    check_fails(diffc_image_flatten(x, 1, &flat), DIFFC_ERR_ARG, "F32 [1, 3, 2, 2], must be F32 [4, H, W]");
    diffc_release(&x);
}

/* Sizes as diffusers' IF pipelines choose them: int(round(side / 8 * w / h) * 8). */
static void test_fit_side(void **state)
{
    static const int64_t sizes[][5] = { /* h, w, side; height, width */
                                        { 480, 640, 64, 64, 88 }, { 640, 480, 64, 88, 64 },
                                        { 50, 50, 32, 32, 32 },   { 16, 25, 16, 16, 24 },
                                        { 10, 35, 8, 8, 32 },     { 10, 25, 8, 8, 16 }
    };
    (void)state;
    for (int i = 0; i < 6; i++) {
        diffc_tensor *x = new_tensor(1, 1, sizes[i][0], sizes[i][1]), *y = NULL;
        memset(data_of(x), 0, (size_t)diffc_tensor_count(x) * sizeof(float));
        check_ok(diffc_image_fit_side(x, sizes[i][2], 8, "bicubic", &y));
        assert_int_equal(diffc_tensor_dim(y, 2), sizes[i][3]);
        assert_int_equal(diffc_tensor_dim(y, 3), sizes[i][4]);
        diffc_release(&y);
        check_fails(diffc_image_fit_side(x, 8, 0, "bicubic", &y), DIFFC_ERR_ARG, "8 and 0");
        diffc_release(&x);
    }
    diffc_tensor *x = new_tensor(1, 1, 1, 9), *y = NULL;
    check_fails(diffc_image_fit_side(x, 1 << 23, 8, "area", &y), DIFFC_ERR_ARG, "would become 7.54975e+07");
    diffc_release(&x);
}

/* Values of Pillow's convert("L"). */
static void test_grey_bytes(void **state)
{
    static const unsigned char rgb[5][4] = {
        { 255, 0, 0, 76 }, { 0, 255, 0, 150 }, { 0, 0, 255, 29 }, { 255, 255, 255, 255 }, { 12, 200, 77, 130 }
    };
    const int64_t shape[4] = { 1, 3, 1, 5 };
    diffc_tensor *bytes = NULL, *grey = NULL;
    (void)state;
    check_ok(diffc_tensor_create(case_context, DIFFC_U8, 4, shape, &bytes));
    for (int i = 0; i < 15; i++)
        ((unsigned char *)diffc_tensor_data(bytes))[i] = rgb[i % 5][i / 5];
    check_ok(diffc_image_grey_bytes(bytes, &grey));
    assert_int_equal(diffc_tensor_dim(grey, 1), 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(((unsigned char *)diffc_tensor_data(grey))[i], rgb[i][3]);
    check_fails(diffc_image_grey_bytes(grey, &bytes), DIFFC_ERR_ARG, "must be U8 [3, H, W]");
    diffc_release(&grey);
    diffc_release(&bytes);
}

static void test_refused(void **state)
{
    diffc_tensor *x = new_tensor(1, 3, 4, 4), *none = new_tensor(0, 3, 4, 4), *y = NULL;
    (void)state;
    check_fails(diffc_image_resize(x, 2, 2, "lanczos", &y), DIFFC_ERR_ARG,
                "unknown method \"lanczos\"; known: bicubic, bilinear, area, nearest, bilinear_corners");
    check_fails(diffc_image_resize(x, 2, 2, NULL, &y), DIFFC_ERR_ARG, "unknown method \"(null)\"");
    check_fails(diffc_image_resize(x, 0, 2, "area", &y), DIFFC_ERR_ARG, "height and width are 0 and 2");
    check_fails(diffc_image_resize(x, 2, INT64_MAX, "area", &y), DIFFC_ERR_ARG, "must be 1 to 16777216");
    check_fails(diffc_image_resize(none, 2, 2, "area", &y), DIFFC_ERR_ARG, "not empty");
    assert_null(y);
    diffc_release(&none);
    diffc_release(&x);
}

static int prepare(void *opaque)
{
    diffc_tensor *image = NULL, *flat = NULL, *bytes = NULL, *fitted = NULL, *values = NULL;
    int status = diffc_tensor_permute(opaque, (const int[]) { 0, 1, 3, 2 }, &image);
    status = status ? status : diffc_image_flatten(image, 1, &flat);
    status = status ? status : diffc_image_to_bytes(flat, 0, 1, &bytes);
    status = status ? status : diffc_image_fit(bytes, 5, 4, "bicubic", &fitted);
    status = status ? status : diffc_image_from_bytes(fitted, -1, 1, &values);
    diffc_release(&values);
    status = status ? status : diffc_image_grey_bytes(bytes, &values);
    diffc_release(&values);
    status = status ? status : diffc_image_resize(image, 3, 3, "area", &values);
    diffc_release(&values);
    diffc_release(&fitted);
    diffc_release(&bytes);
    diffc_release(&flat);
    diffc_release(&image);
    return status;
}

static void test_memory_failures(void **state)
{
    diffc_tensor *x = named_tensor("resize", 1, 4, 9, 6);
    (void)state;
    check_memory_failures(prepare, x);
    diffc_release(&x);
}

/* It was once taken by the pieces, and the black picture given out as a success. */
static void test_a_cancelled_resize_is_no_success(void **state)
{
    diffc_tensor *image = new_tensor(1, 3, 8, 8), *resized = NULL;
    (void)state;
    for (int axis = 0; axis < 2; axis++) {
        diffc_context_cancel(case_context);
        check_fails(diffc_image_resize(image, axis ? 16 : 8, axis ? 8 : 16, "bicubic", &resized),
                    DIFFC_ERR_CANCELLED, "");
        assert_null(resized);
    }
    diffc_release(&image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_to_pillow),
        cmocka_unit_test(test_equal_to_pytorch),
        cmocka_unit_test(test_constants_stay),
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_crop_and_fit),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_flatten),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_fit_side),
        cmocka_unit_test(test_grey_bytes),
        cmocka_unit_test(test_a_cancelled_resize_is_no_success),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
