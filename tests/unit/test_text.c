/* The tokenizer: every string of the golden file, the forms of a text, and what the calls promise. */

#include <jansson.h>
#include <time.h>

#include "io_case.h"

static diffc_tokenizer *tokenizer;
static char data_path[512];

static const char *data_file(const char *name)
{
    const char *folder = getenv("DIFFC_TEST_DATA");
    snprintf(data_path, sizeof(data_path), "%s/%s", folder ? folder : "tests/data", name);
    return data_path;
}

static int encode(const char *text, int form, int parse_special, int32_t ids[77])
{
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    int32_t used = -1;
    options.form = form;
    options.parse_special = parse_special;
    assert_int_equal(
        diffc_tokenizer_prompt(tokenizer, text, DIFFC_NUL_TERMINATED, &options, 77, ids, &used, NULL),
        DIFFC_OK);
    return used;
}

static void test_golden(void **state)
{
    json_error_t error;
    json_t *golden = json_load_file(data_file("tok_golden.json"), JSON_ALLOW_NUL, &error), *entry;
    size_t i, k;
    (void)state;
    assert_non_null(golden);
    json_array_foreach (golden, i, entry) {
        const json_t *text = json_object_get(entry, "text"), *ids = json_object_get(entry, "ids");
        diffc_text_options options = DIFFC_TEXT_OPTIONS;
        int32_t found[77], all[512];
        int64_t count = 0;
        options.form = DIFFC_TEXT_RAW;
        assert_int_equal(diffc_tokenizer_prompt(tokenizer, json_string_value(text), json_string_length(text),
                                                &options, 77, found, NULL, NULL),
                         DIFFC_OK);
        for (k = 0; k < 77; k++)
            if (found[k] != json_integer_value(json_array_get(json_object_get(entry, "padded77"), k)))
                fail_msg("text %zu, id %zu: %d", i, k, found[k]);
        assert_int_equal(diffc_tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text),
                                                &options, all, 512, &count),
                         DIFFC_OK);
        assert_int_equal(count, (int64_t)json_array_size(ids) + 1);
        for (k = 0; k < json_array_size(ids); k++)
            assert_int_equal(all[k], json_integer_value(json_array_get(ids, k)));
        assert_int_equal(all[count - 1], 1);
    }
    assert_int_equal(json_array_size(golden), 124);
    json_decref(golden);
}

static void expect_form(const char *text, size_t size, const char *expected)
{
    char out[256];
    size_t count = 0;
    assert_int_equal(diffc_text_prepare(io_context, text, size, NULL, out, sizeof(out), &count), DIFFC_OK);
    assert_int_equal(count, strlen(out));
    assert_string_equal(out, expected);
}

