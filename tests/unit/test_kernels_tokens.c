/* Kernels of attention, gates and RMS norm: each table against the one in double. */

#include <math.h>
#include <stdio.h>

#include "kernel_case.h"

static const struct dfi_kernels *tables[KC_TABLES];
static int table_count;
static const struct dfi_kernels *oracle;

enum { WITH_BIAS = 1, WITH_MASK = 2, MASK_ALL = 4 };

struct scores {
    size_t rows;
    int c;
    ptrdiff_t ldx, ldb;
    struct kc_array x, bias, mask;
};

static struct scores make_scores(size_t rows, int c, int with, uint64_t *state)
{
    struct scores s = {
        .rows = rows, .c = c, .ldx = c + kc_pick(state, 0, 9), .ldb = c + kc_pick(state, 0, 9)
    };
    s.x = kc_make(DIFFC_F32, rows * (size_t)s.ldx);
    s.bias = kc_make(DIFFC_F32, rows * (size_t)s.ldb);
    s.mask = kc_make(DIFFC_F32, (size_t)c);
    kc_fill(&s.x, rows, c, s.ldx, state);
    kc_fill(&s.bias, rows, c, s.ldb, state);
    for (int i = 0; i < c; i++)
        kc_set(&s.mask, (size_t)i, with & MASK_ALL ? 0 : kc_pick(state, 0, 1));
    return s;
}

static void free_scores(struct scores *s)
{
    kc_free(&s->x);
    kc_free(&s->bias);
    kc_free(&s->mask);
}

static void run_softmax(const struct dfi_kernels *table, int dtype, const struct scores *s, int with,
                        struct kc_array *out)
{
    struct kc_array bias = kc_copy(&s->bias, dtype), mask = kc_copy(&s->mask, dtype);
    *out = kc_copy(&s->x, dtype);
    table->attention_softmax(out->p, s->ldx, s->rows, s->c, 0.75, with & WITH_BIAS ? bias.p : NULL, s->ldb,
                             with & WITH_MASK ? mask.p : NULL);
    kc_free(&bias);
    kc_free(&mask);
}

static void expect_close(const struct scores *s, const char *what, int t, const struct kc_array *found,
                         const struct kc_array *right, double bound)
{
    if (!kc_intact(found, s->rows, s->c, s->ldx))
        fail_msg("%s, %s, %zu rows of %d: wrote beside", tables[t]->name, what, s->rows, s->c);
    for (size_t r = 0; r < s->rows; r++)
        for (int i = 0; i < s->c; i++) {
            const size_t at = r * (size_t)s->ldx + (size_t)i;
            const double value = kc_get(found, at), expected = kc_get(right, at);
            if (!(fabs(value - expected) <= bound * (1e-3 + fabs(expected))))
                fail_msg("%s, %s, %zu rows of %d, at %zu, %d: %.9g, not %.9g", tables[t]->name, what, s->rows,
                         s->c, r, i, value, expected);
            if (expected == 0 && value != 0)
                fail_msg("%s, %s: a key that takes no part has %.9g", tables[t]->name, what, value);
        }
}

static void check_softmax(size_t rows, int c, int with)
{
    uint64_t state = (uint64_t)c * 100 + rows;
    struct scores s = make_scores(rows, c, with, &state);
    struct kc_array right, found;
    run_softmax(oracle, DIFFC_F64, &s, with, &right);
    for (int t = 0; t < table_count; t++) {
        run_softmax(tables[t], DIFFC_F32, &s, with, &found);
        expect_close(&s, "attention_softmax", t, &found, &right, 2e-6);
        kc_free(&found);
    }
    kc_free(&right);
    free_scores(&s);
}

/* dp against the oracle's, from the probabilities of the oracle. */
static void check_backward(size_t rows, int c)
{
    uint64_t state = (uint64_t)c * 100 + rows + 7;
    struct scores s = make_scores(rows, c, 0, &state);
    struct kc_array p64, dp64 = kc_copy(&s.bias, DIFFC_F64);
    run_softmax(oracle, DIFFC_F64, &s, 0, &p64);
    struct kc_array p = kc_copy(&p64, DIFFC_F32);
    oracle->attention_softmax_backward(p64.p, s.ldx, dp64.p, s.ldb, rows, c);
    for (int t = 0; t < table_count; t++) {
        struct kc_array dp = kc_copy(&s.bias, DIFFC_F32);
        tables[t]->attention_softmax_backward(p.p, s.ldx, dp.p, s.ldb, rows, c);
        assert_true(kc_intact(&dp, rows, c, s.ldb));
        for (size_t r = 0; r < rows; r++)
            for (int i = 0; i < c; i++) {
                const size_t at = r * (size_t)s.ldb + (size_t)i;
                if (!(fabs(kc_get(&dp, at) - kc_get(&dp64, at)) <= 4e-6))
                    fail_msg("%s, attention_softmax_backward, %d: %.9g, not %.9g", tables[t]->name, c,
                             kc_get(&dp, at), kc_get(&dp64, at));
            }
        kc_free(&dp);
    }
    kc_free(&p);
    kc_free(&p64);
    kc_free(&dp64);
    free_scores(&s);
}

