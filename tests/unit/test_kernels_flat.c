/* Kernels over flat arrays, rows and single images, and the convolution kernels on their own: each table
 * against the one in double. */

#include <math.h>
#include <stdio.h>

#include "kernel_case.h"
#include "tensor/tensor.h"

#define UNIT 0x1p-24

static const struct dfi_kernels *tables[KC_TABLES];
static int table_count;
static const struct dfi_kernels *oracle;

static const size_t sizes[] = { 0,  1,  2,  3,  4,   5,   6,   7,   8,   9,   15,   16,   17,   31,  32,
                                33, 63, 64, 65, 100, 127, 128, 511, 512, 513, 1023, 1024, 1025, 3000 };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static struct kc_array make_values(size_t n, uint64_t seed)
{
    struct kc_array a = kc_make(DIFFC_F32, n);
    kc_fill(&a, 1, (int)n, 0, &seed);
    return a;
}

/* Guards whole, values within bound * (1 + |expected|); frees both. */
static void expect_array(const char *what, int table, struct kc_array *value, struct kc_array *expected,
                         double bound)
{
    if (!kc_intact(value, 0, 0, 0))
        fail_msg("%s, %s, %zu values: wrote beside", tables[table]->name, what, value->count);
    for (size_t i = 0; i < value->count; i++) {
        const double right = kc_get(expected, i);
        if (!(fabs(kc_get(value, i) - right) <= bound * (1 + fabs(right))))
            fail_msg("%s, %s, %zu values: %.9g at %zu, not %.9g", tables[table]->name, what, value->count,
                     kc_get(value, i), i, right);
    }
    kc_free(value);
    kc_free(expected);
}

static void expect_sum(const char *what, int table, size_t n, double value, double expected, double bound)
{
    if (!(fabs(value - expected) <= bound))
        fail_msg("%s, %s, %zu values: %.12g, not %.12g", tables[table]->name, what, n, value, expected);
}

static void check_flat(int t, size_t n)
{
    struct kc_array x = make_values(n, n), x64 = kc_copy(&x, DIFFC_F64);
    for (int keep = 0; keep < 2; keep++) { /* b = 0 must not read y */
        struct kc_array y = keep ? make_values(n, n + 1) : kc_make(DIFFC_F32, n),
                        y64 = kc_copy(&y, DIFFC_F64);
        tables[t]->axpby(n, 0.75, x.p, keep ? -0.375 : 0, y.p);
        oracle->axpby(n, 0.75, x64.p, keep ? -0.375 : 0, y64.p);
        expect_array("axpby", t, &y, &y64, 4 * UNIT);
    }
    const double squares = oracle->sum_squares(x64.p, n);
    expect_sum("sum_squares", t, n, tables[t]->sum_squares(x.p, n), squares, 66 * UNIT * squares);
    struct kc_array target = make_values(n, n + 2), target64 = kc_copy(&target, DIFFC_F64);
    struct kc_array dp = kc_make(DIFFC_F32, n), dp64 = kc_make(DIFFC_F64, n);
    const double right = oracle->squared_error(x64.p, target64.p, dp64.p, 0.625, n);
    expect_sum("squared_error", t, n, tables[t]->squared_error(x.p, target.p, dp.p, 0.625, n), right,
               66 * UNIT * right);
    expect_sum("squared_error", t, n, tables[t]->squared_error(x.p, target.p, NULL, 0.625, n), right,
               66 * UNIT * right);
    expect_array("squared_error", t, &dp, &dp64, 2 * UNIT);
    kc_free(&target);
    kc_free(&target64);
    kc_free(&x);
    kc_free(&x64);
}

static void test_flat(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (size_t i = 0; i < SIZES; i++)
            check_flat(t, sizes[i]);
}