/* What Python makes of it: text.lower().strip(). */
static void test_lower(void **state)
{
    static const char *const cases[][2] = {
        { "", "" },
        { "  A Photo\t\n", "a photo" },
        { "\xC3\x89T\xC3\x89 \xC3\x80", "\xC3\xA9t\xC3\xA9 \xC3\xA0" },
        { "\xC4\xB0stanbul", "i\xCC\x87stanbul" },
        { "\xCE\x9F\xCE\xA3", "\xCE\xBF\xCF\x82" },                                 /* final sigma */
        { "\xCE\xA3\xCE\x91\xCE\xA3\xCE\x91", "\xCF\x83\xCE\xB1\xCF\x83\xCE\xB1" }, /* not final */
        { "\xCE\x91\xCC\x88\xCE\xA3' X", "\xCE\xB1\xCC\x88\xCF\x82' x" },           /* over what is ignored */
        { "\xCE\xA3", "\xCF\x83" },
        { "\xE3\x80\x80\xC2\xA0WORD\xE2\x80\x83", "word" },
        { "\xD0\x96\xD0\xA3\xD0\x9A \xD4\xB1 \xE1\x82\xA0 \xF0\x90\x90\x80",
          "\xD0\xB6\xD1\x83\xD0\xBA \xD5\xA1 \xE2\xB4\x80 \xF0\x90\x90\xA8" },
        { "\xE1\xBA\x9E \xC7\x85 \xE2\x84\xAA", "\xC3\x9F \xC7\x86 k" },
        { "\xE6\x97\xA5\xE6\x9C\xAC", "\xE6\x97\xA5\xE6\x9C\xAC" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_form(cases[i][0], DIFFC_NUL_TERMINATED, cases[i][1]);
    expect_form("A\xFFZ\xC3", 4, "a\xFFz\xC3");
}

static int prepare(const char *text, size_t size, int form, char *out, size_t capacity, size_t *count)
{
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    options.form = form;
    return diffc_text_prepare(io_context, text, size, &options, out, capacity, count);
}

/* What _clean_caption() of diffusers, with ftfy and BeautifulSoup, makes of it twice. */
static void test_clean(void **state)
{
    static const char *const cases[][2] = {
        { "A Photo of a <person>, http://foo.com/a/b-c?x=1 and foo.co.uk",
          "a photo of a person, ?x=1 and uk" },
        { "see www.example.org/x! mail@me.com", "see ! mail" },
        { "<b>Bold</b> &amp; <img src='a>b'>text<!-- no -->&eacute;", "bold text\303\251" },
        { "hello @nick_name \346\227\245\346\234\254 \344\270\255\345\233\275", "hello" },
        { "a\342\200\224\342\200\224b \342\200\234quoted\342\200\235 \302\253x\302\273 "
          "\342\200\230y\342\200\231",
          "a-b \"quoted\" \"x\" 'y" },
        { "ip 192.168.1.1 at 3:45  ", "ip at 3:45" },
        { "one\\ntwo #12 #12345 1234567 123456 12345", "one two 12345" },
        { "look at my_picture.JPG and file.png now", "look at and now" },
        { "\"\"\"loud\"\"\" wait.... what", "\"loud\" wait what" },
        { "***SALE*** (x) [y] {z} | / \\ # \302\256 \342\204\242", "sale x y z" },
        { "a . b", "a b" },
        { "this-is-my-cute-cat", "this is my cute cat" },
        { "this-is_fine-ok", "this-is_fine-ok" },
        { "jc6640 jc6640vc 6640vc231 j2d1a2a", "" },
        { "Worldwide free shipping, free download free", "" },
        { "click for more png images page 12", "" },
        { "poster 12x34 and 1.5\303\2272.5 or 3\321\2052", "poster and or" },
        { "a : b,c.d/e 1,2 3.4", "a: b, c. d e 1,2 3.4" },
        { "'hello world'", "hello world" },
        { "\"hello\"", "hello" },
        { ", hello -", "hello" },
        { "_x:", "x" },
        { ".hidden", "" },
        { "%41+b%20%E6%97%A5 %zz", "a b %zz" },
        { "&lt;b&gt;x&lt;/b&gt; &#233; &#x41;", "x< b> \303\251 a" },
        { "\357\274\246\357\275\225\357\275\214\357\275\214 \357\254\201\357\254\202 \307\204 \342\200\213",
          "full fifl d\305\276 \342\200\213" },
        { "  ", "" },
        { "", "" },
        { "a < b > c", "a < b > c" },
        { "dog&#146;s &#x80;5 &#128;", "dog's \342\202\2545 \342\202\254" },
        { "&copy", "copy" },
        { "x&d", "xd" },
        { "\303\211\303\210 ABC\302\275\342\200\242", "\303\251\303\250 abc" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[256];
        size_t count = 0;
        assert_int_equal(
            prepare(cases[i][0], DIFFC_NUL_TERMINATED, DIFFC_TEXT_CLEAN, out, sizeof(out), &count), DIFFC_OK);
        assert_string_equal(out, cases[i][1]);
    }
}

/* Texts that make patterns go back and forth: each place is tried once. */
static void test_clean_long(void **state)
{
    static const char *const units[] = { "a",  "a.", "<",      "&",  "\"",    "1",
                                         "a1", "-_", "http:/", "x/", "page ", "&#" };
    static char text[65537], out[300000];
    size_t count = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        for (size_t k = 0; k < 65536; k++)
            text[k] = units[i][k % strlen(units[i])];
        assert_int_equal(prepare(text, 65536, DIFFC_TEXT_CLEAN, out, sizeof(out), &count), DIFFC_OK);
    }
}

/* X1: empty prompts are one EOS. */
static void test_x1_empty(void **state)
{
    static const char *const texts[] = { "", " ", " \t \n", "\xE3\x80\x80", "\xE3\x80\x80 \xC2\xA0" };
    int32_t ids[77];
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (int form = DIFFC_TEXT_LOWER; form <= DIFFC_TEXT_CLEAN; form++) {
            assert_int_equal(encode(texts[i], form, 0, ids), 1);
            assert_int_equal(ids[0], 1);
            for (int k = 1; k < 77; k++)
                assert_int_equal(ids[k], 0);
        }
    assert_int_equal(diffc_tokenizer_prompt(tokenizer, NULL, 0, NULL, 77, ids, NULL, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tokenizer_prompt(NULL, "", 0, NULL, 77, ids, NULL, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tokenizer_prompt(tokenizer, "", 0, NULL, 0, ids, NULL, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_tokenizer_prompt(tokenizer, "", 0, NULL, 77, NULL, NULL, NULL), DIFFC_ERR_ARG);
}

/* X2: what is not UTF-8 is an unknown character, byte by byte, or is refused. */
static void test_x2_utf8(void **state)
{
    static const char *const wrong[] = {
        "a\x80z",    "a\xC0\xAFz", "a\xED\xA0\x80z",    "a\xF8\x88\x80\x80\x80z",
        "a\xE2\x82", "\xFF",       "a\xF4\x90\x80\x80z"
    };
    diffc_text_options raw = DIFFC_TEXT_OPTIONS, strict = DIFFC_TEXT_OPTIONS;
    (void)state;
    raw.form = DIFFC_TEXT_RAW;
    strict.strict = 1;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int32_t ids[77], same[77], expected[77];
        char replaced[64] = "";
        for (const char *p = wrong[i]; *p; p++) {
            char next[4] = { *p, 0 };
            strcat(replaced, (unsigned char)*p < 0x80 ? next : "\xE6\x97\xA5"); /* not in the vocabulary */
        }
        assert_int_equal(
            diffc_tokenizer_prompt(tokenizer, wrong[i], DIFFC_NUL_TERMINATED, &raw, 77, ids, NULL, NULL),
            DIFFC_OK);
        assert_int_equal(
            diffc_tokenizer_prompt(tokenizer, replaced, DIFFC_NUL_TERMINATED, &raw, 77, expected, NULL, NULL),
            DIFFC_OK);
        assert_memory_equal(ids, expected, sizeof(ids));
        assert_int_equal(encode(wrong[i], DIFFC_TEXT_LOWER, 0, same),
                         encode(replaced, DIFFC_TEXT_LOWER, 0, expected));
        assert_memory_equal(same, expected, sizeof(same));
        assert_int_equal(
            diffc_tokenizer_prompt(tokenizer, wrong[i], DIFFC_NUL_TERMINATED, &strict, 77, ids, NULL, NULL),
            DIFFC_ERR_FORMAT);
        assert_non_null(strstr(diffc_message(), "UTF-8"));
    }
}

/* X3: a NUL before the end is a character (an unknown one here). */
static void test_x3_nul(void **state)
{
    int32_t ids[77], used = 0, before[77], used_before = 0;
    (void)state;
    assert_int_equal(diffc_tokenizer_prompt(tokenizer, "the\0license", 11, NULL, 77, ids, &used, NULL),
                     DIFFC_OK);
    assert_int_equal(diffc_tokenizer_prompt(tokenizer, "the", 3, NULL, 77, before, &used_before, NULL),
                     DIFFC_OK);
    assert_true(used > used_before + 1);
    assert_int_equal(ids[used_before - 1], 2);
}

/* X4: long texts, in bounded time. */
static void test_x4_long(void **state)
{
    static const struct {
        const char *unit;
        size_t count;
    } texts[] = {
        { "a", 65536 }, { "w", 65536 }, { "\xCC\x88", 32768 }, { "\xEF\xB7\xBA", 21845 }, { "<", 65536 }
    };
    int32_t ids[77];
    int64_t dropped = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct bytes text = { 0 };
        diffc_text_options options = DIFFC_TEXT_OPTIONS;
        options.parse_special = 1;
        for (size_t k = 0; k < texts[i].count; k++)
            bytes_text(&text, texts[i].unit);
        assert_int_equal(diffc_tokenizer_prompt(tokenizer, (char *)text.data, text.size, &options, 77, ids,
                                                NULL, &dropped),
                         DIFFC_OK);
        bytes_fill(&text, 'x', 65537 - text.size);
        assert_int_equal(
            diffc_tokenizer_prompt(tokenizer, (char *)text.data, text.size, NULL, 77, ids, NULL, NULL),
            DIFFC_ERR_LIMIT);
        assert_non_null(strstr(diffc_message(), "text_bytes"));
        bytes_free(&text);
    }
}

/* X4 with limits.text_bytes raised: time and memory grow with the text, and no faster. */
static void test_x4_raised_limit(void **state)
{
    enum { MOST = 10 << 20 };
    static const struct {
        const char *unit;
        int64_t count, dropped;
    } texts[] = {
        { "w", MOST, MOST / 2 - 75 },        /* one word of two letters a piece */
        { "\xCC\x88", 1000000, 0 },          /* all one unknown run */
        { "\xEF\xB7\xBA", 200000, 1199926 }, /* 18 characters each */
        { "</s>", MOST / 4, MOST / 4 - 76 }, /* as special tokens */
    };
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    diffc_limits limits = DIFFC_LIMITS;
    diffc_tokenizer *raised = NULL;
    int32_t ids[77];
    int64_t dropped = 0;
    (void)state;
    limits.text_bytes = MOST;
    options.parse_special = 1;
    diffc_context *context = io_context_new(&limits);
    assert_int_equal(diffc_tokenizer_open(context, data_file("tiny_spiece.model"), &raised), DIFFC_OK);
    char *text = calloc(1, 10 * MOST);
    assert_non_null(text);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const size_t length = strlen(texts[i].unit), size = length * (size_t)texts[i].count;
        const clock_t start = clock();
        for (size_t at = 0; at < size; at += length)
            memcpy(text + at, texts[i].unit, length);
        assert_int_equal(diffc_tokenizer_prompt(raised, text, size, &options, 77, ids, NULL, &dropped),
                         DIFFC_OK);
        assert_int_equal(dropped, texts[i].dropped);
        assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 20); /* some hours, were it quadratic */
    }
    for (int times = 1; times <= 10; times += 9) { /* one byte more, and ten times as much */
        const size_t size = (size_t)MOST * (size_t)times + (times == 1);
        assert_int_equal(diffc_tokenizer_prompt(raised, text, size, &options, 77, ids, NULL, NULL),
                         DIFFC_ERR_LIMIT);
        assert_non_null(strstr(diffc_message(), "limits.text_bytes = 10485760"));
    }
    free(text);
    diffc_release(&raised);
    diffc_release(&context);
}

/* X5: special tokens in a text are plain text unless asked for. */
static void test_x5_special(void **state)
{
    int32_t ids[77];
    const int32_t count = diffc_tokenizer_count(tokenizer);
    (void)state;
    for (int i = 0, used = encode("a </s> <pad> <extra_id_0> \xE2\x96\x81", DIFFC_TEXT_RAW, 0, ids);
         i < used - 1; i++)
        assert_true(ids[i] > 1 && ids[i] < count);
    assert_int_equal(encode("<pad>the</s>", DIFFC_TEXT_RAW, 1, ids), 3);
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[1], 3);
    assert_int_equal(ids[2], 1);
    assert_int_equal(
        encode("<extra_id_0> <extra_id_99><extra_id_100><extra_id_07>", DIFFC_TEXT_RAW, 1, ids) > 4, 1);
    assert_int_equal(ids[0], count + 99);
    assert_int_equal(ids[1], count);
    assert_int_equal(encode("</s>", DIFFC_TEXT_RAW, 1, ids), 1);
    assert_int_equal(encode("", DIFFC_TEXT_RAW, 1, ids), 1);
}

