/* safetensors files: rows S of the table of hostile inputs, and what pretends to be one. */

#include "hostile_files.h"

/* A file whose length field says `size`. */
static struct bytes with_length(uint64_t size, const char *rest)
{
    struct bytes file = { 0 };
    bytes_le(&file, size, 8);
    bytes_text(&file, rest);
    return file;
}

static void test_s1_length(void **state)
{
    (void)state;
    static const char rest[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}x";
    const uint64_t size = 8 + strlen(rest);
    for (size_t i = 0; i < 8; i++)
        hostile("S1 short", SAFETENSORS, text_file("\x10\0\0\0\0\0\0\0", i), DIFFC_ERR_TRUNCATED, NULL);
    hostile("S1 0", SAFETENSORS, with_length(0, rest), DIFFC_ERR_FORMAT, "header of 0 bytes");
    hostile("S1 1", SAFETENSORS, with_length(1, rest), DIFFC_ERR_FORMAT, NULL);
    hostile("S1 2^63", SAFETENSORS, with_length(1ull << 63, rest), DIFFC_ERR_LIMIT, "9223372036854775808");
    hostile("S1 2^64-1", SAFETENSORS, with_length(UINT64_MAX, rest), DIFFC_ERR_LIMIT, NULL);
    hostile("S1 2^64-8", SAFETENSORS, with_length(UINT64_MAX - 7, rest), DIFFC_ERR_LIMIT, NULL);
    hostile("S1 size", SAFETENSORS, with_length(size, rest), DIFFC_ERR_TRUNCATED, NULL);
    hostile("S1 size-7", SAFETENSORS, with_length(size - 7, rest), DIFFC_ERR_TRUNCATED, NULL);
    hostile("S1 size-8", SAFETENSORS, with_length(size - 8, rest), DIFFC_ERR_FORMAT, NULL);
    hostile("S1 good", SAFETENSORS, with_length(size - 9, rest), DIFFC_OK, NULL);
    hostile("S1 smallest", SAFETENSORS, with_length(2, "{}"), DIFFC_OK, NULL);
    /* S2 */
    hostile("S2 16 MiB", SAFETENSORS, with_length(16 << 20, rest), DIFFC_ERR_TRUNCATED, NULL);
    hostile("S2 16 MiB + 1", SAFETENSORS, with_length((16 << 20) + 1, rest), DIFFC_ERR_LIMIT,
            "archive_header");
}

static void test_s3_header(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t size;
        int status;
    } rows[] = {
        { "{}      ", 8, DIFFC_OK },
        { " {}", 3, DIFFC_ERR_FORMAT },
        { "{}\0\0", 4, DIFFC_ERR_FORMAT },
        { "{}\n", 3, DIFFC_ERR_FORMAT },
        { "{}x", 3, DIFFC_ERR_FORMAT },
        { "{}{}", 4, DIFFC_ERR_FORMAT },
        { "{} }", 4, DIFFC_ERR_FORMAT },
        { "\xef\xbb\xbf{}", 5, DIFFC_ERR_FORMAT },
        { "[]", 2, DIFFC_ERR_FORMAT },
        { "{\"a\"}", 5, DIFFC_ERR_FORMAT },
        { "{\"\xff\":{}}", 8, DIFFC_ERR_FORMAT },
        { "{\"\xc0\x80\":{}}", 9, DIFFC_ERR_FORMAT },
        { "{\"\\ud800\":{}}", 13, DIFFC_ERR_FORMAT },
        { "{", 1, DIFFC_ERR_FORMAT },
        { "{ ", 2, DIFFC_ERR_FORMAT },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes file = { 0 };
        bytes_le(&file, rows[i].size, 8);
        bytes_put(&file, rows[i].header, rows[i].size);
        hostile("S3", SAFETENSORS, file, rows[i].status, NULL);
    }
    struct bytes nested = { 0 };
    bytes_text(&nested, "{\"a\":");
    bytes_fill(&nested, '[', 100000);
    bytes_fill(&nested, ']', 100000);
    bytes_put(&nested, "}", 2);
    hostile("S3 nested", SAFETENSORS, make_safetensors((const char *)nested.data, 0), DIFFC_ERR_FORMAT,
            "deep");
    bytes_free(&nested);
}

