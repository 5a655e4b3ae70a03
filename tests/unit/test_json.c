/* What is no JSON (row J1 of the table of hostile inputs): every kind of wrong syntax is refused with its
 * line and column. Limits of depth and numbers, and how values look in messages. */

#include "io_case.h"

#include "io/json.h"

static const struct dfi_json_limits limits = { 16, 100, 1000 };

static int parse(const char *text, size_t size)
{
    struct json_t *root = NULL;
    const int status = dfi_json_parse("x.json", text, size, &limits, &root);
    assert_int_equal(status == DIFFC_OK, root != NULL);
    dfi_json_free(root);
    return status;
}

static void check_refused(const char *text, size_t size)
{
    /* on the third line, and cut to its size on the heap, so that a byte too many is seen */
    struct bytes whole = { 0 };
    bytes_text(&whole, "{\"a\":\n[\n");
    bytes_put(&whole, text, size);
    bytes_text(&whole, "]}");
    struct bytes alone = { 0 };
    bytes_put(&alone, text, size);
    const int status = parse((char *)alone.data, alone.size);
    if (status != DIFFC_ERR_FORMAT || strncmp(diffc_message(), "x.json: line ", 13) != 0)
        fail_msg("%s: %s: %s", text, diffc_status_name(status), diffc_message());
    assert_non_null(strstr(diffc_message(), ", column "));
    assert_null(strchr(diffc_message(), '\n'));
    if (parse((char *)whole.data, whole.size) == DIFFC_OK)
        fail_msg("%s: accepted inside a document", text);
    bytes_free(&alone);
    bytes_free(&whole);
}