/* X6: a prompt that is too long says how much was cut. */
static void test_x6_truncation(void **state)
{
    char text[1024] = "";
    int32_t ids[77], whole[400], used = 0;
    int64_t dropped = -1, count = 0;
    (void)state;
    for (int i = 0; i < 100; i++)
        strcat(text, "the ");
    assert_int_equal(diffc_tokenizer_encode(tokenizer, text, DIFFC_NUL_TERMINATED, NULL, whole, 400, &count),
                     DIFFC_OK);
    assert_int_equal(
        diffc_tokenizer_prompt(tokenizer, text, DIFFC_NUL_TERMINATED, NULL, 77, ids, &used, &dropped),
        DIFFC_OK);
    assert_int_equal(used, 77);
    assert_int_equal(dropped, count - 77);
    assert_memory_equal(ids, whole, 76 * sizeof(*ids));
    assert_int_equal(ids[76], 1);
    text[4 * 76] = '\0';
    assert_int_equal(
        diffc_tokenizer_prompt(tokenizer, text, DIFFC_NUL_TERMINATED, NULL, 77, ids, &used, &dropped),
        DIFFC_OK);
    assert_int_equal(used, 77);
    assert_int_equal(dropped, 0);
    assert_int_equal(diffc_tokenizer_prompt(tokenizer, "the", 3, NULL, 1, ids, &used, &dropped), DIFFC_OK);
    assert_int_equal(used, 1);
    assert_int_equal(dropped, 1);
    assert_int_equal(ids[0], 1);
}