static void test_s4_to_s8_entries(void **state)
{
    (void)state;
    static const struct {
        const char *id, *header;
        size_t data;
        int status;
        const char *words;
    } rows[] = {
        { "S4 name twice",
          "{\"a\":" ENTRY("\"U8\"", "[1]", "[0,1]") ",\"a\":" ENTRY("\"U8\"", "[1]", "[0,1]") "}", 1,
          DIFFC_ERR_FORMAT, "column" },
        { "S4 dtype twice",
          "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
          DIFFC_ERR_FORMAT, "duplicate" },
        { "S4 NUL", "{\"a\\u0000b\":" ENTRY("\"U8\"", "[1]", "[0,1]") "}", 1, DIFFC_ERR_FORMAT, NULL },
        { "S5 string", ONE("\"U8\"", "[1]", "[\"0\",1]"), 1, DIFFC_ERR_FORMAT, "\"a\"" },
        { "S5 float", ONE("\"U8\"", "[1]", "[0,1.0]"), 1, DIFFC_ERR_FORMAT, "data_offsets" },
        { "S5 negative", ONE("\"U8\"", "[1]", "[-1,0]"), 1, DIFFC_ERR_FORMAT, "[-1, 0]" },
        { "S5 3 items", ONE("\"U8\"", "[1]", "[0,1,2]"), 1, DIFFC_ERR_FORMAT, NULL },
        { "S5 1 item", ONE("\"U8\"", "[1]", "[0]"), 1, DIFFC_ERR_FORMAT, NULL },
        { "S5 no array", ONE("\"U8\"", "[1]", "0"), 1, DIFFC_ERR_FORMAT, NULL },
        { "S5 end < begin", ONE("\"U8\"", "[1]", "[1,0]"), 1, DIFFC_ERR_FORMAT, NULL },
        { "S5 wraps", ONE("\"U8\"", "[1]", "[9223372036854775807,-9223372036854775808]"), 1, DIFFC_ERR_FORMAT,
          NULL },
        { "S5 too large", ONE("\"U8\"", "[1]", "[0,18446744073709551616]"), 1, DIFFC_ERR_FORMAT, "column" },
        { "S5 overlap",
          "{\"a\":" ENTRY("\"U8\"", "[2]", "[0,2]") ",\"b\":" ENTRY("\"U8\"", "[2]", "[1,3]") "}", 3,
          DIFFC_ERR_FORMAT, "\"b\"" },
        { "S5 same range",
          "{\"a\":" ENTRY("\"U8\"", "[2]", "[0,2]") ",\"b\":" ENTRY("\"U8\"", "[2]", "[0,2]") "}", 2,
          DIFFC_ERR_FORMAT, NULL },
        { "S5 hole", "{\"a\":" ENTRY("\"U8\"", "[2]", "[0,2]") ",\"b\":" ENTRY("\"U8\"", "[2]", "[3,5]") "}",
          5, DIFFC_ERR_FORMAT, "begins at 3" },
        { "S5 first", ONE("\"U8\"", "[1]", "[1,2]"), 2, DIFFC_ERR_FORMAT, NULL },
        { "S5 past the end", ONE("\"U8\"", "[9]", "[0,9]"), 8, DIFFC_ERR_TRUNCATED, "9 bytes" },
        { "S5 longer", ONE("\"U8\"", "[7]", "[0,7]"), 8, DIFFC_ERR_FORMAT, "1 bytes behind" },
        { "S5 nothing but data", "{}", 8, DIFFC_ERR_FORMAT, "behind" },
        { "S6 wraps to 4", ONE("\"U8\"", "[4194305,4194305,211106198978564]", "[0,4]"), 4, DIFFC_ERR_FORMAT,
          "64 bits" },
        { "S6 wraps by dtype", ONE("\"F32\"", "[4611686018427387905]", "[0,4]"), 4, DIFFC_ERR_FORMAT,
          "64 bits" },
        { "S6 negative", ONE("\"U8\"", "[-1]", "[0,1]"), 1, DIFFC_ERR_FORMAT, NULL },
        { "S6 float", ONE("\"U8\"", "[1.0]", "[0,1]"), 1, DIFFC_ERR_FORMAT, NULL },
        { "S6 2^53+1", ONE("\"U8\"", "[9007199254740993]", "[0,9007199254740992]"), 1, DIFFC_ERR_FORMAT,
          "9007199254740993" },
        { "S6 2^53+1 past the end", ONE("\"U8\"", "[9007199254740993]", "[0,9007199254740993]"), 1,
          DIFFC_ERR_TRUNCATED, NULL },
        { "S6 8 dims", ONE("\"U8\"", "[1,1,1,1,1,1,1,1]", "[0,1]"), 1, DIFFC_OK, NULL },
        { "S6 9 dims", ONE("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, DIFFC_ERR_LIMIT, "9 dimensions" },
        { "S6 []", ONE("\"F32\"", "[]", "[0,4]"), 4, DIFFC_OK, NULL },
        { "S6 [0]", ONE("\"F32\"", "[0]", "[0,0]"), 0, DIFFC_OK, NULL },
        { "S6 zero hides overflow", ONE("\"F32\"", "[0,9223372036854775807,9]", "[0,0]"), 0, DIFFC_ERR_FORMAT,
          NULL },
        { "S6 no array", ONE("\"F32\"", "1", "[0,4]"), 4, DIFFC_ERR_FORMAT, NULL },
        { "S7 3 bytes", ONE("\"F32\"", "[1]", "[0,3]"), 3, DIFFC_ERR_FORMAT, "4 bytes" },
        { "S7 unknown", ONE("\"F8_FOO\"", "[1]", "[0,1]"), 1, DIFFC_ERR_UNSUPPORTED, "F8_FOO" },
        { "S7 lower case", ONE("\"f32\"", "[1]", "[0,4]"), 4, DIFFC_ERR_UNSUPPORTED, "f32" },
        { "S7 empty", ONE("\"\"", "[1]", "[0,4]"), 4, DIFFC_ERR_UNSUPPORTED, NULL },
        { "S7 number", ONE("32", "[1]", "[0,4]"), 4, DIFFC_ERR_FORMAT, NULL },
        { "S7 missing", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, DIFFC_ERR_FORMAT, "dtype" },
        { "S7 no object", "{\"a\":1}", 1, DIFFC_ERR_FORMAT, "not an object" },
        { "S8 number", "{\"__metadata__\":{\"a\":1}}", 0, DIFFC_ERR_FORMAT, "__metadata__.a" },
        { "S8 object", "{\"__metadata__\":{\"a\":{}}}", 0, DIFFC_ERR_FORMAT, "__metadata__.a" },
        { "S8 no object", "{\"__metadata__\":[]}", 0, DIFFC_ERR_FORMAT, "__metadata__" },
        { "S10 shared offset",
          "{\"a\":" ENTRY("\"F32\"", "[0]", "[0,0]") ",\"b\":" ENTRY(
              "\"U8\"", "[2]", "[0,2]") ",\"c\":" ENTRY("\"F32\"", "[4,0]",
                                                        "[2,2]") ",\"d\":" ENTRY("\"F16\"", "[0]",
                                                                                 "[0,0]") "}",
          2, DIFFC_OK, NULL },
        { "S10 inside another",
          "{\"a\":" ENTRY("\"F32\"", "[0]", "[1,1]") ",\"b\":" ENTRY("\"U8\"", "[2]", "[0,2]") "}", 2,
          DIFFC_ERR_FORMAT, NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        hostile(rows[i].id, SAFETENSORS, make_safetensors(rows[i].header, rows[i].data), rows[i].status,
                rows[i].words);
}

static void test_s4_name_length(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct bytes header = { 0 };
        bytes_text(&header, "{\"");
        bytes_fill(&header, 'n', kind == 0 ? 4096 : kind == 1 ? 4097 : 1 << 20);
        bytes_text(&header, "\":" ENTRY("\"U8\"", "[1]", "[0,1]") "}");
        bytes_put(&header, "", 1);
        hostile("S4 name", SAFETENSORS, make_safetensors((const char *)header.data, 1),
                kind ? DIFFC_ERR_LIMIT : DIFFC_OK, kind ? "4096" : NULL);
        bytes_free(&header);
    }
}

static struct bytes many_members(int count, const char *start, const char *member, const char *end)
{
    struct bytes header = { 0 };
    char text[160];
    bytes_text(&header, start);
    for (int i = 0; i < count; i++) {
        snprintf(text, sizeof(text), "%s\"%d\":%s", i ? "," : "", i, member);
        bytes_text(&header, text);
    }
    bytes_text(&header, end);
    bytes_put(&header, "", 1);
    return header;
}

static void test_s8_s9_counts(void **state)
{
    (void)state;
    struct bytes header = many_members(1000000, "{\"__metadata__\":{", "\"\"", "}}");
    hostile("S8 1 M entries", SAFETENSORS, make_safetensors((const char *)header.data, 0), DIFFC_ERR_LIMIT,
            NULL);
    bytes_free(&header);
    for (int over = 0; over < 2; over++) {
        header = many_members(65536 + over, "{\"__metadata__\":{", "\"\"", "}}");
        hostile("S8 the limit", SAFETENSORS, make_safetensors((const char *)header.data, 0),
                over ? DIFFC_ERR_LIMIT : DIFFC_OK, over ? "archive_tensors" : NULL);
        bytes_free(&header);
        header = many_members(65536 + over, "{", ENTRY("\"U8\"", "[0]", "[0,0]"), "}");
        hostile("S9 the limit", SAFETENSORS, make_safetensors((const char *)header.data, 0),
                over ? DIFFC_ERR_LIMIT : DIFFC_OK, over ? "archive_tensors" : NULL);
        bytes_free(&header);
    }
    header = many_members(1000000, "{", ENTRY("\"U8\"", "[0]", "[0,0]"), "}");
    struct bytes file = make_safetensors((const char *)header.data, 0);
    bytes_free(&header);
    diffc_limits limits = DIFFC_LIMITS;
    limits.archive_header = (int64_t)100 << 20;
    diffc_context *context = io_context_new(&limits);
    diffc_archive *archive = NULL;
    assert_int_equal(diffc_archive_open_memory(context, file.data, file.size, &archive), DIFFC_ERR_LIMIT);
    assert_null(archive);
    diffc_release(&context);
    hostile("S9 10^6 tensors", SAFETENSORS, file, DIFFC_ERR_LIMIT, "archive_header");
}

/* NaN and infinity are values like any other, unless they are refused. */
static void test_s12_values(void **state)
{
    static const uint32_t values[4] = { 0x3F800000u, 0x00000001u, 0xFF800000u, 0x7FC00001u };
    static const struct {
        const char *dtype;
        size_t width;
        uint64_t largest, infinite;
    } types[] = { { "F16", 2, 0x7BFF, 0x7C00 },
                  { "BF16", 2, 0x7F7F, 0xFFC0 },
                  { "F32", 4, 0x7F7FFFFF, 0x7F800001 },
                  { "F64", 8, 0x7FEFFFFFFFFFFFFF, 0xFFF0000000000000 } };
    struct bytes file = make_safetensors(ONE("\"F32\"", "[4]", "[0,16]"), 0);
    diffc_archive_options strict = DIFFC_ARCHIVE_OPTIONS;
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = NULL;
    (void)state;
    for (int i = 0; i < 4; i++)
        bytes_le(&file, values[i], 4);
    assert_int_equal(diffc_archive_open_memory(io_context, file.data, file.size, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_get(archive, "a", &tensor), DIFFC_OK);
    assert_memory_equal(diffc_tensor_data(tensor), values, 16);
    diffc_release(&tensor);
    diffc_release(&archive);
    bytes_free(&file);
    strict.finite = 1;
    for (size_t type = 0; type < sizeof(types) / sizeof(types[0]); type++) {
        for (int bad = 0; bad < 2; bad++) {
            char header[300];
            const size_t width = types[type].width;
            snprintf(
                header, sizeof(header),
                "{\"i\":" ENTRY("\"U8\"", "[8]", "[0,8]") ",\"a.b\":" ENTRY("\"%s\"", "[3]", "[8,%zu]") "}",
                types[type].dtype, 8 + 3 * width);
            file = make_safetensors(header, 0);
            bytes_fill(&file, 0xFF, 8);
            for (int i = 0; i < 3; i++)
                bytes_le(&file, bad && i == 2 ? types[type].infinite : types[type].largest, (int)width);
            bytes_save(&file, io_path("values"));
            bytes_free(&file);
            for (strict.map = 0; strict.map < 2; strict.map++) {
                const int status = diffc_archive_open(io_context, io_path("values"), &strict, &archive);
                assert_int_equal(status, bad ? DIFFC_ERR_NONFINITE : DIFFC_OK);
                if (bad)
                    assert_non_null(
                        strstr(diffc_message(), "values: tensor \"a.b\": value 2 is NaN or infinite"));
                assert_int_equal(archive == NULL, bad);
                diffc_release(&archive);
            }
        }
    }
}

static void test_pickles(void **state)
{
    (void)state;
    static const char zip[] =
        "PK\3\4\0\0\x8\x8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10\0\x12\0archive/data.pkl";
    static const char pickle[] = "\x80\2\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3.";
    hostile("zip", SAFETENSORS, text_file(zip, sizeof(zip)), DIFFC_ERR_UNSUPPORTED, "safetensors");
    hostile("pickle", SAFETENSORS, text_file(pickle, sizeof(pickle)), DIFFC_ERR_UNSUPPORTED, "safetensors");
    hostile("pickle 4", SAFETENSORS, text_file("\x80\4\x95\x10\0\0\0\0\0\0\0}\x94.", 14),
            DIFFC_ERR_UNSUPPORTED, NULL);
    /* A header of 0x280 = 640 bytes begins like a pickle and is none. */
    struct bytes header = { 0 };
    bytes_text(&header, ONE("\"U8\"", "[1]", "[0,1]"));
    bytes_fill(&header, ' ', 640 - header.size);
    bytes_put(&header, "", 1);
    hostile("640", SAFETENSORS, make_safetensors((const char *)header.data, 1), DIFFC_OK, NULL);
    bytes_free(&header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s1_length),        cmocka_unit_test(test_s3_header),
        cmocka_unit_test(test_s4_to_s8_entries), cmocka_unit_test(test_s4_name_length),
        cmocka_unit_test(test_s8_s9_counts),     cmocka_unit_test(test_s12_values),
        cmocka_unit_test(test_pickles),
    };
    return cmocka_run_group_tests(tests, hostile_setup, hostile_teardown);
}