static void test_attention(void **unused)
{
    static const int more[] = { 77, 255, 1024, 1101, 2500 };
    (void)unused;
    for (int i = 1; i <= 70; i++) {
        const int c = i <= 65 ? i : more[i - 66];
        for (int with = 0; with < 4; with++)
            check_softmax((size_t)(i % 4), c, with);
        check_softmax(2, c, WITH_BIAS | WITH_MASK | MASK_ALL);
        check_backward((size_t)(1 + i % 3), c);
    }
}

/* Attention as a whole: queries, keys in two parts, values, bias, mask and the output in one type. */
enum { Q, K, V, MORE_K, MORE_V, BIAS, MASK, Y, ARRAYS };

struct attend_case {
    int with, rows[ARRAYS], columns[ARRAYS];
    ptrdiff_t ld[ARRAYS];
};

static struct attend_case make_case(int queries, int keys, int more, int c, int value_c, int with,
                                    uint64_t *state)
{
    struct attend_case s = { .with = with,
                             .rows = { queries, keys, keys, more, more, queries, 1, queries },
                             .columns = { c, c, value_c, c, value_c, keys + more, keys + more, value_c } };
    for (int i = 0; i < ARRAYS; i++)
        s.ld[i] = s.columns[i] + kc_pick(state, 0, 5);
    return s;
}

static void fill_case(const struct attend_case *s, struct kc_array arrays[ARRAYS], uint64_t *state)
{
    for (int i = 0; i < ARRAYS; i++) {
        arrays[i] = kc_make(DIFFC_F32, (size_t)s->rows[i] * (size_t)s->ld[i]);
        kc_fill(&arrays[i], (size_t)s->rows[i], s->columns[i], s->ld[i], state);
    }
    for (int i = 0; i < s->columns[MASK]; i++)
        kc_set(&arrays[MASK], (size_t)i, s->with & MASK_ALL ? 0 : kc_pick(state, 0, 1));
}

/* Queries first .. first + count - 1 into `y`. */
static void run_attend(const struct dfi_kernels *table, int dtype, const struct attend_case *s,
                       const struct kc_array *arrays, int first, int count, struct kc_array *y)
{
    struct kc_array in[ARRAYS];
    const size_t element = dtype == DIFFC_F64 ? sizeof(double) : sizeof(float);
    const size_t size = dfi_attend_scratch(s->columns[BIAS], s->columns[Q], s->columns[V]);
    struct kc_array scratch = kc_make(dtype, size);
    for (int i = 0; i < ARRAYS; i++)
        in[i] = kc_copy(&arrays[i], dtype);
    const struct dfi_attend_args args = {
        .q = (char *)in[Q].p + (size_t)(first * s->ld[Q]) * element,
        .ldq = s->ld[Q],
        .queries = count,
        .c = s->columns[Q],
        .value_c = s->columns[V],
        .part = { { in[K].p, in[V].p, s->ld[K], s->ld[V], s->rows[K] },
                  { in[MORE_K].p, in[MORE_V].p, s->ld[MORE_K], s->ld[MORE_V], s->rows[MORE_K] } },
        .scale = 0.75,
        .bias = s->with & WITH_BIAS ? (char *)in[BIAS].p + (size_t)(first * s->ld[BIAS]) * element : NULL,
        .ldb = s->ld[BIAS],
        .mask = s->with & WITH_MASK ? in[MASK].p : NULL,
        .y = y->p,
        .ldy = s->ld[Y],
        .scratch = scratch.p,
    };
    table->attend(&args);
    assert_true(kc_intact(&scratch, 1, (int)size, (ptrdiff_t)size));
    kc_free(&scratch);
    for (int i = 0; i < ARRAYS; i++)
        kc_free(&in[i]);
}

