/* PNG files: rows P of the table of hostile inputs. */

#include "hostile_files.h"

static void with_chunk(struct bytes *file, const char *type, const void *data, size_t size)
{
    struct bytes changed = { 0 };
    bytes_put(&changed, file->data, 33);
    png_chunk(&changed, type, data, size);
    bytes_put(&changed, file->data + 33, file->size - 33);
    bytes_free(file);
    *file = changed;
}

/* 4 x 2 grey pixels of 8 bits whose data are `pixels`, in pieces of `piece` bytes. */
static struct bytes grey_png(const struct bytes *pixels, size_t piece)
{
    struct bytes file = { 0 };
    png_start(&file, 4, 2, 8, 0, 0);
    for (size_t at = 0; at < pixels->size; at += piece)
        png_chunk(&file, "IDAT", pixels->data + at, pixels->size - at < piece ? pixels->size - at : piece);
    png_end(&file);
    return file;
}

static void test_p1_signature(void **state)
{
    (void)state;
    hostile("P1 empty", PNG, text_file("", 0), DIFFC_ERR_FORMAT, "byte 0");
    hostile("P1 7 bytes", PNG, text_file("\x89PNG\r\n\x1a", 7), DIFFC_ERR_FORMAT, NULL);
    hostile("P1 signature only", PNG, text_file("\x89PNG\r\n\x1a\n", 8), DIFFC_ERR_TRUNCATED, NULL);
    hostile("P1 wrong", PNG, text_file("GIF89a and so on, for more than 33 bytes in all.", 48),
            DIFFC_ERR_FORMAT, "not a PNG");
    hostile("P1 jpeg", PNG, text_file("\xff\xd8\xff\xe0\0\x10JFIF and so on", 20), DIFFC_ERR_FORMAT, "JPEG");
    struct bytes file = make_png(4, 2, 8, 0);
    memcpy(file.data + 12, "IDAT", 4);
    hostile("P1 no IHDR", PNG, file, DIFFC_ERR_FORMAT, "IHDR");
}

static void test_p2_size(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
        int status;
    } sizes[] = {
        { 0, 1, DIFFC_ERR_FORMAT },           { 1, 0, DIFFC_ERR_FORMAT },
        { 0x80000000u, 1, DIFFC_ERR_FORMAT }, { 0x7FFFFFFFu, 1, DIFFC_ERR_LIMIT },
        { 1, 0x7FFFFFFFu, DIFFC_ERR_LIMIT },  { 30000, 30000, DIFFC_ERR_LIMIT },
        { 8193, 1, DIFFC_ERR_LIMIT },         { 1, 8193, DIFFC_ERR_LIMIT },
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bytes file = { 0 }, pixels = png_pixels(2, 4);
        png_start(&file, sizes[i].width, sizes[i].height, 8, 2, 0);
        png_chunk(&file, "IDAT", pixels.data, pixels.size);
        png_end(&file);
        bytes_free(&pixels);
        hostile("P2", PNG, file, sizes[i].status, NULL);
    }
    hostile("P2 the limit itself", PNG, make_png(8192, 1, 8, 0), DIFFC_OK, NULL);
    struct bytes file = make_png(4, 2, 8, 0), large = { 0 };
    png_start(&large, 8192, 8192, 8, 0, 0);
    bytes_put(&large, file.data + 33, file.size - 33);
    bytes_free(&file);
    const size_t before = io_memory.peak = io_memory.bytes;
    hostile("P2 cannot hold it", PNG, large, DIFFC_ERR_TRUNCATED, "cannot hold");
    assert_true(io_memory.peak - before < 100000);
}

static void test_p3_kinds(void **state)
{
    (void)state;
    for (int depth = 0; depth <= 32; depth++) {
        for (int colour = 0; colour <= 7; colour++) {
            const int packed = depth == 1 || depth == 2 || depth == 4;
            const int good = (colour == 0 && (packed || depth == 8 || depth == 16)) ||
                             ((colour == 2 || colour == 4 || colour == 6) && (depth == 8 || depth == 16));
            if (colour != 3)
                hostile("P3 depth", PNG, make_png(4, 2, depth, colour), good ? DIFFC_OK : DIFFC_ERR_FORMAT,
                        NULL);
        }
    }
    hostile("P3 no palette", PNG, make_png(4, 2, 8, 3), DIFFC_ERR_FORMAT, "PLTE");
    struct bytes file = make_png(4, 2, 8, 3); /* indices 0 to 7 */
    with_chunk(&file, "PLTE", "abcdef", 6);
    hostile("P3 index", PNG, file, DIFFC_OK, NULL);
    file = make_png(4, 2, 8, 3);
    with_chunk(&file, "tRNS", "\1\2\3\4", 4);
    with_chunk(&file, "PLTE", "abcdef", 6);
    hostile("P3 tRNS", PNG, file, DIFFC_ERR_FORMAT, "tRNS");
    file = make_png(4, 2, 8, 3);
    with_chunk(&file, "PLTE", "abcdefg", 7);
    hostile("P3 PLTE 7", PNG, file, DIFFC_ERR_FORMAT, NULL);
}

