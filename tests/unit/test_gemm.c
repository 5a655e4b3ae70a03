/* Matrix products against plain sums in double, and their promises about bits. */

#include <math.h>
#include <pthread.h>
#include <stdio.h>

#include "kernel/gemm.h"
#include "kernel/gemm_wide.h"
#include "kernel_case.h"
#include "tensor/tensor.h"

#define THREADS 4

struct product {
    struct dfi_gemm args;
    struct kc_array a, b, c;
    int dtype;
};

/* Strides of a rows x columns matrix: by rows, by columns or with gaps in both directions; returns its
 * elements. */
static size_t choose_strides(uint64_t *state, size_t rows, size_t columns, ptrdiff_t *row, ptrdiff_t *column)
{
    const int kind = kc_pick(state, 0, 3), gap = kc_pick(state, 0, 1) * kc_pick(state, 0, 5);
    *column = kind == 1 ? (ptrdiff_t)rows + gap : kind == 2 ? 2 : 1;
    *row = kind == 1 ? 1 : *column * (ptrdiff_t)columns + gap;
    return rows && columns ? (rows - 1) * (size_t)*row + (columns - 1) * (size_t)*column + 1 : 0;
}

static void fill(struct kc_array *matrix, size_t rows, size_t columns, ptrdiff_t row, ptrdiff_t column,
                 uint64_t *state)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            kc_set(matrix, i * (size_t)row + j * (size_t)column, (float)(2 * kc_random(state) - 1));
}

static struct product make_product(int dtype, size_t m, size_t n, size_t k, int accumulate, uint64_t *state)
{
    struct product p = { .args = { .m = m, .n = n, .k = k, .accumulate = accumulate }, .dtype = dtype };
    struct dfi_gemm *g = &p.args;
    p.a = kc_make(dtype, choose_strides(state, m, k, &g->a_row, &g->a_col));
    p.b = kc_make(dtype, choose_strides(state, k, n, &g->b_row, &g->b_col));
    p.c = kc_make(dtype, choose_strides(state, m, n, &g->c_row, &g->c_col));
    fill(&p.a, m, k, g->a_row, g->a_col, state);
    fill(&p.b, k, n, g->b_row, g->b_col, state);
    if (accumulate)
        fill(&p.c, m, n, g->c_row, g->c_col, state);
    g->a = p.a.p;
    g->b = p.b.p;
    g->c = p.c.p;
    return p;
}

static void free_product(struct product *p)
{
    kc_free(&p->a);
    kc_free(&p->b);
    kc_free(&p->c);
}

static void check_values(const struct product *p, const struct kc_array *before, uint32_t flags)
{
    const struct dfi_gemm *g = &p->args;
    const double unit = p->dtype == DIFFC_F64 ? 0x1p-53 : 0x1p-24;
    unsigned char *used = calloc(p->c.count + 1, 1);
    assert_non_null(used);
    for (size_t i = 0; i < g->m; i++)
        for (size_t j = 0; j < g->n; j++) {
            const size_t at = i * (size_t)g->c_row + j * (size_t)g->c_col;
            double sum = g->accumulate ? kc_get(before, at) : 0, size = fabs(sum);
            for (size_t k = 0; k < g->k; k++) {
                const double term = kc_get(&p->a, i * (size_t)g->a_row + k * (size_t)g->a_col) *
                                    kc_get(&p->b, k * (size_t)g->b_row + j * (size_t)g->b_col);
                sum += term;
                size += fabs(term);
            }
            used[at] = 1;
            if (!(fabs(kc_get(&p->c, at) - sum) <= ((double)g->k + 4) * unit * size))
                fail_msg("flags %x, %zu x %zu x %zu: c[%zu][%zu] is %g, not %g", (unsigned)flags, g->m, g->n,
                         g->k, i, j, kc_get(&p->c, at), sum);
        }
    for (size_t i = 0; i < p->c.count; i++)
        assert_true(used[i] || kc_unset(kc_at(&p->c, i), p->c.size));
    assert_true(kc_intact(&p->c, 0, 0, 0));
    free(used);
}