static void check_adam(int t, size_t n, int decoupled)
{
    struct kc_array w = make_values(n, 1), m = kc_make(DIFFC_F32, n), v = kc_make(DIFFC_F32, n);
    memset(m.p, 0, n * sizeof(float));
    memset(v.p, 0, n * sizeof(float));
    struct kc_array w64 = kc_copy(&w, DIFFC_F64), m64 = kc_copy(&m, DIFFC_F64), v64 = kc_copy(&v, DIFFC_F64);
    for (int step = 1; step <= 5; step++) {
        const struct dfi_adam_args args = { .learning_rate = 0.01,
                                            .beta1 = 0.9,
                                            .beta2 = 0.999,
                                            .epsilon = 1e-8,
                                            .weight_decay = 0.02,
                                            .correction1 = 1 - pow(0.9, step),
                                            .correction2 = 1 - pow(0.999, step),
                                            .decoupled = decoupled,
                                            .gradient_scale = 0.5 };
        struct kc_array g = make_values(n, (uint64_t)step), g64 = kc_copy(&g, DIFFC_F64);
        tables[t]->adam(w.p, g.p, m.p, v.p, n, &args);
        oracle->adam(w64.p, g64.p, m64.p, v64.p, n, &args);
        kc_free(&g);
        kc_free(&g64);
    }
    expect_array("adam, m", t, &m, &m64, 20 * UNIT);
    expect_array("adam, v", t, &v, &v64, 20 * UNIT);
    expect_array("adam, w", t, &w, &w64, 40 * UNIT);
}

static void test_adam(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (size_t i = 0; i < SIZES; i++)
            for (int decoupled = 0; decoupled < 2; decoupled++)
                check_adam(t, sizes[i], decoupled);
}

/* Sums of multiples of 1/64 are exact, so every lane must be there once; the order shows in large numbers. */
static void test_tree_sum(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (int lanes = 1; lanes <= 9; lanes++)
            for (size_t i = 0; i < SIZES; i++)
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    const size_t n = sizes[i], stride = n + 3;
                    struct kc_array x = make_values(stride * (size_t)lanes, n), x64 = kc_copy(&x, DIFFC_F64);
                    struct kc_array y = accumulate ? make_values(n, 9) : kc_make(DIFFC_F32, n);
                    struct kc_array y64 = kc_copy(&y, DIFFC_F64);
                    tables[t]->tree_sum(x.p, stride, lanes, y.p, n, accumulate);
                    oracle->tree_sum(x64.p, stride, lanes, y64.p, n, accumulate);
                    expect_array("tree_sum", t, &y, &y64, 0);
                    kc_free(&x);
                    kc_free(&x64);
                }
    const float order[8] = {
        1e8f, 1, -1e8f, 1, 1, 1, 1, 1
    }; /* ((1e8+1)+(-1e8+1)) + 4, rounded at each step */
    for (int t = 0; t < table_count; t++) {
        float sum = 0;
        tables[t]->tree_sum(order, 1, 8, &sum, 1, 0);
        assert_true(sum == ((order[0] + order[1]) + (order[2] + order[3])) + 4);
    }
}

static void test_rows(void **state)
{
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (int c = 0; c <= 40; c++)
            for (size_t rows = 0; rows <= 4; rows++) {
                const size_t n = rows * (size_t)c;
                struct kc_array x = make_values(n, n), y = kc_make(DIFFC_F32, n), dx = kc_make(DIFFC_F32, n);
                struct kc_array p = make_values(n, n + 1), x64 = kc_copy(&x, DIFFC_F64),
                                p64 = kc_copy(&p, DIFFC_F64);
                struct kc_array y64 = kc_make(DIFFC_F64, n), dx64 = kc_make(DIFFC_F64, n),
                                d2 = kc_make(DIFFC_F32, n);
                struct kc_array d264 = kc_make(DIFFC_F64, n);
                tables[t]->softmax(x.p, y.p, rows, c);
                oracle->softmax(x64.p, y64.p, rows, c);
                tables[t]->softmax_backward(y.p, p.p, dx.p, rows, c);
                oracle->softmax_backward(y64.p, p64.p, dx64.p, rows, c);
                const double right = oracle->cross_entropy(x64.p, p64.p, d264.p, 0.5, rows, c);
                double loss;
                loss = tables[t]->cross_entropy(x.p, p.p, d2.p, 0.5, rows, c);
                expect_sum("cross_entropy", t, n, loss, right, 1e-5 * (1 + (double)n));
                loss = tables[t]->cross_entropy(x.p, p.p, NULL, 0.5, rows, c);
                expect_sum("cross_entropy", t, n, loss, right, 1e-5 * (1 + (double)n));
                expect_array("softmax", t, &y, &y64, 4e-7);
                expect_array("softmax_backward", t, &dx, &dx64, 4e-6);
                expect_array("cross_entropy", t, &d2, &d264, 1e-5);
                kc_free(&x);
                kc_free(&p);
                kc_free(&x64);
                kc_free(&p64);
            }
    const float large[3] = { 1000, 0, -1000 }, target[3] = { 1, 0, 0 };
    for (int t = 0; t < table_count; t++) {
        float y[3];
        tables[t]->softmax(large, y, 1, 3);
        assert_true(y[0] == 1 && y[1] == 0 && y[2] == 0);
        assert_true(tables[t]->cross_entropy(large, target, NULL, 1, 1, 3) == 0);
    }
}