/* 200 MB of zeros as text or profile, and very many small chunks: skipped, and no memory taken. */
static void test_p4_bombs(void **state)
{
    (void)state;
    static const char *const types[] = { "zTXt", "iTXt", "iCCP" };
    struct bytes zeros = { 0 }, bomb = { 0 };
    zeros.size = 200 << 20;
    zeros.data = calloc(1, zeros.size);
    assert_non_null(zeros.data);
    struct bytes packed = deflate_bytes(&zeros, 15);
    bytes_free(&zeros);
    for (int i = 0; i < 3; i++) {
        bytes_put(&bomb, i == 1 ? "a\0\1\0\0\0" : "a\0\0", i == 1 ? 6 : 3);
        bytes_put(&bomb, packed.data, packed.size);
        struct bytes file = make_png(4, 2, 8, 0);
        with_chunk(&file, types[i], bomb.data, bomb.size);
        const size_t before = io_memory.peak = io_memory.bytes;
        hostile("P4 bomb", PNG, file, DIFFC_OK, NULL);
        assert_true(io_memory.peak - before < 1 << 20);
        bytes_free(&bomb);
    }
    bytes_free(&packed);
    struct bytes many = { 0 }, small = make_png(4, 2, 8, 0);
    bytes_put(&many, small.data, 33);
    for (int i = 0; i < 100000; i++)
        png_chunk(&many, "tEXt", "a\0b", 3);
    bytes_put(&many, small.data + 33, small.size - 33);
    bytes_free(&small);
    const size_t before = io_memory.peak = io_memory.bytes;
    hostile("P4 many", PNG, many, DIFFC_OK, NULL);
    assert_true(io_memory.peak - before < 1 << 20);
}

static void test_p5_data(void **state)
{
    (void)state;
    struct bytes pixels = png_pixels(2, 4), file, raw = { 0 };
    hostile("P5 in pieces", PNG, grey_png(&pixels, 1), DIFFC_OK, NULL);
    struct bytes cut = { pixels.data, 6, 0 };
    hostile("P5 short", PNG, grey_png(&cut, 100), DIFFC_ERR_TRUNCATED, NULL);
    bytes_fill(&raw, 0, 5);
    struct bytes half = deflate_bytes(&raw, 15);
    hostile("P5 one row of two", PNG, grey_png(&half, 100), DIFFC_ERR_TRUNCATED, NULL);
    struct bytes none = { 0 };
    hostile("P5 missing", PNG, grey_png(&none, 100), DIFFC_ERR_FORMAT, NULL);
    bytes_fill(&raw, 0, 500);
    struct bytes more = deflate_bytes(&raw, 15);
    hostile("P5 long", PNG, grey_png(&more, 100), DIFFC_OK, NULL);
    file = grey_png(&pixels, 100);
    file.data[41 + pixels.size] ^= 1;
    hostile("P5 bad CRC", PNG, file, DIFFC_ERR_CHECKSUM, "byte");
    pixels.data[pixels.size - 1] ^= 1;
    hostile("P5 bad Adler", PNG, grey_png(&pixels, 100), DIFFC_ERR_CHECKSUM, NULL);
    pixels.data[pixels.size - 1] ^= 1;
    struct bytes gap = { 0 };
    png_start(&gap, 4, 2, 8, 0, 0);
    png_chunk(&gap, "IDAT", pixels.data, 5);
    png_chunk(&gap, "tEXt", "a\0b", 3);
    png_chunk(&gap, "IDAT", pixels.data + 5, pixels.size - 5);
    png_end(&gap);
    hostile("P5 gap", PNG, gap, DIFFC_ERR_TRUNCATED, NULL);
    file = grey_png(&pixels, 100);
    file.size -= 12;
    hostile("P5 no IEND", PNG, file, DIFFC_ERR_TRUNCATED, NULL);
    bytes_free(&more);
    bytes_free(&half);
    bytes_free(&raw);
    bytes_free(&pixels);
}

static void test_p7_tail(void **state)
{
    (void)state;
    struct bytes file = make_png(4, 2, 8, 0);
    struct dfi_file_calls calls = *dfi_file_calls();
    bytes_save(&file, io_path("tail.png"));
    assert_int_equal(truncate(io_path("tail.png"), 1 << 30), 0);
    calls.read = count_read;
    dfi_file_calls_set(&calls);
    hostile_path("P7", PNG, io_path("tail.png"), DIFFC_OK, NULL);
    dfi_file_calls_set(NULL);
    assert_true(bytes_read < (long long)file.size + 1000);
    bytes_free(&file);
}

static void test_p8_chunks(void **state)
{
    (void)state;
    struct bytes file = make_png(4, 2, 8, 0);
    with_chunk(&file, "fcTL", "\0\0\0\0\0\0\0\4\0\0\0\2\0\0\0\0\0\0\0\0\0\1\0\1\0\0", 26);
    with_chunk(&file, "acTL", "\0\0\0\2\0\0\0\0", 8);
    hostile("P8 APNG", PNG, file, DIFFC_OK, NULL);
    file = make_png(4, 2, 8, 0);
    with_chunk(&file, "CrIt", "x", 1);
    hostile("P8 critical", PNG, file, DIFFC_ERR_UNSUPPORTED, "critical");
    file = make_png(4, 2, 8, 0);
    with_chunk(&file, "a\0b\1", "x", 1);
    hostile("P8 type", PNG, file, DIFFC_ERR_FORMAT, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_p1_signature), cmocka_unit_test(test_p2_size), cmocka_unit_test(test_p3_kinds),
        cmocka_unit_test(test_p4_bombs),     cmocka_unit_test(test_p5_data), cmocka_unit_test(test_p7_tail),
        cmocka_unit_test(test_p8_chunks),
    };
    return cmocka_run_group_tests(tests, hostile_setup, hostile_teardown);
}