/* X7: a buffer that is too small learns the count and keeps its contents. */
static void test_x7_small(void **state)
{
    int32_t ids[4] = { -7, -7, -7, -7 };
    int64_t count = 0;
    char out[4] = "xyz";
    size_t bytes = 0;
    (void)state;
    assert_int_equal(diffc_tokenizer_encode(tokenizer, "the the the", 11, NULL, ids, 3, &count),
                     DIFFC_ERR_LIMIT);
    assert_int_equal(count, 4);
    assert_int_equal(ids[0], -7);
    count = 0;
    assert_int_equal(diffc_tokenizer_encode(tokenizer, "the the the", 11, NULL, NULL, 0, &count), DIFFC_OK);
    assert_int_equal(count, 4);
    assert_int_equal(diffc_tokenizer_encode(tokenizer, "the the the", 11, NULL, ids, 4, &count), DIFFC_OK);
    assert_int_equal(ids[3], 1);
    assert_int_equal(diffc_text_prepare(io_context, " Word", 5, NULL, out, 4, &bytes), DIFFC_ERR_LIMIT);
    assert_int_equal(bytes, 4);
    assert_string_equal(out, "xyz");
    assert_int_equal(diffc_tokenizer_encode(tokenizer, "the", 3, NULL, NULL, 4, &count), DIFFC_ERR_ARG);
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    options.form = 99;
    assert_int_equal(diffc_tokenizer_encode(tokenizer, "the", 3, &options, ids, 4, &count), DIFFC_ERR_ARG);
}