static void check_pool(int t, int h, int w, int c, int k, int accumulate, uint64_t seed)
{
    const ptrdiff_t ld = c + (ptrdiff_t)(seed % 3);
    const size_t pixels = (size_t)(h * w), out = (size_t)((h / k) * (w / k) * c);
    for (int max = 0; max < 2; max++) {
        uint64_t state = seed;
        struct kc_array x = kc_make(DIFFC_F32, pixels * (size_t)ld),
                        dx = kc_make(DIFFC_F32, pixels * (size_t)ld);
        struct kc_array dy = make_values(out, seed + 1), y = kc_make(DIFFC_F32, out),
                        y64 = kc_make(DIFFC_F64, out);
        kc_fill(&x, pixels, c, ld, &state);
        if (accumulate)
            kc_fill(&dx, pixels, c, ld, &state);
        struct kc_array x64 = kc_copy(&x, DIFFC_F64), dx64 = kc_copy(&dx, DIFFC_F64),
                        dy64 = kc_copy(&dy, DIFFC_F64);
        if (max) {
            tables[t]->max_pool(x.p, ld, y.p, h, w, c, k);
            oracle->max_pool(x64.p, ld, y64.p, h, w, c, k);
            tables[t]->max_pool_backward(x.p, ld, dy.p, dx.p, ld, h, w, c, k, accumulate);
            oracle->max_pool_backward(x64.p, ld, dy64.p, dx64.p, ld, h, w, c, k, accumulate);
        } else {
            tables[t]->avg_pool(x.p, ld, y.p, h, w, c, k, k);
            oracle->avg_pool(x64.p, ld, y64.p, h, w, c, k, k);
            tables[t]->avg_pool_backward(dy.p, dx.p, ld, h, w, c, k, k, accumulate);
            oracle->avg_pool_backward(dy64.p, dx64.p, ld, h, w, c, k, k, accumulate);
        }
        assert_true(kc_intact(&dx, pixels, c, ld));
        for (size_t i = 0; i < pixels * (size_t)c; i++) {
            const size_t at = i / (size_t)c * (size_t)ld + i % (size_t)c;
            expect_sum("pool backward", t, pixels, kc_get(&dx, at), kc_get(&dx64, at), 2e-6);
        }
        expect_array("pool", t, &y, &y64, 1e-6);
        struct kc_array *rest[] = { &x, &dx, &dy, &x64, &dx64, &dy64 };
        for (int i = 0; i < 6; i++)
            kc_free(rest[i]);
    }
}

static void test_pools(void **state)
{
    uint64_t random = 3;
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (uint64_t i = 0; i < 150; i++)
            check_pool(t, kc_pick(&random, 1, 9), kc_pick(&random, 1, 9), kc_pick(&random, 1, 20),
                       kc_pick(&random, 1, 4), (int)(i & 1), i);
    const float x[4] = { 1, 2, 2, NAN }, equal[4] = { 2, 2, 2, 2 }, dy = 1;
    for (int t = 0; t < table_count; t++) {
        float y, dx[4];
        tables[t]->max_pool(x, 1, &y, 2, 2, 1, 2);
        assert_true(isnan(y));
        tables[t]->max_pool_backward(equal, 1, &dy, dx, 1, 2, 2, 1, 2, 0);
        assert_true(dx[0] == 1 && dx[1] == 0 && dx[2] == 0 && dx[3] == 0);
    }
}

static int mirror(int i, int n)
{
    while (n > 1 && (i < 0 || i >= n))
        i = i < 0 ? -i : 2 * (n - 1) - i;
    return n > 1 ? i : 0;
}

