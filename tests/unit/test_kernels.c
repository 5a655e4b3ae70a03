/* Kernels that go over pixels: each table against the one in double. */

#include <math.h>
#include <stdio.h>

#include "kernel_case.h"

#define UNIT 0x1p-24
#define CHANNELS 67

static const struct dfi_kernels *tables[KC_TABLES];
static int table_count;
static const struct dfi_kernels *oracle;

static const char *const act_names[] = { "none", "gelu", "silu", "relu", "gelu_tanh" };

/* One set of operands, in float and in double. */
struct pixels {
    int c;
    size_t pixels;
    ptrdiff_t ldx, ldy, ldg;
    struct kc_array x, dy, scale, shift, third;           /* float */
    struct kc_array x64, dy64, scale64, shift64, third64; /* double */
};

static struct pixels make_pixels(int c, size_t pixels)
{
    uint64_t state = (uint64_t)c * 1000 + pixels;
    struct pixels p = { .c = c, .pixels = pixels };
    p.ldx = c + kc_pick(&state, 0, 1) * kc_pick(&state, 0, 20);
    p.ldy = c + kc_pick(&state, 0, 1) * kc_pick(&state, 0, 20);
    p.ldg = c + kc_pick(&state, 0, 1) * kc_pick(&state, 0, 20);
    p.x = kc_make(DIFFC_F32, pixels * (size_t)p.ldx);
    p.dy = kc_make(DIFFC_F32, pixels * (size_t)p.ldy);
    p.scale = kc_make(DIFFC_F32, (size_t)c);
    p.shift = kc_make(DIFFC_F32, (size_t)c);
    p.third = kc_make(DIFFC_F32, (size_t)c);
    kc_fill(&p.x, pixels, c, p.ldx, &state);
    kc_fill(&p.dy, pixels, c, p.ldy, &state);
    kc_fill(&p.scale, 1, c, c, &state);
    kc_fill(&p.shift, 1, c, c, &state);
    kc_fill(&p.third, 1, c, c, &state);
    p.x64 = kc_copy(&p.x, DIFFC_F64);
    p.dy64 = kc_copy(&p.dy, DIFFC_F64);
    p.scale64 = kc_copy(&p.scale, DIFFC_F64);
    p.shift64 = kc_copy(&p.shift, DIFFC_F64);
    p.third64 = kc_copy(&p.third, DIFFC_F64);
    return p;
}

static void free_pixels(struct pixels *p)
{
    struct kc_array *all[] = { &p->x,   &p->dy,   &p->scale,   &p->shift,   &p->third,
                               &p->x64, &p->dy64, &p->scale64, &p->shift64, &p->third64 };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        kc_free(all[i]);
}

typedef void (*pixels_check)(const struct pixels *p);

static void for_each_size(pixels_check check)
{
    static const size_t more[] = { 31, 32, 33, 100 };
    for (int c = 0; c <= CHANNELS; c++)
        for (size_t i = 0; i <= 24; i++) {
            struct pixels p = make_pixels(c, i <= 20 ? i : more[i - 21]);
            check(&p);
            free_pixels(&p);
        }
}

static void expect(const struct pixels *p, const char *what, int table, double value, double expected,
                   double bound)
{
    if (!(fabs(value - expected) <= bound))
        fail_msg("%s, %s, %d channels, %zu pixels: %.9g, not %.9g", tables[table]->name, what, p->c,
                 p->pixels, value, expected);
}

/* Rows within bound * (1 + |expected|), and nothing beside them. */
static void expect_rows(const struct pixels *p, const char *what, int table, const struct kc_array *y,
                        const struct kc_array *expected, ptrdiff_t ld, double bound)
{
    if (!kc_intact(y, p->pixels, p->c, ld))
        fail_msg("%s, %s, %d channels, %zu pixels: wrote beside", tables[table]->name, what, p->c, p->pixels);
    for (size_t row = 0; row < p->pixels; row++)
        for (int i = 0; i < p->c; i++) {
            const double right = kc_get(expected, row * (size_t)ld + (size_t)i);
            expect(p, what, table, kc_get(y, row * (size_t)ld + (size_t)i), right, bound * (1 + fabs(right)));
        }
}

static void check_moments(const struct pixels *p)
{
    double sum[KC_TABLES + 1][CHANNELS + 2], squares[KC_TABLES + 1][CHANNELS + 2], only[CHANNELS + 2];
    for (int t = 0; t <= table_count; t++) {
        for (int i = 0; i < CHANNELS + 2; i++)
            sum[t][i] = squares[t][i] = only[i] = 1.25;
        if (t == 0) {
            oracle->moments(p->x64.p, p->ldx, p->pixels, p->c, sum[t] + 1, squares[t] + 1);
            continue;
        }
        tables[t - 1]->moments(p->x.p, p->ldx, p->pixels, p->c, sum[t] + 1, squares[t] + 1);
        tables[t - 1]->moments(p->x.p, p->ldx, p->pixels, p->c, only + 1, NULL);
        assert_memory_equal(only, sum[t], sizeof(only));
        for (int i = 0; i < CHANNELS + 2; i++) {
            expect(p, "sum", t - 1, sum[t][i], sum[0][i], 16 * UNIT * (double)p->pixels * 4);
            expect(p, "squares", t - 1, squares[t][i], squares[0][i], 17 * UNIT * squares[0][i]);
        }
    }
}