/* Each row once more, alone and as one of the last few. */
static void check_rows(const struct product *p, const struct kc_array *before, uint32_t flags)
{
    const size_t step = 1 + p->args.m / 7;
    for (size_t i = 0; i < p->args.m; i += step) {
        struct kc_array c = kc_copy(before, p->dtype);
        struct dfi_gemm part = p->args;
        part.a = kc_at(&p->a, i * (size_t)p->args.a_row);
        part.c = kc_at(&c, i * (size_t)p->args.c_row);
        part.m = i % 2 && p->args.m - i > 3 ? 3 : 1;
        dfi_gemm(flags, p->dtype, &part);
        for (size_t r = i; r < i + part.m; r++)
            for (size_t j = 0; j < part.n; j++) {
                const size_t at = r * (size_t)p->args.c_row + j * (size_t)p->args.c_col;
                if (memcmp(kc_at(&c, at), kc_at(&p->c, at), c.size) != 0)
                    fail_msg("flags %x, %zu x %zu x %zu, strides %td %td, %td %td, %td %td: "
                             "row %zu among %zu is %.9g, not %.9g",
                             (unsigned)flags, p->args.m, part.n, part.k, part.a_row, part.a_col, part.b_row,
                             part.b_col, part.c_row, part.c_col, r, part.m, kc_get(&c, at),
                             kc_get(&p->c, at));
            }
        kc_free(&c);
    }
}

static void check_product(int dtype, uint32_t flags, size_t m, size_t n, size_t k, int accumulate,
                          uint64_t seed)
{
    uint64_t state = seed;
    struct product p = make_product(dtype, m, n, k, accumulate, &state);
    struct kc_array before = kc_copy(&p.c, dtype);
    dfi_gemm(flags, dtype, &p.args);
    check_values(&p, &before, flags);
    check_rows(&p, &before, flags);
    kc_free(&before);
    free_product(&p);
}

static void check_everywhere(size_t m, size_t n, size_t k, int accumulate, uint64_t seed)
{
    for (int i = 0; i < KC_TABLES; i++)
        check_product(DIFFC_F32, kc_flags(i), m, n, k, accumulate, seed);
    check_product(DIFFC_F64, 0, m, n, k, accumulate, seed);
}

static void test_random_shapes(void **unused)
{
    static const size_t depths[] = { 0, 1, 2, 3, 16, 63, 64, 65, 130, 300 };
    uint64_t state = 11;
    (void)unused;
    for (uint64_t i = 0; i < 400; i++) {
        const size_t m = (size_t)kc_pick(&state, 0, i % 8 ? 40 : 150);
        const size_t n = (size_t)(i % 3 ? kc_pick(&state, 0, i % 5 ? 40 : 150) : kc_pick(&state, 1, 5));
        const size_t k = i % 4 ? (size_t)kc_pick(&state, 0, 90) : depths[kc_pick(&state, 0, 9)];
        check_everywhere(m, n, k, (int)(i & 1), i);
    }
}

/* Beyond the block sizes: several panels of k, of rows and of columns. */
static void test_large(void **unused)
{
    static const size_t shapes[][3] = {
        { 500, 33, 9 }, { 13, 35, 1200 }, { 200, 5, 800 }, { 6, 4100, 17 }, { 1, 1, 5000 }
    };
    (void)unused;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        for (uint64_t seed = 0; seed < 4; seed++)
            check_everywhere(shapes[i][0], shapes[i][1], shapes[i][2], (int)(seed & 1), seed);
}

struct worker {
    pthread_t thread;
    uint32_t flags;
    struct product product;
};

static void *run_often(void *argument)
{
    struct worker *w = argument;
    for (int i = 0; i < 20; i++)
        dfi_gemm(w->flags, DIFFC_F32, &w->product.args);
    return NULL;
}

static void test_threads(void **unused)
{
    (void)unused;
    for (int table = 0; table < KC_TABLES; table++)
        for (uint64_t seed = 0; seed < 6; seed++) {
            struct worker workers[THREADS];
            for (int i = 0; i < THREADS; i++) {
                uint64_t state = seed;
                workers[i].flags = kc_flags(table);
                workers[i].product = make_product(DIFFC_F32, 50 + (size_t)seed, 70, 400, 0, &state);
            }
            uint64_t state = seed;
            struct product alone = make_product(DIFFC_F32, 50 + (size_t)seed, 70, 400, 0, &state);
            dfi_gemm(kc_flags(table), DIFFC_F32, &alone.args);
            for (int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&workers[i].thread, NULL, run_often, &workers[i]), 0);
            for (int i = 0; i < THREADS; i++) {
                assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
                assert_true(kc_same(&workers[i].product.c, &alone.c));
                free_product(&workers[i].product);
            }
            free_product(&alone);
        }
}