static void test_blur(void **state)
{
    static const double taps[5] = { 0.125, 0.25, 0.3, 0.225, 0.1 };
    uint64_t random = 4;
    (void)state;
    for (int round = 0; round < 60; round++) {
        const int t = round % table_count, size = 1 + 2 * kc_pick(&random, 0, 2),
                  step = kc_pick(&random, 1, 3);
        const int h = kc_pick(&random, 1, 9), w = kc_pick(&random, 1, 9),
                  row = w * step + kc_pick(&random, 0, 2);
        struct kc_array x = make_values((size_t)(h * row), (uint64_t)round),
                        y = kc_make(DIFFC_F32, (size_t)(h * w));
        struct kc_array scratch = kc_make(DIFFC_F32, (size_t)(h * w)),
                        right = kc_make(DIFFC_F64, (size_t)(h * w));
        for (int i = 0; i < h * w; i++) {
            double sum = 0;
            for (int a = 0; a < size * size; a++)
                sum += taps[a / size] * taps[a % size] *
                       kc_get(&x, (size_t)(mirror(i / w + a / size - size / 2, h) * row +
                                           mirror(i % w + a % size - size / 2, w) * step));
            kc_set(&right, (size_t)i, sum);
        }
        tables[t]->blur(x.p, row, step, y.p, h, w, taps, size, scratch.p);
        assert_true(kc_intact(&scratch, 0, 0, 0));
        expect_array("blur", t, &y, &right, 1e-6);
        kc_free(&x);
        kc_free(&scratch);
    }
}

/* The convolution kernels where the images have no pixels, no channels and no taps; test_conv has the rest.
 */
static void test_empty_taps(void **state)
{
    static const ptrdiff_t offset[1] = { 0 };
    static const int position[1] = { 0 };
    (void)state;
    for (int t = 0; t < table_count; t++)
        for (int cout = 0; cout <= 70; cout++)
            for (int what = 0; what < 4; what++) {
                struct kc_array x = make_values(4, 1), w = kc_make(DIFFC_F32, 128),
                                y = kc_make(DIFFC_F32, 70);
                struct kc_array dw = kc_make(DIFFC_F32, 96), bias = make_values(70, 2),
                                dy = make_values(70, 3);
                struct dfi_taps_args args = { .x = x.p,
                                              .x_pixel = 1,
                                              .x_row = 1,
                                              .taps = what != 0,
                                              .offset = offset,
                                              .cin = what != 1,
                                              .cout = cout,
                                              .w = w.p,
                                              .bias = bias.p,
                                              .y = y.p,
                                              .y_pixel = 70,
                                              .y_row = 70,
                                              .width = what != 2,
                                              .rows = what != 3 };
                struct dfi_taps_dw_args back = { .x = x.p,
                                                 .x_pixel = 1,
                                                 .x_row = 1,
                                                 .x_panel = DFI_TAPS_DW_PANEL,
                                                 .taps = args.taps,
                                                 .offset = offset,
                                                 .cin = args.cin,
                                                 .cout = cout,
                                                 .dy = dy.p,
                                                 .dy_pixel = 70,
                                                 .dy_row = 70,
                                                 .width = args.width,
                                                 .rows = args.rows,
                                                 .dw = dw.p,
                                                 .ldw = 96 };
                memset(w.p, 0, 128 * sizeof(float));
                memset(dw.p, 0, 96 * sizeof(float));
                tables[t]->taps(&args);
                tables[t]->taps_dw(&back);
                assert_true(kc_intact(&y, 1, what < 2 ? cout : 0, 70));
                for (int i = 0; what < 2 && i < cout; i++)
                    assert_true(kc_get(&y, (size_t)i) == kc_get(&bias, (size_t)i));
                assert_true(kc_intact(&dw, 0, 0, 0));
                for (size_t i = 0; i < 96; i++)
                    assert_true(kc_get(&dw, i) == 0);
                tables[t]->pack_weights(x.p, 0, 0, position, what != 0, what != 1, what < 2 ? cout : 0, 8,
                                        w.p);
                tables[t]->unpack_gradient(dw.p, 96, what != 0, what != 1, what < 2 ? cout : 0, y.p, 0);
                struct kc_array *all[] = { &x, &w, &y, &dw, &bias, &dy };
                for (int i = 0; i < 6; i++)
                    kc_free(all[i]);
            }
}

enum { PANEL_WIDTH = 5, PANEL_ROWS = 3, PANEL_CIN = 15, PANEL_COUT = 70, PANEL_LDW = 96 };
#define PANEL_PIXELS (PANEL_WIDTH * (PANEL_ROWS + 1))

