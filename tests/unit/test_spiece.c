/* spiece.model: hostile files, rows T1 to T7, and damage. */

#include <math.h>

#include "spiece_case.h"

static diffc_context *context_now;

static int open_model(const struct bytes *model, diffc_tokenizer **tokenizer)
{
    /* An exact copy on the heap, so that a byte too many is seen by the sanitizers. */
    void *copy = malloc(model->size ? model->size : 1);
    assert_non_null(copy);
    if (model->size)
        memcpy(copy, model->data, model->size);
    const int status = diffc_tokenizer_open_memory(context_now, copy, model->size, tokenizer);
    free(copy);
    return status;
}

/* Frees the file. */
static void expect_model(const char *id, struct bytes model, int expected, const char *words)
{
    diffc_tokenizer *tokenizer = NULL;
    const long live = io_memory.live;
    const int status = open_model(&model, &tokenizer);
    if (status != expected)
        fail_msg("%s: %s instead of %s: %s", id, diffc_status_name(status), diffc_status_name(expected),
                 diffc_message());
    if ((status == DIFFC_OK) != (tokenizer != NULL))
        fail_msg("%s: output does not go with the status", id);
    if (words && !strstr(diffc_message(), words))
        fail_msg("%s: no \"%s\" in \"%s\"", id, words, diffc_message());
    diffc_release(&tokenizer);
    assert_int_equal(io_memory.live, live);
    bytes_free(&model);
}

static void test_model(void **state)
{
    struct bytes model = make_model();
    diffc_tokenizer *tokenizer = NULL;
    diffc_text_options raw = DIFFC_TEXT_OPTIONS;
    int32_t ids[16];
    int64_t count = 0;
    (void)state;
    raw.form = DIFFC_TEXT_RAW;
    assert_int_equal(open_model(&model, &tokenizer), DIFFC_OK);
    assert_int_equal(diffc_tokenizer_count(tokenizer), PIECES);
    assert_int_equal(diffc_tokenizer_encode(tokenizer, "Abb xyz", 7, &raw, ids, 16, &count), DIFFC_OK);
    static const int32_t expected[] = { 6, 9, 3, 2, 1 }; /* _a bb _ <unk> </s> */
    assert_int_equal(count, 5);
    assert_memory_equal(ids, expected, sizeof(expected));
    diffc_release(&tokenizer);
    bytes_free(&model);
}

static struct bytes with_bytes(const void *data, size_t size)
{
    struct bytes model = make_model();
    bytes_put(&model, data, size);
    return model;
}

