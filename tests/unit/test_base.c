#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <diffc/diffc.h>

#include "base/checked.h"
#include "base/random.h"
#include "base/registry.h"
#include "base/status.h"

static void test_checked_sizes(void **state)
{
    size_t result = 7;
    (void)state;
    assert_int_equal(dfi_ck_mul(SIZE_MAX / 2, 2, &result), 0);
    assert_true(result == SIZE_MAX - 1);
    assert_int_equal(dfi_ck_mul(SIZE_MAX / 2 + 1, 2, &result), -1);
    assert_int_equal(dfi_ck_add(SIZE_MAX, 0, &result), 0);
    assert_int_equal(dfi_ck_add(SIZE_MAX, 1, &result), -1);
    assert_int_equal(dfi_ck_range(5, 5, 10), 0);
    assert_int_equal(dfi_ck_range(10, 0, 10), 0);
    assert_int_equal(dfi_ck_range(5, 6, 10), -1);
    assert_int_equal(dfi_ck_range(11, 0, 10), -1);
    assert_int_equal(dfi_ck_range(2, SIZE_MAX, 10), -1);
    /* this product is 4 modulo 2^64 */
    const int64_t wraps[] = { 4194305, 4194305, 211106198978564 };
    assert_int_equal(dfi_ck_product(wraps, 3, &result), -1);
    const int64_t zero[] = { INT64_MAX, 0, 3 }, negative[] = { 3, -1 };
    assert_int_equal(dfi_ck_product(zero, 2, &result), 0);
    assert_int_equal(result, 0);
    assert_int_equal(dfi_ck_product(negative, 2, &result), -1);
    assert_int_equal(dfi_ck_product(NULL, 0, &result), 0);
    assert_int_equal(result, 1);
}

static void test_message_is_one_line(void **state)
{
    char longer[2000];
    (void)state;
    assert_int_equal(dfi_fail(DIFFC_ERR_ARG, "a\nb\tc\x01%s", "d\x7f"), DIFFC_ERR_ARG);
    assert_string_equal(diffc_message(), "a b c?d?");
    assert_int_equal(dfi_fail_in(DIFFC_ERR_IO, "file \"%s\"", "x"), DIFFC_ERR_IO);
    assert_string_equal(diffc_message(), "file \"x\": a b c?d?");
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    dfi_fail(DIFFC_ERR_ARG, "%s", longer);
    assert_int_equal(strlen(diffc_message()), 511);
    /* a sequence that is cut leaves no broken character */
    memcpy(longer + 510, "\xe2\x82\xac", 3);
    dfi_fail(DIFFC_ERR_ARG, "%s", longer);
    assert_int_equal(strlen(diffc_message()), 510);
    /* the message as its own argument */
    dfi_fail(DIFFC_ERR_ARG, "inner");
    dfi_fail(DIFFC_ERR_ARG, "outer %s", diffc_message());
    assert_string_equal(diffc_message(), "outer inner");
}

static void test_status_names(void **state)
{
    (void)state;
    assert_string_equal(diffc_status_name(DIFFC_OK), "DIFFC_OK");
    assert_string_equal(diffc_status_name(DIFFC_ERR_FORMAT), "DIFFC_ERR_FORMAT");
    assert_string_equal(diffc_status_name(DIFFC_ERR_STATE), "DIFFC_ERR_STATE");
    const int others[] = { 1, -15, DIFFC_STATUS_MIN, 2147483647 };
    for (int i = 0; i < 4; i++)
        assert_string_equal(diffc_status_name(others[i]), "unknown status");
    assert_string_equal(diffc_version(), DIFFC_VERSION_TEXT);
    assert_int_equal(diffc_abi_version(), DIFFC_ABI_VERSION);
}

static void test_registries_can_be_listed(void **state)
{
    const char *name = NULL, *description = NULL;
    (void)state;
    for (int registry = DIFFC_REGISTRY_SCHEDULE; registry <= DIFFC_REGISTRY_MASK; registry++) {
        int count = 0;
        while (diffc_registry_entry(registry, count, &name, &description) == DIFFC_OK) {
            assert_true(name[0] && description[0]);
            count++;
        }
        assert_in_range(count, 1, 100);
        assert_int_equal(diffc_registry_entry(registry, -1, &name, &description), DIFFC_ERR_ARG);
    }
    assert_int_equal(diffc_registry_entry(0, 0, &name, &description), DIFFC_ERR_ARG);
    assert_int_equal(diffc_registry_entry(DIFFC_REGISTRY_MASK + 1, 0, &name, &description), DIFFC_ERR_ARG);
    assert_int_equal(diffc_registry_entry(1, 0, NULL, NULL), DIFFC_OK);
}