/* Two taps, one above the other; x as it is, or the same in panels of channels. */
static struct kc_array panel_gradient(const struct dfi_kernels *kernels, int dtype, const struct kc_array *x,
                                      const struct kc_array *dy, int cin, int cout, int in_panels)
{
    enum { P = DFI_TAPS_DW_PANEL };
    const ptrdiff_t panel = in_panels ? PANEL_PIXELS * P + 3 : P, pixel = in_panels ? P : PANEL_CIN;
    const ptrdiff_t offset[2] = { 0, PANEL_WIDTH * pixel };
    struct kc_array own = kc_make(dtype, (size_t)((PANEL_CIN + P - 1) / P * panel));
    struct kc_array dw = kc_make(dtype, (size_t)(2 * cin) * PANEL_LDW);
    for (int i = 0; in_panels && i < PANEL_PIXELS * cin; i++)
        kc_set(&own, (size_t)(i % cin / P * panel + i / cin * P + i % cin % P),
               kc_get(x, (size_t)(i / cin * PANEL_CIN + i % cin)));
    for (size_t i = 0; i < dw.count; i++)
        kc_set(&dw, i, 0);
    const struct dfi_taps_dw_args args = { .x = in_panels ? own.p : x->p,
                                           .x_pixel = pixel,
                                           .x_row = PANEL_WIDTH * pixel,
                                           .x_panel = panel,
                                           .taps = 2,
                                           .offset = offset,
                                           .cin = cin,
                                           .cout = cout,
                                           .dy = dy->p,
                                           .dy_pixel = PANEL_COUT,
                                           .dy_row = PANEL_WIDTH * PANEL_COUT,
                                           .width = PANEL_WIDTH,
                                           .rows = PANEL_ROWS,
                                           .dw = dw.p,
                                           .ldw = PANEL_LDW };
    kernels->taps_dw(&args);
    kc_free(&own);
    return dw;
}

/* taps_dw with the channels of its source in panels, very few output channels included. */
static void test_panels(void **state)
{
    static const int couts[] = { 1, 4, 5, 16, 17, 32, 70 };
    (void)state;
    struct kc_array x = make_values(PANEL_PIXELS * PANEL_CIN, 1), x64 = kc_copy(&x, DIFFC_F64);
    struct kc_array dy = make_values(PANEL_WIDTH * PANEL_ROWS * PANEL_COUT, 2),
                    dy64 = kc_copy(&dy, DIFFC_F64);
    for (int t = 0; t < table_count; t++)
        for (int cin = 1; cin <= PANEL_CIN; cin++)
            for (int c = 0; c < DFI_COUNT(couts); c++)
                for (int in_panels = 0; in_panels < 2; in_panels++) {
                    struct kc_array right = panel_gradient(oracle, DIFFC_F64, &x64, &dy64, cin, couts[c], 0);
                    struct kc_array dw = panel_gradient(tables[t], DIFFC_F32, &x, &dy, cin, couts[c],
                                                        in_panels);
                    expect_array("taps_dw", t, &dw, &right, 16 * UNIT);
                }
    struct kc_array *all[] = { &x, &x64, &dy, &dy64 };
    for (int i = 0; i < DFI_COUNT(all); i++)
        kc_free(all[i]);
}

static int set_up(void **state)
{
    (void)state;
    table_count = kc_list_tables(tables);
    oracle = dfi_kernels_get(0, DIFFC_F64);
    return 0;
}

/* Every number of half precision and of bfloat16, at every alignment of the last few. */
static void test_widen(void **state)
{
    static const int dtypes[2] = { DIFFC_F16, DIFFC_BF16 };
    static uint16_t all[65536];
    static float found[65536], right[65536];
    (void)state;
    for (int i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (int d = 0; d < 2; d++)
        for (int t = 0; t < table_count; t++)
            for (size_t n = 65536; n > 65536 - 20; n--) {
                memset(found, 0xff, sizeof(found));
                tables[t]->widen(dtypes[d], all, found, n);
                dfi_convert(dtypes[d], all, DIFFC_F32, right, n);
                for (size_t i = 0; i < n; i++)
                    assert_true(found[i] == right[i] || (isnan(found[i]) && isnan(right[i])));
                assert_true(n == 65536 || isnan(found[n]));
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_flat),       cmocka_unit_test(test_adam),
                                        cmocka_unit_test(test_tree_sum),   cmocka_unit_test(test_rows),
                                        cmocka_unit_test(test_pools),      cmocka_unit_test(test_blur),
                                        cmocka_unit_test(test_empty_taps), cmocka_unit_test(test_panels),
                                        cmocka_unit_test(test_widen) };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