static void check_moments_about(const struct pixels *p)
{
    double sum[KC_TABLES + 1][CHANNELS + 2], squares[KC_TABLES + 1][CHANNELS + 2];
    for (int t = 0; t <= table_count; t++) {
        for (int i = 0; i < CHANNELS + 2; i++)
            sum[t][i] = squares[t][i] = 1.25;
        if (t == 0) {
            oracle->moments_about(p->x64.p, p->ldx, p->pixels, p->c, p->third64.p, sum[t] + 1,
                                  squares[t] + 1);
            continue;
        }
        tables[t - 1]->moments_about(p->x.p, p->ldx, p->pixels, p->c, p->third.p, sum[t] + 1, squares[t] + 1);
        for (int i = 0; i < CHANNELS + 2; i++) {
            expect(p, "sum about", t - 1, sum[t][i], sum[0][i], 16 * UNIT * (double)p->pixels * 8);
            expect(p, "squares about", t - 1, squares[t][i], squares[0][i], 17 * UNIT * squares[0][i]);
        }
    }
}

/* Rows of `pixels` values: the roles of sizes do not matter to the kernel. */
static void check_layer_norm(const struct pixels *p)
{
    if (p->c == 0)
        return;
    struct kc_array right = kc_make(DIFFC_F64, p->pixels * (size_t)p->ldg);
    oracle->layer_norm(p->x64.p, p->ldx, right.p, p->ldg, p->pixels, p->c, p->scale64.p, p->shift64.p, 1e-5);
    for (int t = 0; t < table_count; t++) {
        struct kc_array y = kc_make(DIFFC_F32, p->pixels * (size_t)p->ldg);
        tables[t]->layer_norm(p->x.p, p->ldx, y.p, p->ldg, p->pixels, p->c, p->scale.p, p->shift.p, 1e-5);
        expect_rows(p, "layer_norm", t, &y, &right, p->ldg, 4 * UNIT);
        kc_free(&y);
    }
    kc_free(&right);
}

static void check_affine(const struct pixels *p, int with_scale, int with_shift, enum dfi_act act)
{
    struct kc_array right = kc_make(DIFFC_F64, p->pixels * (size_t)p->ldg);
    oracle->affine_act(p->x64.p, p->ldx, right.p, p->ldg, p->pixels, p->c, with_scale ? p->scale64.p : NULL,
                       with_shift ? p->shift64.p : NULL, act);
    for (int t = 0; t < table_count; t++) {
        struct kc_array y = kc_make(DIFFC_F32, p->pixels * (size_t)p->ldg), same = kc_copy(&p->x, DIFFC_F32);
        const void *scale = with_scale ? p->scale.p : NULL, *shift = with_shift ? p->shift.p : NULL;
        tables[t]->affine_act(p->x.p, p->ldx, y.p, p->ldg, p->pixels, p->c, scale, shift, act);
        expect_rows(p, act_names[act], t, &y, &right, p->ldg, 5e-7);
        tables[t]->affine_act(same.p, p->ldx, same.p, p->ldx, p->pixels, p->c, scale, shift, act);
        assert_true(kc_intact(&same, p->pixels, p->c, p->ldx));
        for (size_t row = 0; row < p->pixels; row++)
            assert_memory_equal(kc_at(&same, row * (size_t)p->ldx), kc_at(&y, row * (size_t)p->ldg),
                                (size_t)p->c * sizeof(float));
        kc_free(&y);
        kc_free(&same);
    }
    kc_free(&right);
}