static void check_attend(int queries, int keys, int more, int c, int value_c, int with)
{
    uint64_t state = (uint64_t)(((queries * 64 + keys) * 64 + c) * 64 + value_c);
    const struct attend_case s = make_case(queries, keys, more, c, value_c, with, &state);
    struct kc_array arrays[ARRAYS];
    fill_case(&s, arrays, &state);
    struct kc_array right = kc_make(DIFFC_F64, arrays[Y].count), alone = kc_make(DIFFC_F32, arrays[Y].count);
    run_attend(oracle, DIFFC_F64, &s, arrays, 0, queries, &right);
    for (int t = 0; t < table_count; t++) {
        struct kc_array y = kc_make(DIFFC_F32, arrays[Y].count);
        run_attend(tables[t], DIFFC_F32, &s, arrays, 0, queries, &y);
        assert_true(kc_intact(&y, (size_t)queries, value_c, s.ld[Y]));
        for (int n = 0; n < queries; n++)
            for (int i = 0; i < value_c; i++) {
                const size_t at = (size_t)(n * s.ld[Y] + i);
                if (!(fabs(kc_get(&y, at) - kc_get(&right, at)) <= 3e-6))
                    fail_msg("%s, attend, %d queries, %d and %d keys of %d and %d, with %d, at %d, %d: %.9g, "
                             "not %.9g",
                             tables[t]->name, queries, keys, more, c, value_c, with, n, i, kc_get(&y, at),
                             kc_get(&right, at));
            }
        run_attend(tables[t], DIFFC_F32, &s, arrays, queries - 1, 1, &alone);
        assert_memory_equal(alone.p, (float *)y.p + (queries - 1) * s.ld[Y], (size_t)value_c * sizeof(float));
        kc_free(&y);
    }
    for (int i = 0; i < ARRAYS; i++)
        kc_free(&arrays[i]);
    kc_free(&right);
    kc_free(&alone);
}

static void test_attend(void **unused)
{
    uint64_t state = 5;
    (void)unused;
    for (int i = 0; i < 120; i++) {
        const int queries = kc_pick(&state, 1, DFI_ATTEND_QUERIES),
                  keys = kc_pick(&state, 1, i % 8 ? 90 : 400);
        const int more = i % 2 ? kc_pick(&state, 1, 150) : 0;
        check_attend(queries, keys, more, kc_pick(&state, 1, 70), kc_pick(&state, 1, 70), i % 8);
    }
    check_attend(DFI_ATTEND_QUERIES, 77, 1024, 64, 64, 0);
}

/* Scores far apart, and what is not a number. */
static void test_extremes(void **unused)
{
    (void)unused;
    for (int t = 0; t < table_count; t++) {
        float x[19], mask[19];
        for (int i = 0; i < 19; i++) {
            x[i] = i == 3 ? 1e30f : -1e30f * (float)i;
            mask[i] = i != 3;
        }
        tables[t]->attention_softmax(x, 19, 1, 19, 1, NULL, 0, mask);
        assert_true(x[0] == 1 && x[3] == 0 && x[18] < 1e-37f);
        for (int i = 0; i < 19; i++)
            x[i] = i == 17 ? NAN : 0;
        tables[t]->attention_softmax(x, 19, 1, 19, 1, NULL, 0, NULL);
        assert_true(isnan(x[0]) && isnan(x[17]));
        const float q[1] = { 1 }, k[4] = { -1e30f, 1e30f, 0, 1 }, v[4] = { 1, 2, 3, 4 };
        const float not_second[4] = { 1, 0, 1, 1 }, unknown[4] = { 0, NAN, 0, 0 };
        float y[1], scratch[DFI_ATTEND_QUERIES * 7];
        struct dfi_attend_args args = { .q = q,
                                        .queries = 1,
                                        .c = 1,
                                        .value_c = 1,
                                        .part = { { k, v, 1, 1, 4 } },
                                        .scale = 1,
                                        .y = y,
                                        .scratch = scratch };
        tables[t]->attend(&args);
        assert_true(y[0] == 2);
        args.mask = not_second;
        tables[t]->attend(&args);
        assert_true(fabsf(y[0] - 3.7310586f) < 1e-5f);
        const float unclear[4] = { 1, NAN, 1, 1 };
        args.mask = unclear; /* takes a key out as a zero does */
        tables[t]->attend(&args);
        assert_true(fabsf(y[0] - 3.7310586f) < 1e-5f);
        for (int sign = -1; sign <= 1; sign += 2) { /* scores without an end say nothing */
            float row[4], scores[4];
            for (int i = 0; i < 4; i++)
                row[i] = scores[i] = sign * INFINITY;
            args.part[0].k = row;
            args.mask = NULL;
            tables[t]->attend(&args);
            tables[t]->attention_softmax(scores, 4, 1, 4, 1, NULL, 0, NULL);
            assert_true(isnan(y[0]) && isnan(scores[0]) && isnan(scores[3]));
        }
        args.part[0].k = unknown;
        args.mask = NULL;
        tables[t]->attend(&args);
        assert_true(isnan(y[0]));
    }
}