static void test_registry_find(void **state)
{
    static const struct {
        struct dfi_entry entry;
        int value;
    } table[] = { { { "one", "first" }, 1 }, { { "two", "second" }, 2 } };
    (void)state;
    assert_ptr_equal(dfi_registry_find(table, sizeof(table[0]), 2, "number", "two"), &table[1]);
    assert_null(dfi_registry_find(table, sizeof(table[0]), 2, "number", "three"));
    assert_string_equal(diffc_message(), "unknown number \"three\"; known: one, two");
    assert_null(dfi_registry_find(table, sizeof(table[0]), 2, "number", NULL));
}

static void test_philox_known_answers(void **state)
{
    static const uint32_t zeros[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
    static const uint32_t ones[4] = { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd };
    uint32_t words[4];
    (void)state;
    dfi_philox(0, 0, 0, words);
    assert_memory_equal(words, zeros, sizeof(words));
    dfi_philox(UINT64_MAX, UINT64_MAX, UINT64_MAX, words);
    assert_memory_equal(words, ones, sizeof(words));
}

static void check_splits(void (*fill)(uint64_t, uint64_t, uint64_t, float *, size_t), uint64_t first)
{
    enum { COUNT = 1500 };
    float whole[COUNT], parts[COUNT];
    fill(5, 6, first, whole, COUNT);
    for (size_t step = 1; step < 700; step = step * 2 + 1) {
        memset(parts, 0, sizeof(parts));
        for (size_t i = 0; i < COUNT; i += step)
            fill(5, 6, first + i, parts + i, COUNT - i < step ? COUNT - i : step);
        assert_memory_equal(whole, parts, sizeof(whole));
    }
}

static void test_fills_do_not_depend_on_the_split(void **state)
{
    static const uint64_t firsts[] = { 0, 1, 255, 1023, (uint64_t)1 << 40, UINT64_MAX - 700 };
    (void)state;
    for (int i = 0; i < 6; i++) {
        check_splits(dfi_uniform_fill, firsts[i]);
        check_splits(dfi_normal_fill, firsts[i]);
    }
}

static void test_uniforms(void **state)
{
    enum { COUNT = 1 << 18 };
    float *values = malloc(COUNT * sizeof(*values));
    double sum = 0, squares = 0;
    (void)state;
    dfi_uniform_fill(1, 2, 3, values, COUNT);
    for (int i = 0; i < COUNT; i++) {
        assert_true(values[i] >= 0.0f && values[i] < 1.0f && fmodf(values[i], 0x1p-24f) == 0.0f);
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    assert_true(values[100] == dfi_uniform_at(1, 2, 103));
    assert_true(fabs(sum / COUNT - 0.5) < 3e-3); /* 5 standard errors */
    assert_true(fabs(squares / COUNT - 1.0 / 3) < 3e-3);
    free(values);
}

/* Box-Muller in double from the same words. */
static void exact_pair(uint64_t seed, uint64_t index, double pair[2])
{
    uint32_t words[4];
    dfi_philox(seed, 9, index / 4, words);
    const uint32_t *word = words + index % 4;
    const double radius = sqrt(-2.0 * log(((double)(word[0] >> 1) + 0.5) * 0x1p-31));
    const double angle = 6.283185307179586 * word[1] * 0x1p-32;
    pair[0] = radius * cos(angle);
    pair[1] = radius * sin(angle);
}

static void test_normals(void **state)
{
    enum { COUNT = 1 << 20 };
    float *values = malloc(COUNT * sizeof(*values));
    double moments[5] = { 0 }, worst = 0;
    int beyond_three = 0;
    (void)state;
    dfi_normal_fill(7, 9, 0, values, COUNT);
    for (int i = 0; i < COUNT; i++) {
        double power = 1;
        for (int k = 1; k < 5; k++)
            moments[k] += power *= values[i];
        beyond_three += fabsf(values[i]) > 3.0f;
    }
    for (int i = 0; i < COUNT; i += 2) {
        double pair[2];
        exact_pair(7, (uint64_t)i, pair);
        worst = fmax(worst, fmax(fabs(pair[0] - values[i]), fabs(pair[1] - values[i + 1])));
    }
    print_message("normals: largest error against double %.2g\n", worst);
    assert_true(worst < 5e-5); /* close to radius 0, where u is near 1 in float */
    assert_true(fabs(moments[1] / COUNT) < 5e-3);
    assert_true(fabs(moments[2] / COUNT - 1) < 7e-3);
    assert_true(fabs(moments[3] / COUNT) < 2e-2);
    assert_true(fabs(moments[4] / COUNT - 3) < 5e-2);
    assert_in_range(beyond_three, 2600, 3060); /* 0.0027 of them, 4 standard errors */
    free(values);
}

static void check_permutation(uint64_t count)
{
    unsigned char *seen = calloc(1, count + 1);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t at = dfi_permute(180, dfi_stream(DFI_STREAM_SHUFFLE, 3), count, i);
        assert_true(at < count && !seen[at]);
        seen[at] = 1;
    }
    free(seen);
}

static void test_permutations(void **state)
{
    (void)state;
    for (uint64_t count = 1; count < 70; count++)
        check_permutation(count);
    check_permutation(1000);
    check_permutation(4096);
    check_permutation(4097);
    check_permutation(60000);
    const uint64_t large = (uint64_t)1 << 63;
    for (uint64_t i = 0; i < 100; i++)
        assert_true(dfi_permute(1, 2, large + 5, i) < large + 5);
}

/* Over many streams every element comes to every place about as often. */
static void test_permutations_are_even(void **state)
{
    int counts[6][6] = { { 0 } };
    (void)state;
    for (uint64_t stream = 0; stream < 6000; stream++)
        for (uint64_t i = 0; i < 6; i++)
            counts[i][dfi_permute(4, stream, 6, i)]++;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
            assert_in_range(counts[i][j], 830, 1170); /* 6 standard deviations */
}

/* torch.manual_seed(seed), then torch.randn() of each count, PyTorch 2.13 on a CPU. */
static void test_torch_randn(void **state)
{
    static const int counts_a[] = { 5, 4, 16, 3 };
    static const float values_a[] = {
        1.5409960747f, -0.2934288979f, -2.1787893772f, 0.5684312582f,  -1.0845223665f, -1.3985954523f,
        0.4033468366f, 0.8380263448f,  -0.7192575932f, 0.5988394618f,  -1.5550950766f, -0.3413603902f,
        1.8530061245f, 0.4680964053f,  -0.1577124447f, 1.4436601400f,  0.2660494149f,  1.3893661499f,
        1.5863342285f, 0.9462983608f,  -0.8436767459f, 0.9318265915f,  1.2590092421f,  2.0049805641f,
        0.0537369028f, -0.4033435285f, -0.8919953108f, -1.5091077089f,
    };
    static const int counts_b[] = { 37, 2 };
    static const float values_b[] = {
        0.2039221972f,  0.5402075648f,  0.9262602329f,  -0.2467287779f, -0.0869109705f, -0.9094592333f,
        -1.4159705639f, -1.5914257765f, 0.2757405937f,  -0.1441620886f, -0.3488547206f, -0.8926749825f,
        -1.1148147583f, 0.7799095511f,  -0.2058916092f, -0.8490267396f, -0.4216286838f, 1.3439416885f,
        1.6439839602f,  0.7056314349f,  0.0928060412f,  -1.3215688467f, 1.1966631413f,  1.1454267502f,
        -0.5134922862f, -0.8487958908f, -0.4869152010f, -0.7630889416f, -0.8589780331f, -0.8930125833f,
        0.5243440270f,  0.3704500496f,  -0.0005979743f, -1.7442718744f, 0.1702179909f,  -1.1840331554f,
        -0.7250329852f, -1.6407514811f, 0.4251325130f,
    };
    static const struct {
        uint32_t seed;
        int calls;
        const int *counts;
        const float *values;
    } cases[] = { { 0, 4, counts_a, values_a }, { 180, 2, counts_b, values_b } };
    struct dfi_mt19937 generator;
    float values[64];
    (void)state;
    for (int c = 0; c < 2; c++) {
        const float *expected = cases[c].values;
        dfi_mt19937_seed(&generator, cases[c].seed);
        for (int i = 0; i < cases[c].calls; expected += cases[c].counts[i++]) {
            dfi_mt19937_randn(&generator, values, (size_t)cases[c].counts[i]);
            for (int k = 0; k < cases[c].counts[i]; k++)
                assert_true(fabsf(values[k] - expected[k]) < 1e-6f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checked_sizes),
        cmocka_unit_test(test_message_is_one_line),
        cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_registries_can_be_listed),
        cmocka_unit_test(test_registry_find),
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_fills_do_not_depend_on_the_split),
        cmocka_unit_test(test_uniforms),
        cmocka_unit_test(test_normals),
        cmocka_unit_test(test_permutations),
        cmocka_unit_test(test_permutations_are_even),
        cmocka_unit_test(test_torch_randn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