static void round_to_bf16(struct kc_array *a)
{
    uint16_t *rounded = malloc(a->count * sizeof(*rounded));
    assert_non_null(rounded);
    dfi_convert(DIFFC_F32, a->p, DIFFC_BF16, rounded, a->count);
    dfi_convert(DIFFC_BF16, rounded, DIFFC_F32, a->p, a->count);
    free(rounded);
}

/* Weights of every stored type: the sums, nothing beside them, and the bits of a row alone. */
static void check_wide(uint32_t flags, int dots, int dtype, size_t m, size_t n, size_t k)
{
    uint64_t state = m * 1000003 + n * 1009 + k;
    const ptrdiff_t a_ld = (ptrdiff_t)k + 3, w_ld = (ptrdiff_t)k + 5, c_ld = (ptrdiff_t)n + 2;
    struct kc_array a = kc_make(DIFFC_F32, m * (size_t)a_ld), w = kc_make(DIFFC_F32, n * (size_t)w_ld);
    struct kc_array c = kc_make(DIFFC_F32, m * (size_t)c_ld), alone = kc_make(DIFFC_F32, n);
    float *packed = malloc(dfi_wide_packed(flags, m, k) * sizeof(*packed));
    static float scratch[DFI_WIDE_SCRATCH];
    float *packed_row = malloc(dfi_wide_packed(flags, 1, k) * sizeof(*packed));
    uint32_t *stored = malloc(w.count * sizeof(*stored));
    fill(&a, m, k, a_ld, 1, &state);
    fill(&w, n, k, w_ld, 1, &state);
    if (dots) {
        round_to_bf16(&a);
        round_to_bf16(&w);
    }
    dfi_convert(DIFFC_F32, w.p, dtype, stored, w.count);
    dfi_convert(dtype, stored, DIFFC_F32, w.p, w.count); /* as it was rounded */
    struct kc_array biases = kc_make(DIFFC_F32, n);
    fill(&biases, 1, n, (ptrdiff_t)n, 1, &state);
    const float *bias = k % 2 ? biases.p : NULL;
    const size_t panel = (size_t)dfi_wide_panel(flags, m);
    struct dfi_wide wide = { dots, m, n, k, packed, stored, dtype, w_ld, c.p, c_ld, bias };
    for (size_t p = 0; p * panel < m; p++)
        dfi_wide_pack(flags, dots, a.p, a_ld, m, k, p, packed);
    for (size_t band = 0; band < dfi_wide_bands(n); band++)
        dfi_wide_band(flags, &wide, band, scratch);
    assert_true(kc_intact(&c, m, (int)n, c_ld));
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = bias ? kc_get(&biases, j) : 0, size = fabs(sum);
            for (size_t l = 0; l < k; l++) {
                const double term = kc_get(&a, i * (size_t)a_ld + l) * kc_get(&w, j * (size_t)w_ld + l);
                sum += term;
                size += fabs(term);
            }
            const double found = kc_get(&c, i * (size_t)c_ld + j);
            if (!(fabs(found - sum) <= 0x1p-24 * (double)(k + 2) * size))
                fail_msg("flags %u, dtype %d, %zu x %zu x %zu, at %zu, %zu: %.9g, not %.9g", flags, dtype, m,
                         n, k, i, j, found, sum);
        }
    dfi_wide_pack(flags, dots, (float *)a.p + (ptrdiff_t)(m - 1) * a_ld, a_ld, 1, k, 0, packed_row);
    wide = (struct dfi_wide) { dots, 1, n, k, packed_row, stored, dtype, w_ld, alone.p, (ptrdiff_t)n, bias };
    for (size_t band = 0; band < dfi_wide_bands(n); band++)
        dfi_wide_band(flags, &wide, band, scratch);
    assert_memory_equal(alone.p, (float *)c.p + (ptrdiff_t)(m - 1) * c_ld, n * sizeof(float));
    free(packed);
    free(packed_row);
    free(stored);
    kc_free(&a);
    kc_free(&w);
    kc_free(&biases);
    kc_free(&c);
    kc_free(&alone);
}