static void check_affine_backward(const struct pixels *p, int with_scale, int with_shift, enum dfi_act act)
{
    struct kc_array right = kc_make(DIFFC_F64, p->pixels * (size_t)p->ldg);
    double right_sums[2][CHANNELS + 2] = { { 0 } };
    oracle->affine_act_backward(p->x64.p, p->ldx, p->dy64.p, p->ldy, right.p, p->ldg, p->pixels, p->c,
                                with_scale ? p->scale64.p : NULL, with_shift ? p->shift64.p : NULL, act,
                                right_sums[0] + 1, right_sums[1] + 1);
    for (int t = 0; t < table_count; t++) {
        const void *scale = with_scale ? p->scale.p : NULL, *shift = with_shift ? p->shift.p : NULL;
        struct kc_array g = kc_make(DIFFC_F32, p->pixels * (size_t)p->ldg), same = kc_copy(&p->dy, DIFFC_F32);
        double sums[2][CHANNELS + 2] = { { 0 } };
        tables[t]->affine_act_backward(p->x.p, p->ldx, p->dy.p, p->ldy, g.p, p->ldg, p->pixels, p->c, scale,
                                       shift, act, sums[0] + 1, sums[1] + 1);
        expect_rows(p, act_names[act], t, &g, &right, p->ldg, 2e-6);
        tables[t]->affine_act_backward(p->x.p, p->ldx, same.p, p->ldy, same.p, p->ldy, p->pixels, p->c, scale,
                                       shift, act, NULL, NULL);
        for (size_t row = 0; row < p->pixels; row++)
            assert_memory_equal(kc_at(&same, row * (size_t)p->ldy), kc_at(&g, row * (size_t)p->ldg),
                                (size_t)p->c * sizeof(float));
        for (int i = 0; i < CHANNELS + 2; i++)
            for (int k = 0; k < 2; k++)
                expect(p, "gradient's sums", t, sums[k][i], right_sums[k][i], (double)p->pixels * 2e-5);
        kc_free(&g);
        kc_free(&same);
    }
    kc_free(&right);
}

static void check_activations(const struct pixels *p)
{
    for (int act = DFI_ACT_NONE; act <= DFI_ACT_GELU_TANH; act++)
        for (int with = 0; with < 4; with++) {
            check_affine(p, with & 1, with & 2, (enum dfi_act)act);
            check_affine_backward(p, with & 1, with & 2, (enum dfi_act)act);
        }
}

/* All combinations of b, d and accumulate; dx over g. */
static void check_affine2(const struct pixels *p)
{
    for (int with = 0; with < 8; with++) {
        struct kc_array right = kc_copy(&p->dy, DIFFC_F64);
        oracle->affine2(right.p, p->ldy, with & 1 ? p->x64.p : NULL, p->ldx, right.p, p->ldy, p->pixels, p->c,
                        p->scale64.p, with & 1 ? p->shift64.p : NULL, with & 2 ? p->third64.p : NULL,
                        with & 4);
        for (int t = 0; t < table_count; t++) {
            struct kc_array dx = kc_copy(&p->dy, DIFFC_F32);
            tables[t]->affine2(dx.p, p->ldy, with & 1 ? p->x.p : NULL, p->ldx, dx.p, p->ldy, p->pixels, p->c,
                               p->scale.p, with & 1 ? p->shift.p : NULL, with & 2 ? p->third.p : NULL,
                               with & 4);
            expect_rows(p, "affine2", t, &dx, &right, p->ldy, 1e-5);
            kc_free(&dx);
        }
        kc_free(&right);
    }
}

static void test_moments(void **state)
{
    (void)state;
    for_each_size(check_moments);
}

static void test_activations(void **state)
{
    (void)state;
    for_each_size(check_activations);
}

static void test_norms(void **state)
{
    (void)state;
    for_each_size(check_moments_about);
    for_each_size(check_layer_norm);
}

static void test_affine2(void **state)
{
    (void)state;
    for_each_size(check_affine2);
}

static double gelu(double z)
{
    return z == 0 ? z : z / 2 * erfc(-z * sqrt(0.5));
}

static double gelu_slope(double z)
{
    const double density = exp(-z * z / 2) / sqrt(2 * acos(-1));
    return erfc(-z * sqrt(0.5)) / 2 + (density == 0 ? 0 : z * density);
}

static float one_value(int t, enum dfi_act act, float z)
{
    float y = 0;
    tables[t]->affine_act(&z, 1, &y, 1, 1, 1, NULL, NULL, act);
    return y;
}

static float one_slope(int t, enum dfi_act act, float z)
{
    const float dy = 1;
    float g = 0;
    tables[t]->affine_act_backward(&z, 1, &dy, 1, &g, 1, 1, 1, NULL, NULL, act, NULL, NULL);
    return g;
}

#define SWEEP 4096