static void test_pieces(void **state)
{
    size_t size = 0;
    (void)state;
    assert_string_equal(diffc_tokenizer_piece(tokenizer, 0, NULL), "<pad>");
    assert_string_equal(diffc_tokenizer_piece(tokenizer, 1, &size), "</s>");
    assert_int_equal(size, 4);
    assert_null(diffc_tokenizer_piece(tokenizer, -1, NULL));
    assert_null(diffc_tokenizer_piece(tokenizer, diffc_tokenizer_count(tokenizer), NULL));
    assert_null(diffc_tokenizer_piece(NULL, 0, NULL));
    assert_int_equal(diffc_tokenizer_count(NULL), 0);
}

static int open_and_use(void *work)
{
    const struct bytes *model = work;
    diffc_tokenizer *made = NULL;
    int32_t ids[77];
    int status = diffc_tokenizer_open_memory(io_context, model->data, model->size, &made);
    if (status == DIFFC_OK)
        status = diffc_tokenizer_prompt(made, "A photo of</s> THE license \xF0\x9F\x98\x80",
                                        DIFFC_NUL_TERMINATED, NULL, 77, ids, NULL, NULL);
    diffc_release(&made);
    return status;
}

static int clean(void *work)
{
    char out[64];
    size_t count;
    return prepare(work, DIFFC_NUL_TERMINATED, DIFFC_TEXT_CLEAN, out, sizeof(out), &count);
}

static void test_memory_fails(void **state)
{
    char text[] = "<b>A</b> cat, 12x13 &eacute;.png a-b-c-d-e";
    struct bytes model = bytes_load(data_file("tiny_spiece.model"));
    (void)state;
    assert_true(io_fail_allocations(open_and_use, &model) > 10);
    assert_true(io_fail_allocations(clean, text) > 100);
    bytes_free(&model);
}

static int set_up(void **state)
{
    if (io_setup(state) != 0)
        return -1;
    return diffc_tokenizer_open(io_context, data_file("tiny_spiece.model"), &tokenizer);
}

static int tear_down(void **state)
{
    diffc_release(&tokenizer);
    return io_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),       cmocka_unit_test(test_lower),
        cmocka_unit_test(test_clean),        cmocka_unit_test(test_clean_long),
        cmocka_unit_test(test_x1_empty),     cmocka_unit_test(test_x2_utf8),
        cmocka_unit_test(test_x3_nul),       cmocka_unit_test(test_x4_long),
        cmocka_unit_test(test_x5_special),   cmocka_unit_test(test_x6_truncation),
        cmocka_unit_test(test_x7_small),     cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_memory_fails), cmocka_unit_test(test_x4_raised_limit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