static void test_wide(void **unused)
{
    static const size_t shapes[][3] = { { 1, 1, 1 },     { 3, 2, 5 },     { 12, 32, 8 },   { 13, 33, 256 },
                                        { 77, 64, 257 }, { 24, 65, 511 }, { 5, 130, 513 }, { 2, 31, 1000 },
                                        { 7, 70, 2100 }, { 3, 1100, 9 } };
    static const int dtypes[] = { DIFFC_F32, DIFFC_F16, DIFFC_BF16 };
    (void)unused;
    for (int table = 0; table < KC_TABLES; table++)
        for (size_t d = 0; d < 3; d++)
            for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
                for (int dots = 0; dots <= dfi_wide_has_dots(kc_flags(table), shapes[i][2]); dots++)
                    check_wide(kc_flags(table), dots, dtypes[d], shapes[i][0], shapes[i][1], shapes[i][2]);
}

/* Every half and bfloat16 there is, against the conversion of tensors. */
static void test_widen_all(void **unused)
{
    static const int dtypes[] = { DIFFC_F16, DIFFC_BF16 };
    static uint16_t all[65536];
    static float expected[65536], panel[65536];
    (void)unused;
    for (int i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    for (int table = 0; table < KC_TABLES; table++)
        for (int d = 0; d < 2; d++) {
            const struct dfi_kernels *kernels = dfi_kernels_get(kc_flags(table), DIFFC_F32);
            dfi_convert(dtypes[d], all, DIFFC_F32, expected, 65536);
            kernels->widen_panel(all, dtypes[d], 4096, 16, 4096, 16, panel);
            for (int r = 0; r < 16; r++)
                for (int k = 0; k < 4096; k++) {
                    const float found = panel[k * 16 + r], right = expected[r * 4096 + k];
                    assert_true(isnan(right) ? isnan(found) : memcmp(&found, &right, sizeof(found)) == 0);
                }
        }
}

/* Rows, columns and depths that fill no vector: the bits of the plain version, and nothing behind them. */
static void test_widen_shapes(void **unused)
{
    static const int dtypes[] = { DIFFC_F32, DIFFC_F16, DIFFC_BF16 };
    static const int rows[] = { 1, 7, 8, 11, 16, 20, 32 };
    static const size_t depths[] = { 1, 2, 7, 16, 17, 33, 65 };
    uint64_t state = 1;
    (void)unused;
    for (size_t i = 0; i < 7 * 7 * 3; i++) {
        const int count = rows[i % 7], width = count + (int)(i % 3) * 2, dtype = dtypes[i / 49];
        const size_t k = depths[i / 7 % 7], panel = k * (size_t)width;
        struct kc_array values = kc_make(DIFFC_F32, (size_t)count * k);
        struct kc_array expected = kc_make(DIFFC_F32, panel), found = kc_make(DIFFC_F32, panel);
        uint16_t *stored = malloc(values.count * sizeof(float));
        fill(&values, (size_t)count, k, (ptrdiff_t)k, 1, &state);
        dfi_convert(DIFFC_F32, values.p, dtype, stored, values.count);
        for (int table = 0; table < KC_TABLES; table++) {
            struct kc_array *to = table ? &found : &expected;
            dfi_kernels_get(kc_flags(table), DIFFC_F32)
                ->widen_panel(stored, dtype, (ptrdiff_t)k, count, k, width, to->p);
            assert_true(kc_intact(to, 1, (int)panel, (ptrdiff_t)panel));
            assert_memory_equal(to->p, expected.p, panel * sizeof(float));
        }
        free(stored);
        kc_free(&values);
        kc_free(&expected);
        kc_free(&found);
    }
}

static void test_prepare(void **unused)
{
    (void)unused;
    for (int i = 0; i < KC_TABLES; i++) {
        const char *name = dfi_gemm_prepare(kc_flags(i));
        assert_non_null(name);
        assert_true(strlen(name) > 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_shapes), cmocka_unit_test(test_large), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_prepare),       cmocka_unit_test(test_wide),  cmocka_unit_test(test_widen_all),
        cmocka_unit_test(test_widen_shapes)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