/* Errors of value and slope, in units of max(1, |z|), over [-7, 7] and more thinly [-40, 40]. */
static void check_accuracy(enum dfi_act act, double (*value)(double), double (*slope)(double), double bound)
{
    static float z[SWEEP], y[SWEEP], g[SWEEP], ones[SWEEP];
    for (int i = 0; i < SWEEP; i++)
        ones[i] = 1;
    for (int t = 0; t < table_count; t++) {
        double worst = 0, worst_slope = 0;
        for (int block = 0; block < 200; block++) {
            for (int i = 0; i < SWEEP; i++)
                z[i] = (float)((block * SWEEP + i) / (100.0 * SWEEP) - 1) * (block % 10 ? 7.0f : 40.0f);
            tables[t]->affine_act(z, SWEEP, y, SWEEP, 1, SWEEP, NULL, NULL, act);
            tables[t]->affine_act_backward(z, SWEEP, ones, SWEEP, g, SWEEP, 1, SWEEP, NULL, NULL, act, NULL,
                                           NULL);
            for (int i = 0; i < SWEEP; i++) {
                const double unit = fmax(1, fabs((double)z[i]));
                worst = fmax(worst, fabs(y[i] - value(z[i])) / unit);
                worst_slope = fmax(worst_slope, fabs(g[i] - slope(z[i])) / unit);
            }
        }
        if (!(worst <= bound && worst_slope <= bound))
            fail_msg("%s, %s: errors %.3g and %.3g", tables[t]->name, act_names[act], worst, worst_slope);
    }
}

static double silu(double z)
{
    return z / (1 + exp(-z));
}

static double silu_slope(double z)
{
    return (1 + z / (1 + exp(z))) / (1 + exp(-z));
}

static double gelu_tanh(double z)
{
    const double v = 2 * sqrt(2 / acos(-1)) * (z + 0.044715 * z * z * z);
    return z / (1 + exp(-v));
}

static double gelu_tanh_slope(double z)
{
    const double c = 2 * sqrt(2 / acos(-1)), s = 1 / (1 + exp(-c * (z + 0.044715 * z * z * z)));
    return s == 0 || s == 1 ? s : s + z * s * (1 - s) * c * (1 + 3 * 0.044715 * z * z);
}

static void test_accuracy(void **state)
{
    (void)state;
    check_accuracy(DFI_ACT_GELU, gelu, gelu_slope, 1.5e-7);
    check_accuracy(DFI_ACT_SILU, silu, silu_slope, 3e-7);
    check_accuracy(DFI_ACT_GELU_TANH, gelu_tanh, gelu_tanh_slope, 6e-7);
}

static void test_special_values(void **state)
{
    static const float values[] = { 0.0f,  -0.0f,  1e-45f, -1e-45f, 1e-39f, -1e-39f,
                                    1e30f, -1e30f, 6.0f,   -6.0f,   100.0f, -100.0f };
    (void)state;
    for (int t = 0; t < table_count; t++) {
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            const double z = values[i], unit = 1.5e-7 * fmax(1, fabs(z));
            assert_true(fabs(one_value(t, DFI_ACT_GELU, values[i]) - gelu(z)) <= unit);
            assert_true(fabs(one_slope(t, DFI_ACT_GELU, values[i]) - gelu_slope(z)) <= 1.5e-7);
            assert_true(fabs(one_value(t, DFI_ACT_SILU, values[i]) - silu(z)) <= 2 * unit);
            assert_true(fabs(one_slope(t, DFI_ACT_SILU, values[i]) - silu_slope(z)) <= 5e-7);
            assert_true(fabs(one_value(t, DFI_ACT_GELU_TANH, values[i]) - gelu_tanh(z)) <= 3 * unit);
            assert_true(fabs(one_slope(t, DFI_ACT_GELU_TANH, values[i]) - gelu_tanh_slope(z)) <= 5e-7);
            assert_true(one_value(t, DFI_ACT_RELU, values[i]) == (z > 0 ? values[i] : 0));
            assert_true(one_slope(t, DFI_ACT_RELU, values[i]) == (z > 0 ? 1 : 0));
        }
        for (int act = DFI_ACT_GELU; act <= DFI_ACT_GELU_TANH; act++) {
            assert_true(one_value(t, (enum dfi_act)act, INFINITY) == INFINITY);
            assert_true(one_slope(t, (enum dfi_act)act, INFINITY) == 1);
            assert_true(fabsf(one_slope(t, (enum dfi_act)act, -INFINITY)) <= 1e-7f);
            assert_true(isnan(one_value(t, (enum dfi_act)act, NAN)));
        }
        /* z Phi(z) is taken as a product: -inf times zero. */
        assert_true(!(one_value(t, DFI_ACT_GELU, -INFINITY) > 0));
        assert_true(isnan(one_slope(t, DFI_ACT_GELU, NAN)) && isnan(one_slope(t, DFI_ACT_SILU, NAN)));
        assert_true(one_slope(t, DFI_ACT_RELU, NAN) == 1); /* the gradient passes, as in other libraries */
    }
}

static int set_up(void **state)
{
    (void)state;
    table_count = kc_list_tables(tables);
    oracle = dfi_kernels_get(0, DIFFC_F64);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moments), cmocka_unit_test(test_norms),    cmocka_unit_test(test_activations),
        cmocka_unit_test(test_affine2), cmocka_unit_test(test_accuracy), cmocka_unit_test(test_special_values)
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