/* Gates of n values and their gradients, written and added. */
static void check_gate(size_t n, enum dfi_act act)
{
    uint64_t state = n * 8 + (uint64_t)act;
    struct kc_array in[3], in64[3], out[3], out64[3];
    for (int i = 0; i < 3; i++) {
        in[i] = kc_make(DIFFC_F32, n);
        kc_fill(&in[i], 1, (int)n, (ptrdiff_t)n, &state);
        in64[i] = kc_copy(&in[i], DIFFC_F64);
    }
    for (int adds = 0; adds < 2; adds++)
        for (int t = 0; t < table_count; t++) {
            for (int i = 0; i < 3; i++) {
                out[i] = kc_copy(&in[i], DIFFC_F32);
                out64[i] = kc_copy(&in[i], DIFFC_F64);
            }
            oracle->gate(in64[0].p, in64[1].p, out64[2].p, n, act);
            tables[t]->gate(in[0].p, in[1].p, out[2].p, n, act);
            oracle->gate_backward(in64[0].p, in64[1].p, in64[2].p, out64[0].p, out64[1].p, n, act, adds,
                                  !adds);
            tables[t]->gate_backward(in[0].p, in[1].p, in[2].p, out[0].p, out[1].p, n, act, adds, !adds);
            for (int i = 0; i < 3; i++) {
                assert_true(kc_intact(&out[i], 1, (int)n, (ptrdiff_t)n));
                for (size_t k = 0; k < n; k++)
                    if (!(fabs(kc_get(&out[i], k) - kc_get(&out64[i], k)) <=
                          2e-5 * (1 + fabs(kc_get(&out64[i], k)))))
                        fail_msg("%s, gate %d, output %d: %.9g, not %.9g", tables[t]->name, act, i,
                                 kc_get(&out[i], k), kc_get(&out64[i], k));
                kc_free(&out[i]);
                kc_free(&out64[i]);
            }
        }
    for (int i = 0; i < 3; i++) {
        kc_free(&in[i]);
        kc_free(&in64[i]);
    }
}

static void check_rms_norm(size_t rows, int c)
{
    uint64_t state = (uint64_t)c * 10 + rows;
    struct scores s = make_scores(rows, c, 0, &state);
    struct kc_array x = kc_copy(&s.x, DIFFC_F64), weight = kc_make(DIFFC_F32, (size_t)c),
                    right = kc_copy(&s.x, DIFFC_F64);
    kc_fill(&weight, 1, c, c, &state);
    struct kc_array weight64 = kc_copy(&weight, DIFFC_F64);
    oracle->rms_norm(x.p, s.ldx, right.p, s.ldx, rows, c, weight64.p, 1e-6);
    for (int t = 0; t < table_count; t++) {
        struct kc_array y = kc_copy(&s.x, DIFFC_F32);
        tables[t]->rms_norm(s.x.p, s.ldx, y.p, s.ldx, rows, c, weight.p, 1e-6);
        expect_close(&s, "rms_norm", t, &y, &right, 1e-6);
        kc_free(&y);
    }
    kc_free(&x);
    kc_free(&weight);
    kc_free(&weight64);
    kc_free(&right);
    free_scores(&s);
}

static void test_gates_and_norms(void **unused)
{
    (void)unused;
    for (int i = 1; i <= 70; i++) {
        for (int act = DFI_ACT_NONE; act <= DFI_ACT_GELU_TANH; act++)
            check_gate((size_t)i, (enum dfi_act)act);
        check_rms_norm((size_t)(i % 4), i == 70 ? 4096 : i);
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_attention), cmocka_unit_test(test_attend),
                                        cmocka_unit_test(test_extremes),
                                        cmocka_unit_test(test_gates_and_norms) };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