static void test_t1_wire(void **state)
{
    struct bytes model = make_model();
    (void)state;
    for (int i = 0; i < 10000; i++)
        pb_number(&model, 1000 + i, (uint64_t)i << 40);
    pb_block(&model, 77, "unknown", 7);
    pb_float(&model, 78, 1);
    expect_model("T1 unknown fields", model, DIFFC_OK, NULL);
    expect_model("T1 key cut", with_bytes("\x80", 1), DIFFC_ERR_FORMAT, "byte");
    expect_model("T1 number cut", with_bytes("\x48\xFF\xFF", 3), DIFFC_ERR_FORMAT, "cut short");
    expect_model("T1 number of 11 bytes", with_bytes("\x48\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12),
                 DIFFC_ERR_FORMAT, "number of more than");
    expect_model("T1 number over 64 bits", with_bytes("\x48\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 11),
                 DIFFC_ERR_FORMAT, "64 bits");
    expect_model("T1 length past the end",
                 with_bytes("\x4A\x05"
                            "1234",
                            6),
                 DIFFC_ERR_FORMAT, "length beyond");
    expect_model("T1 huge length", with_bytes("\x4A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11),
                 DIFFC_ERR_FORMAT, "length beyond");
    expect_model("T1 fixed32 cut", with_bytes("\x4D\x01\x02", 3), DIFFC_ERR_FORMAT, "cut short");
    expect_model("T1 fixed64 cut", with_bytes("\x49\x01\x02\x03\x04\x05\x06\x07", 8), DIFFC_ERR_FORMAT,
                 "cut short");
    expect_model("T1 field 0", with_bytes("\x00\x01", 2), DIFFC_ERR_FORMAT, "field number");
    for (unsigned char type = 3; type <= 7; type++)
        if (type != 5) {
            const unsigned char bytes[2] = { (unsigned char)(9 << 3 | type), 1 };
            expect_model("T1 wire type", with_bytes(bytes, 2), DIFFC_ERR_FORMAT, "type that is not used");
        }
    expect_model("T1 piece of another type", with_bytes("\x08\x01", 2), DIFFC_ERR_FORMAT, "wire type 0");
    expect_model("T1 trainer of another type", with_bytes("\x10\x01", 2), DIFFC_ERR_FORMAT, "wire type 0");
}

static void test_t2_pieces(void **state)
{
    struct bytes model = { 0 };
    (void)state;
    expect_model("T2 empty file", model, DIFFC_ERR_FORMAT, "no pieces");
    model = with_bytes("", 0);
    for (int i = 0; i < 1000001; i++)
        bytes_put(&model, "\x0A\x00", 2);
    expect_model("T2 too many pieces", model, DIFFC_ERR_LIMIT, "tokenizer_pieces");
    char *large = malloc(1 << 20);
    assert_non_null(large);
    memset(large, 'x', 1 << 20);
    model = make_model();
    add_piece(&model, large, 1 << 20, -1, 0);
    expect_model("T2 piece of 1 MiB", model, DIFFC_ERR_LIMIT, "4096");
    model = make_model();
    add_piece(&model, large, 4096, -1, 0);
    expect_model("T2 piece of 4096 bytes", model, DIFFC_OK, NULL);
    free(large);
    model = make_model();
    add_piece(&model, "", 0, -1, 0);
    expect_model("T2 empty piece", model, DIFFC_ERR_FORMAT, "empty");
    model = make_model();
    add_piece(&model, "x\0y", 3, -1, 0);
    expect_model("T2 NUL in a piece", model, DIFFC_OK, NULL);
    model = make_model();
    add_piece(&model, "x\xC3", 2, -1, 0);
    expect_model("T2 piece that is not UTF-8", model, DIFFC_ERR_FORMAT, "UTF-8");
    model = make_model();
    add_piece(&model, "ab", 2, -1, 0);
    expect_model("T2 the same piece twice", model, DIFFC_ERR_FORMAT, "are the same");
    model = make_model();
    add_piece(&model, "q", 1, -1, 9);
    expect_model("T2 piece of type 9", model, DIFFC_ERR_FORMAT, "type");
}

/* One piece more than the limit, and as many as it allows. */
static void test_t2_limit(void **state)
{
    (void)state;
    for (int less = 0; less < 2; less++) {
        diffc_limits limits = DIFFC_LIMITS;
        limits.tokenizer_pieces = PIECES - less;
        context_now = io_context_new(&limits);
        expect_model("T2 limit", make_model(), less ? DIFFC_ERR_LIMIT : DIFFC_OK, NULL);
        diffc_release(&context_now);
    }
    context_now = io_context;
}

static void test_t3_scores(void **state)
{
    static const float scores[] = { NAN, INFINITY, -INFINITY };
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct bytes model = make_model();
        add_piece(&model, "q", 1, scores[i], 0);
        expect_model("T3", model, DIFFC_ERR_FORMAT, "score");
    }
}

static struct bytes with_trainer(int field, uint64_t value)
{
    struct bytes model = make_model();
    add_trainer(&model, field, value);
    return model;
}

static void test_t4_ids(void **state)
{
    struct bytes model = { 0 };
    (void)state;
    add_piece(&model, "</s>", 4, 0, 3);
    add_piece(&model, "a", 1, -1, 1);
    expect_model("T4 no unknown piece", model, DIFFC_ERR_FORMAT, "unknown");
    model = make_model();
    add_piece(&model, "<unk2>", 6, 0, 2);
    expect_model("T4 two unknown pieces", model, DIFFC_ERR_FORMAT, "unknown");
    expect_model("T4 unk_id", with_trainer(40, PIECES), DIFFC_ERR_FORMAT, "unk_id");
    expect_model("T4 unk_id of another piece", with_trainer(40, 1), DIFFC_ERR_FORMAT, "unk_id");
    expect_model("T4 eos_id", with_trainer(42, PIECES), DIFFC_ERR_FORMAT, "eos_id");
    expect_model("T4 pad_id", with_trainer(43, UINT64_C(1) << 40), DIFFC_ERR_FORMAT, "pad_id");
    expect_model("T4 no pad", with_trainer(43, UINT64_MAX), DIFFC_OK, NULL);
    model = (struct bytes) { 0 };
    add_piece(&model, "<unk>", 5, 0, 2);
    add_piece(&model, "a", 1, -1, 1);
    expect_model("T4 no end of sentence", model, DIFFC_ERR_UNSUPPORTED, "end-of-sentence");
}

static struct bytes with_charsmap(struct bytes map)
{
    struct bytes model = { 0 };
    add_pieces(&model);
    add_normalizer(&model, &map);
    bytes_free(&map);
    return model;
}

static void test_t5_charsmap(void **state)
{
    uint32_t units[UNITS];
    (void)state;
    make_units(units);
    expect_model("T5 right", with_charsmap(make_charsmap(units, sizeof(units), "a", 2)), DIFFC_OK, NULL);
    expect_model("T5 size no multiple of 4", with_charsmap(make_charsmap(units, sizeof(units) - 1, "a", 2)),
                 DIFFC_ERR_FORMAT, "charsmap");
    expect_model("T5 size beyond", with_charsmap(make_charsmap(units, sizeof(units) + 8, "a", 2)),
                 DIFFC_ERR_FORMAT, "charsmap");
    expect_model("T5 size 0", with_charsmap(make_charsmap(units, 0, "a", 2)), DIFFC_ERR_FORMAT, "charsmap");
    expect_model("T5 strings without an end", with_charsmap(make_charsmap(units, sizeof(units), "ab", 2)),
                 DIFFC_ERR_FORMAT, "strings");
    expect_model("T5 no strings", with_charsmap(make_charsmap(units, sizeof(units), "", 0)), DIFFC_ERR_FORMAT,
                 "strings");
    expect_model("T5 strings that are not UTF-8",
                 with_charsmap(make_charsmap(units, sizeof(units), "\xFF", 2)), DIFFC_ERR_FORMAT, "strings");
    units[0] = 5000u << 10;
    expect_model("T5 root outside", with_charsmap(make_charsmap(units, sizeof(units), "a", 2)),
                 DIFFC_ERR_FORMAT, "outside");
    make_units(units);
    units[LEAF] = 0x80000000u | 2;
    expect_model("T5 leaf beyond the strings", with_charsmap(make_charsmap(units, sizeof(units), "a", 2)),
                 DIFFC_ERR_FORMAT, "beyond");
    units[LEAF] = 0x80000000u | 1;
    expect_model("T5 leaf inside a character",
                 with_charsmap(make_charsmap(units, sizeof(units), "\xC3\xA9", 3)), DIFFC_ERR_FORMAT,
                 "inside");
    make_units(units);
    units[CHILD] = 'A' | 0x100u | (uint32_t)(CHILD ^ 0x100) << 10;
    expect_model("T5 cycle", with_charsmap(make_charsmap(units, sizeof(units), "a", 2)), DIFFC_ERR_FORMAT,
                 "ancestor");
    make_units(units);
    units[CHILD] = 'A' | 0x100u | 0x200u | (1u << 20) << 10;
    expect_model("T5 child outside", with_charsmap(make_charsmap(units, sizeof(units), "a", 2)),
                 DIFFC_ERR_FORMAT, "outside");
    char strings[1026];
    memset(strings, 'a', sizeof(strings));
    for (int length = 1024; length <= 1025; length++) {
        strings[length] = '\0';
        make_units(units);
        expect_model("T5 replacement",
                     with_charsmap(make_charsmap(units, sizeof(units), strings, (size_t)length + 1)),
                     length > 1024 ? DIFFC_ERR_FORMAT : DIFFC_OK, length > 1024 ? "1024 bytes" : NULL);
        strings[length] = 'a';
    }
    struct bytes large = { 0 };
    bytes_fill(&large, 0, (4 << 20) + 1);
    expect_model("T5 too large", with_charsmap(large), DIFFC_ERR_LIMIT, "charsmap");
}

static void test_t6_t7(void **state)
{
    struct bytes model;
    (void)state;
    for (uint64_t type = 2; type <= 4; type++)
        expect_model("T6", with_trainer(3, type), DIFFC_ERR_UNSUPPORTED, "unigram");
    expect_model("T6 byte fallback", with_trainer(35, 1), DIFFC_ERR_UNSUPPORTED, "byte_fallback");
    model = make_model();
    add_self_test(&model, "ab", "a b");
    expect_model("T7", model, DIFFC_ERR_FORMAT, "self_test_data");
    model = make_model();
    add_self_test(&model, "", "");
    expect_model("T7 empty", model, DIFFC_OK, NULL);
    /* Samples are tried as far as 1,024 bytes go: more could take minutes. */
    char sample[1100];
    memset(sample, 'a', sizeof(sample));
    for (int left = 1018; left <= 1025; left += 7) { /* "aA b" has taken four, and "" none */
        sample[left] = '\0';
        model = make_model();
        add_self_test(&model, sample, "wrong");
        expect_model("T7 long", model, left > 1020 ? DIFFC_OK : DIFFC_ERR_FORMAT, "self_test_data");
        sample[left] = 'a';
    }
}

static void test_paths(void **state)
{
    diffc_tokenizer *tokenizer = NULL;
    struct bytes model = make_model();
    (void)state;
    /* A FIFO that nobody writes to: at once, and never blocking. */
    assert_int_equal(mkfifo(io_path("fifo"), 0600), 0);
    assert_int_equal(symlink("nowhere", io_path("dangling")), 0);
    const char *const paths[] = { io_path("fifo"), "/dev/zero", io_path("dangling") };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const int descriptors = io_count_descriptors();
        assert_int_equal(diffc_tokenizer_open(io_context, paths[i], &tokenizer), DIFFC_ERR_IO);
        assert_null(tokenizer);
        if (!strstr(diffc_message(), paths[i]) || (i < 2 && !strstr(diffc_message(), "not a regular file")))
            fail_msg("%s: \"%s\"", paths[i], diffc_message());
        assert_int_equal(io_count_descriptors(), descriptors);
    }
    assert_int_equal(unlink(io_path("fifo")), 0);
    assert_int_equal(unlink(io_path("dangling")), 0);
    assert_int_equal(diffc_tokenizer_open(io_context, io_folder, &tokenizer), DIFFC_ERR_IO);
    assert_int_equal(diffc_tokenizer_open(io_context, io_path("none"), &tokenizer), DIFFC_ERR_IO);
    assert_int_equal(diffc_tokenizer_open(io_context, NULL, &tokenizer), DIFFC_ERR_ARG);
    bytes_save(&model, io_path("spiece.model"));
    assert_int_equal(diffc_tokenizer_open(io_context, io_path("spiece.model"), &tokenizer), DIFFC_OK);
    diffc_release(&tokenizer);
    bytes_free(&model);
}

/* Ends at every byte, and every bit turned: a tokenizer or a listed code. */
static void check_damaged(const struct bytes *model, int *codes)
{
    diffc_tokenizer *tokenizer = NULL;
    const long live = io_memory.live;
    const int status = open_model(model, &tokenizer);
    int32_t ids[77];
    if (status != DIFFC_OK && status != DIFFC_ERR_FORMAT && status != DIFFC_ERR_LIMIT &&
        status != DIFFC_ERR_UNSUPPORTED)
        fail_msg("%s: %s", diffc_status_name(status), diffc_message());
    if (status == DIFFC_OK)
        assert_int_equal(diffc_tokenizer_prompt(tokenizer, "aAb \xC3\xA9\x80 AB bb", DIFFC_NUL_TERMINATED,
                                                NULL, 77, ids, NULL, NULL),
                         DIFFC_OK);
    diffc_release(&tokenizer);
    assert_int_equal(io_memory.live, live);
    codes[-status]++;
}

static void test_damage(void **state)
{
    struct bytes model = make_model();
    const size_t whole = model.size;
    int codes[32] = { 0 };
    (void)state;
    for (model.size = 0; model.size < whole; model.size++)
        check_damaged(&model, codes);
    for (size_t bit = 0; bit < 8 * whole; bit++) {
        model.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        check_damaged(&model, codes);
        model.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    print_message("damaged models: ok %d, format %d, limit %d, unsupported %d\n", codes[0],
                  codes[-DIFFC_ERR_FORMAT], codes[-DIFFC_ERR_LIMIT], codes[-DIFFC_ERR_UNSUPPORTED]);
    assert_true(codes[-DIFFC_ERR_FORMAT] > 1000);
    bytes_free(&model);
}

static int open_and_close(void *work)
{
    diffc_tokenizer *tokenizer = NULL;
    const int status = open_model(work, &tokenizer);
    diffc_release(&tokenizer);
    return status;
}

static void test_memory_fails(void **state)
{
    struct bytes model = make_model();
    (void)state;
    assert_true(io_fail_allocations(open_and_close, &model) > 20);
    bytes_free(&model);
}

static int set_up(void **state)
{
    const int status = io_setup(state);
    context_now = io_context;
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),        cmocka_unit_test(test_t1_wire),
        cmocka_unit_test(test_t2_pieces),    cmocka_unit_test(test_t2_limit),
        cmocka_unit_test(test_t3_scores),    cmocka_unit_test(test_t4_ids),
        cmocka_unit_test(test_t5_charsmap),  cmocka_unit_test(test_t6_t7),
        cmocka_unit_test(test_paths),        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, set_up, io_teardown);
}