static void test_j1_values(void **state)
{
    static const char *const values[] = {
        /* numbers */
        "[+1]",
        "[-]",
        "[--1]",
        "[- 1]",
        "[01]",
        "[-01]",
        "[-012]",
        "[00]",
        "[.5]",
        "[-.5]",
        "[1.]",
        "[2.e3]",
        "[0.e1]",
        "[0e]",
        "[0E+]",
        "[1e]",
        "[1e+]",
        "[1.0e-]",
        "[1eE2]",
        "[1e1.5]",
        "[0x1F]",
        "[0x]",
        "[1_000]",
        "[1 000]",
        "[1,000.5.1]",
        "[1.2.3]",
        "[1a]",
        "[1.1a]",
        "[2@]",
        "[Infinity]",
        "[-Infinity]",
        "[+Infinity]",
        "[Inf]",
        "[NaN]",
        "[-NaN]",
        "[nan]",
        "[1e99999]",
        "[-1e99999]",
        "[18446744073709551616]",
        "[-9223372036854775809]",
        "[\xEF\xBC\x91]",
        "[0.1\xE2\x82\xAC]",
        /* words */
        "[nul]",
        "[nulll]",
        "[tru]",
        "[True]",
        "[TRUE]",
        "[fals]",
        "[false1]",
        "[None]",
        "[undefined]",
        "[a]",
        "[*]",
        "[&]",
        "[<null>]",
        /* strings */
        "[\"]",
        "[\"a]",
        "[a\"]",
        "['a']",
        "[`a`]",
        "[\"a\nb\"]",
        "[\"a\tb\"]",
        "[\"\x1F\"]",
        "[\"\\x41\"]",
        "[\"\\a\"]",
        "[\"\\0\"]",
        "[\"\\\"]",
        "[\"\\u\"]",
        "[\"\\u12\"]",
        "[\"\\u00g0\"]",
        "[\"\\U0041\"]",
        "[\"\\ud800\"]",
        "[\"\\ud800\\u0041\"]",
        "[\"\\udc00\"]",
        "[\"\\ud800\\ud800\"]",
        "[\"\\u0000\"]",
        "[\\n]",
        "[\"\\uD834\\uDd\"]",
        "[\"\\\xC3\xA5\"]",
        "[\"a\"b]",
        "[\"a\" \"b\"]",
        /* not UTF-8 */
        "[\"\x80\"]",
        "[\"\xC0\xAF\"]",
        "[\"\xE0\x80\xAF\"]",
        "[\"\xED\xA0\x80\"]",
        "[\"\xF4\x90\x80\x80\"]",
        "[\"\xF8\x88\x80\x80\x80\"]",
        "[\"\xE2\x82\"]",
        "[\"\xFF\"]",
        "[\xFF]",
        "\xFF\xFE[\0]",
        "\xEF\xBB\xBF{}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        check_refused(values[i], strlen(values[i]));
}

static void test_j1_structure(void **state)
{
    static const char *const texts[] = {
        /* nothing, and more than one thing */
        "",
        " ",
        "\n\n",
        "[][]",
        "[]]",
        "{}}",
        "{} []",
        "{}x",
        "[1]x",
        "{},",
        "[],",
        "1 2",
        "]",
        "}",
        ",",
        ":",
        /* a value that is neither object nor array */
        "1",
        "\"a\"",
        "true",
        "null",
        "nul",
        "abc",
        /* arrays */
        "[",
        "[1",
        "[1,",
        "[\"a\",",
        "[,",
        "[,1]",
        "[1,,2]",
        "[1,]",
        "[1,,]",
        "[,]",
        "[1 2]",
        "[1:2]",
        "[\"a\":1]",
        "[1;2]",
        "[}",
        "[1}",
        "[[]",
        "[{]}",
        "[\"\",",
        "[ , \"\"]",
        "[x",
        "[3[4]]",
        "[1]]",
        "[\n,",
        /* objects */
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{,}",
        "{\"a\"}",
        "{\"a\",1}",
        "{\"a\" 1}",
        "{\"a\"::1}",
        "{:1}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1,,}",
        "{\"a\":1,,\"b\":2}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1;}",
        "{a:1}",
        "{'a':1}",
        "{1:1}",
        "{null:1}",
        "{[]:1}",
        "{{}:1}",
        "{\"a\":1]",
        "{\"a\":1}}",
        "{\"a\":1}#",
        "{\"a\":1}/",
        "{\"a\":1, \"a\":2}",
        "{\"\":1, \"\":1}",
        "{\"a\\u0000b\":1}",
        "{\"\xF0\x9F\":1}",
        "{\"a\":b}",
        "{\"a\": 1 true}",
        "{\"a\":\"a\" 123}",
        "{\"a\":/**/1}",
        /* comments, and spaces that JSON has not */
        "[1] // x",
        "[/* x */ 1]",
        "# x\n[]",
        "<!-- x -->[]",
        "[1\f]",
        "[\v1]",
        "[\xC2\xA0]",
        "[\xE2\x81\xA0]",
        "\xE2\x80\xA8[]",
        "[1\b]",
        /* other languages */
        "---\na: 1\n",
        "<a/>",
        "a = 1",
        "{\"a\": (1)}",
        "import os",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const int status = parse(texts[i], strlen(texts[i]));
        if (status != DIFFC_ERR_FORMAT || !strstr(diffc_message(), "x.json: line ") ||
            !strstr(diffc_message(), ", column "))
            fail_msg("%s: %s: %s", texts[i], diffc_status_name(status), diffc_message());
    }
    check_refused("[1\0]", 4);
    check_refused("[\"\0\"]", 5);
    assert_int_equal(parse("[1]\0", 4), DIFFC_ERR_FORMAT);
}

static void test_valid(void **state)
{
    static const char *const texts[] = {
        "{}",
        " [ ] ",
        "\t\r\n{\"\":[]}\n",
        "[-0, 0, 1e5, 1E+5, 1.5e-5, 9223372036854775807]",
        "[\"\\ud834\\udd1e\\/\\b\\f\\n\\r\\t\\u00e9\", \"\xF0\x9F\x98\x80\xC2\xA0\x7F\"]",
        "{\"a\":{\"a\":{\"a\":null}}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (parse(texts[i], strlen(texts[i])) != DIFFC_OK)
            fail_msg("%s: %s", texts[i], diffc_message());
}

/* Each limit, and one more. */
static void test_limits(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct bytes deep = { 0 }, many = { 0 }, members = { 0 };
        bytes_fill(&deep, '[', 16 + (size_t)over);
        bytes_fill(&deep, ']', 16 + (size_t)over);
        assert_int_equal(parse((char *)deep.data, deep.size), over ? DIFFC_ERR_FORMAT : DIFFC_OK);
        if (over)
            assert_non_null(strstr(diffc_message(), "byte 16: nested more than 16 deep"));
        bytes_text(&many, "[0");
        for (int i = 0; i < 998 + over; i++)
            bytes_text(&many, ",0");
        bytes_text(&many, "]");
        assert_int_equal(parse((char *)many.data, many.size), over ? DIFFC_ERR_LIMIT : DIFFC_OK);
        bytes_text(&members, "{\"0\":[{");
        for (int i = 1; i < 100 + over; i++) {
            char text[16];
            snprintf(text, sizeof(text), "%s\"%d\":0", i > 1 ? "," : "", i);
            bytes_text(&members, text);
        }
        bytes_text(&members, "}]}");
        assert_int_equal(parse((char *)members.data, members.size), over ? DIFFC_ERR_LIMIT : DIFFC_OK);
        bytes_free(&deep);
        bytes_free(&many);
        bytes_free(&members);
    }
    struct bytes bomb = { 0 };
    bytes_fill(&bomb, '[', 1000000);
    assert_int_equal(parse((char *)bomb.data, bomb.size), DIFFC_ERR_FORMAT);
    bytes_free(&bomb);
}

static void test_text(void **state)
{
    static const char text[] = "[7, -1.5, \"a\", true, false, null, [1, 2], {\"a\": 1}, 1e300,"
                               " \"0123456789012345678901234567890123456789012345\"]";
    static const char *const wanted[] = { "7",    "-1.5",        "\"a\"",     "true",   "false",
                                          "null", "a list of 2", "an object", "1e+300", "\"0123456789" };
    struct json_t *root = NULL;
    char shown[64];
    (void)state;
    assert_int_equal(dfi_json_parse("x.json", text, strlen(text), &limits, &root), DIFFC_OK);
    for (size_t i = 0; i < 9; i++)
        assert_string_equal(dfi_json_text(dfi_json_at(root, i), shown, sizeof(shown)), wanted[i]);
    assert_memory_equal(dfi_json_text(dfi_json_at(root, 9), shown, sizeof(shown)), wanted[9], 11);
    assert_non_null(strstr(shown, "...\""));
    assert_string_equal(dfi_json_text(NULL, shown, sizeof(shown)), "missing");
    dfi_json_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_j1_values), cmocka_unit_test(test_j1_structure), cmocka_unit_test(test_valid),
        cmocka_unit_test(test_limits),    cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
