#include "hostile_files.h"

#include <sys/resource.h>

/* The rows of the tables of hostile inputs, one after the other, under a limit on the address space. */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static void limit_memory(void)
{
#ifndef SANITIZED
    const struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

static struct bytes text_file(const char *text, size_t size)
{
    struct bytes file = { 0 };
    bytes_put(&file, text, size);
    return file;
}

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

static long long bytes_read;

static ssize_t count_read(int fd, void *data, size_t size)
{
    const ssize_t got = read(fd, data, size);
    bytes_read += got > 0 ? got : 0;
    return got;
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

static void test_i2_i3_gzip(void **state)
{
    (void)state;
    const uint32_t dims[3] = { 10, 5, 4 };
    struct bytes plain = make_idx(8, 3, dims, 200), packed = deflate_bytes(&plain, 31);
    static const struct {
        const char *id;
        size_t cut;  /* bytes less at the end */
        size_t flip; /* byte from the end that is changed, from 1 */
        const char *tail;
        size_t tail_size;
        int status;
    } rows[] = {
        { "I1", 0, 0, "", 0, DIFFC_OK },
        { "I2 in data", 30, 0, "", 0, DIFFC_ERR_TRUNCATED },
        { "I2 in trailer", 3, 0, "", 0, DIFFC_ERR_TRUNCATED },
        { "I2 before trailer", 8, 0, "", 0, DIFFC_ERR_TRUNCATED },
        { "I2 CRC", 0, 6, "", 0, DIFFC_ERR_CHECKSUM },
        { "I2 ISIZE", 0, 2, "", 0, DIFFC_ERR_CHECKSUM },
        { "I3 garbage", 0, 0, "garbage", 7, DIFFC_OK },
        { "I3 zeros", 0, 0, "\0\0\0\0\0", 5, DIFFC_OK },
        { "I3 member", 0, 0, "\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0", 20, DIFFC_ERR_FORMAT },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes file = { 0 };
        bytes_put(&file, packed.data, packed.size - rows[i].cut);
        if (rows[i].flip)
            file.data[file.size - rows[i].flip] ^= 0x10;
        bytes_put(&file, rows[i].tail, rows[i].tail_size);
        hostile(rows[i].id, IDX, file, rows[i].status, NULL);
    }
    bytes_free(&plain);
    bytes_free(&packed);
}

static struct bytes packed_idx(int ndim, const uint32_t *dims, size_t data)
{
    struct bytes plain = make_idx(8, ndim, dims, data), packed = deflate_bytes(&plain, 31);
    bytes_free(&plain);
    return packed;
}

static void test_i4_i5_sizes(void **state)
{
    (void)state;
    const uint32_t mnist[3] = { 60000, 28, 28 }, ten[3] = { 10, 28, 28 };
    const uint32_t huge[2] = { 0xFFFFFFFFu, 0xFFFFFFFFu };
    const uint32_t wraps[4] = { 0x80000000u, 0x80000000u, 4, 1 };
    hostile("I4 plain", IDX, make_idx(8, 3, mnist, 10 * 784), DIFFC_ERR_TRUNCATED, "47040000");
    hostile("I4 packed", IDX, packed_idx(3, mnist, 10 * 784), DIFFC_ERR_TRUNCATED, NULL);
    hostile("I4 longer", IDX, make_idx(8, 3, ten, 10 * 784 + 1), DIFFC_ERR_FORMAT, "1 bytes behind");
    hostile("I4 packed longer", IDX, packed_idx(3, ten, 10 * 784 + 1), DIFFC_ERR_FORMAT, "more");
    const size_t before = io_memory.peak = io_memory.bytes;
    hostile("I5", IDX, make_idx(8, 2, huge, 1 << 20), DIFFC_ERR_LIMIT, "idx_bytes");
    hostile("I5 wraps to 0", IDX, make_idx(8, 4, wraps, 100), DIFFC_ERR_LIMIT, NULL);
    const uint32_t bomb[1] = { 1u << 30 };
    hostile("I5 cannot hold it", IDX, packed_idx(1, bomb, 1000), DIFFC_ERR_TRUNCATED, NULL);
    assert_true(io_memory.peak - before < 200000);
    struct bytes zeros = { 0 };
    bytes_fill(&zeros, 0, 8 << 20);
    memcpy(zeros.data, "\0\0\x8\1\0\0\0\x10", 8);
    io_memory.peak = io_memory.bytes;
    struct bytes packed = deflate_bytes(&zeros, 31);
    hostile("I5 1000:1 behind 16 bytes", IDX, packed, DIFFC_ERR_FORMAT, NULL);
    assert_true(io_memory.peak - before < 200000);
    bytes_free(&zeros);
}

static void test_i6_magic(void **state)
{
    (void)state;
    const uint32_t dims[5] = { 2, 3, 1, 1, 1 }, zero[2] = { 2, 0 };
    for (int type = 0; type < 256; type++) {
        const int other = type == 9 || (type >= 0xB && type <= 0xE);
        hostile("I6 type", IDX, make_idx(type, 2, dims, 6),
                type == 8 ? DIFFC_OK
                : other   ? DIFFC_ERR_UNSUPPORTED
                          : DIFFC_ERR_FORMAT,
                type == 8 ? NULL : "type");
    }
    hostile("I6 0 dims", IDX, make_idx(8, 0, dims, 6), DIFFC_ERR_FORMAT, "0 dimensions");
    hostile("I6 5 dims", IDX, make_idx(8, 5, dims, 6), DIFFC_ERR_UNSUPPORTED, "5 dimensions");
    hostile("I6 255 dims", IDX, make_idx(8, 255, dims, 2000), DIFFC_ERR_UNSUPPORTED, "255 dimensions");
    hostile("I6 dim 0", IDX, make_idx(8, 2, zero, 0), DIFFC_ERR_FORMAT, "byte 8");
    hostile("I6 swapped", IDX, text_file("\3\x8\0\0\2\0\0\0", 8), DIFFC_ERR_FORMAT, "swapped");
    hostile("I6 empty", IDX, text_file("", 0), DIFFC_ERR_TRUNCATED, NULL);
}

static void test_i8_gzip_header(void **state)
{
    (void)state;
    for (int flag = 8; flag <= 16; flag += 8) { /* name, comment */
        const unsigned char head[10] = { 0x1F, 0x8B, 8, (unsigned char)flag };
        struct bytes file = { 0 };
        bytes_put(&file, head, 10);
        bytes_fill(&file, 'n', 500);
        hostile("I8 unterminated", IDX, file, DIFFC_ERR_FORMAT, "gzip header");
        file = (struct bytes) { 0 };
        bytes_put(&file, head, 10);
        bytes_save(&file, io_path("name.gz"));
        bytes_free(&file);
        FILE *const long_name = fopen(io_path("name.gz"), "ab");
        static char block[65536];
        memset(block, 'n', sizeof(block));
        for (int i = 0; i < 32; i++)
            assert_int_equal(fwrite(block, 1, sizeof(block), long_name), sizeof(block));
        fclose(long_name);
        assert_int_equal(truncate(io_path("name.gz"), 1 << 30), 0);
        struct dfi_file_calls calls = *dfi_file_calls();
        calls.read = count_read;
        bytes_read = 0;
        dfi_file_calls_set(&calls);
        hostile_path("I8 1 GB", IDX, io_path("name.gz"), DIFFC_ERR_FORMAT, "gzip header");
        dfi_file_calls_set(NULL);
        assert_true(bytes_read < 200000);
    }
    hostile("I8 method", IDX, text_file("\x1f\x8b\7\0\0\0\0\0\0\3\0\0", 12), DIFFC_ERR_FORMAT, "gzip");
}

#define NPY_HEADER(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"

static void test_n1_prefix(void **state)
{
    (void)state;
    struct bytes file = make_npy(1, NPY_HEADER("'<f4'", "False", "(2,)"), 8);
    hostile("N1 good", NPY, file, DIFFC_OK, NULL);
    hostile("N1 magic", NPY, text_file("\x93NUMPX\1\0\0\0", 10), DIFFC_ERR_FORMAT, "not an npy");
    hostile("N1 empty", NPY, text_file("", 0), DIFFC_ERR_TRUNCATED, NULL);
    hostile("N1 version 4", NPY, make_npy(4, NPY_HEADER("'<f4'", "False", "(2,)"), 8), DIFFC_ERR_UNSUPPORTED,
            "4.0");
    hostile("N1 version 0", NPY, make_npy(0, NPY_HEADER("'<f4'", "False", "(2,)"), 8), DIFFC_ERR_UNSUPPORTED,
            "0.0");
    hostile("N1 length", NPY, text_file("\x93NUMPY\2\0\xf0\xff\xff\xff", 12), DIFFC_ERR_LIMIT, "10000");
    hostile("N1 header cut", NPY, text_file("\x93NUMPY\1\0\x76\0{'de", 14), DIFFC_ERR_TRUNCATED, NULL);
    struct bytes padded = { 0 };
    bytes_text(&padded, NPY_HEADER("'<f4'", "False", "(2,)"));
    padded.size--;
    for (size_t i = padded.size; i < 9999; i++)
        bytes_text(&padded, " ");
    bytes_put(&padded, "\n", 2);
    hostile("N1 10000", NPY, make_npy(2, (const char *)padded.data, 8), DIFFC_OK, NULL);
    padded.data[9999] = ' ';
    padded.data[10000] = '\n';
    bytes_put(&padded, "", 1);
    hostile("N1 10001", NPY, make_npy(2, (const char *)padded.data, 8), DIFFC_ERR_LIMIT, NULL);
    bytes_free(&padded);
}

static void test_n2_descr(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        int status;
        const char *words;
    } rows[] = {
        { NPY_HEADER("'|O'", "False", "(2,)"), 16, DIFFC_ERR_UNSUPPORTED, "objects" },
        { NPY_HEADER("[('a', '<f4')]", "False", "(2,)"), 8, DIFFC_ERR_UNSUPPORTED, "records" },
        { NPY_HEADER("'<f3'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, "<f3" },
        { NPY_HEADER("'<i8x'", "False", "(2,)"), 16, DIFFC_ERR_FORMAT, "<i8x" },
        { NPY_HEADER("'>f4'", "False", "(2,)"), 8, DIFFC_OK, NULL },
        { NPY_HEADER("'<f2'", "False", "(2,)"), 4, DIFFC_OK, NULL },
        { NPY_HEADER("'=f4'", "False", "(2,)"), 8, DIFFC_OK, NULL },
        { NPY_HEADER("'<u1'", "False", "(2,)"), 2, DIFFC_OK, NULL },
        { NPY_HEADER("''", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, NULL },
        { NPY_HEADER("'<'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, NULL },
        { NPY_HEADER("'f4'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, NULL },
        { NPY_HEADER("'|f4'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, "byte order" },
        { NPY_HEADER("'<c8'", "False", "(2,)"), 16, DIFFC_ERR_UNSUPPORTED, NULL },
        { NPY_HEADER("'|b1'", "False", "(2,)"), 2, DIFFC_ERR_UNSUPPORTED, NULL },
        { NPY_HEADER("'<U3'", "False", "(2,)"), 24, DIFFC_ERR_UNSUPPORTED, NULL },
        { NPY_HEADER("'<f4000000000000000000000000000000000'", "False", "(2,)"), 8, DIFFC_ERR_FORMAT,
          "too long" },
        { NPY_HEADER("4", "False", "(2,)"), 8, DIFFC_ERR_FORMAT, "string" },
        /* N3 */
        { NPY_HEADER("'<f4'", "True", "(2, 3)"), 24, DIFFC_OK, NULL },
        { NPY_HEADER("'<f4'", "true", "(2, 3)"), 24, DIFFC_ERR_FORMAT, "fortran_order" },
        { NPY_HEADER("'<f4'", "1", "(2, 3)"), 24, DIFFC_ERR_FORMAT, "fortran_order" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        hostile("N2", NPY, make_npy(1, rows[i].header, rows[i].data), rows[i].status, rows[i].words);
}

static void test_n4_shape(void **state)
{
    (void)state;
    static const struct {
        const char *shape;
        size_t data;
        int status;
    } rows[] = {
        { "()", 1, DIFFC_OK },
        { "(0,)", 0, DIFFC_OK },
        { "(1,)", 1, DIFFC_OK },
        { "( 2 , 1 , )", 2, DIFFC_OK },
        { "(-1,)", 1, DIFFC_ERR_FORMAT },
        { "(1e3,)", 1000, DIFFC_ERR_FORMAT },
        { "(2L,)", 2, DIFFC_ERR_FORMAT },
        { "(+2,)", 2, DIFFC_ERR_FORMAT },
        { "(2)", 2, DIFFC_ERR_FORMAT },
        { "(,)", 1, DIFFC_ERR_FORMAT },
        { "(2,,)", 2, DIFFC_ERR_FORMAT },
        { "(2 3)", 6, DIFFC_ERR_FORMAT },
        { "(2,", 2, DIFFC_ERR_FORMAT },
        { "[2]", 2, DIFFC_ERR_FORMAT },
        { "2", 2, DIFFC_ERR_FORMAT },
        { "((2,),)", 2, DIFFC_ERR_FORMAT },
        { "(1,1,1,1,1,1,1,1)", 1, DIFFC_OK },
        { "(1,1,1,1,1,1,1,1,1)", 1, DIFFC_ERR_LIMIT },
        { "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)", 1, DIFFC_ERR_LIMIT },
        { "(4194305, 4194305, 211106198978564)", 4, DIFFC_ERR_LIMIT },
        { "(0, 9223372036854775807, 3)", 0, DIFFC_ERR_LIMIT },
        { "(9223372036854775808,)", 4, DIFFC_ERR_LIMIT },
        { "(99999999999999999999999999,)", 4, DIFFC_ERR_LIMIT },
        { "(9223372036854775807,)", 4, DIFFC_ERR_TRUNCATED },
    };
    char header[256];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(header, sizeof(header), NPY_HEADER("'|u1'", "False", "%s"), rows[i].shape);
        hostile(rows[i].shape, NPY, make_npy(1, header, rows[i].data), rows[i].status, NULL);
    }
}

static void test_n5_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        int status;
    } rows[] = {
        { "{'shape': (2,), 'descr': '|u1', 'fortran_order': False}\n", DIFFC_OK },
        { "{\"shape\":(2,),\"descr\":\"|u1\",\"fortran_order\":False}\n", DIFFC_OK },
        { "  {'shape': (2,), 'descr': '|u1', 'fortran_order': False}  \n", DIFFC_OK },
        { "{'descr': '|u1', 'fortran_order': False}\n", DIFFC_ERR_FORMAT },
        { "{}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), 'x': 1}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)}", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)} x\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1, 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1\", 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1', 'fortran_order': False, 'shape': (2,)\n", DIFFC_ERR_FORMAT },
        { "{'descr' '|u1', 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '|u1' 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "{,}\n", DIFFC_ERR_FORMAT },
        { "{'descr': '\\x7cu1', 'fortran_order': False, 'shape': (2,)}\n", DIFFC_ERR_FORMAT },
        { "__import__('os').system('true')\n", DIFFC_ERR_FORMAT },
        { "\n", DIFFC_ERR_FORMAT },
        { "", DIFFC_ERR_FORMAT },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        hostile(rows[i].header, NPY, make_npy(1, rows[i].header, 2), rows[i].status,
                rows[i].status ? "npy" : NULL);
    struct bytes nested = { 0 };
    bytes_text(&nested, "{'descr': '|u1', 'fortran_order': False, 'shape': ");
    bytes_fill(&nested, '(', 9000);
    bytes_put(&nested, "\n", 2);
    hostile("N5 nested", NPY, make_npy(1, (const char *)nested.data, 2), DIFFC_ERR_FORMAT, NULL);
    nested.size -= 2;
    bytes_fill(&nested, '(', 100000);
    bytes_put(&nested, "\n", 2);
    hostile("N5 nested 10^5", NPY, make_npy(2, (const char *)nested.data, 2), DIFFC_ERR_LIMIT, NULL);
    bytes_free(&nested);
}

static void test_n6_data(void **state)
{
    (void)state;
    hostile("N6 short", NPY, make_npy(1, NPY_HEADER("'<f4'", "False", "(2, 3)"), 23), DIFFC_ERR_TRUNCATED,
            "24");
    hostile("N6 long", NPY, make_npy(1, NPY_HEADER("'<f4'", "False", "(2, 3)"), 25), DIFFC_ERR_FORMAT,
            "1 bytes behind");
    const size_t before = io_memory.peak = io_memory.bytes;
    hostile("N6 claims 4 GB", NPY, make_npy(1, NPY_HEADER("'<f4'", "False", "(1073741824,)"), 5),
            DIFFC_ERR_TRUNCATED, NULL);
    assert_true(io_memory.peak - before < 100000);
}

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

#define ENTRY(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"a\":" ENTRY(dtype, shape, offsets) "}"

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

static void test_s12_values(void **state)
{
    (void)state;
    static const uint32_t values[4] = { 0x7FC00001u, 0xFF800000u, 0x00000001u, 0x7F800001u };
    struct bytes file = make_safetensors(ONE("\"F32\"", "[4]", "[0,16]"), 0);
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = NULL;
    for (int i = 0; i < 4; i++)
        bytes_le(&file, values[i], 4);
    assert_int_equal(diffc_archive_open_memory(io_context, file.data, file.size, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_get(archive, "a", &tensor), DIFFC_OK);
    assert_memory_equal(diffc_tensor_data(tensor), values, 16);
    diffc_release(&tensor);
    diffc_release(&archive);
    bytes_free(&file);
}

static long long shrink_after;

static ssize_t shrinking_read(int fd, void *data, size_t size)
{
    if (shrink_after-- == 0)
        assert_int_equal(truncate(io_path("shrink"), 40), 0);
    return read(fd, data, size < 16 ? size : 16);
}

/* The file becomes shorter while it is read. */
static void test_s14_shrinking(void **state)
{
    (void)state;
    const uint32_t dims[1] = { 300 };
    struct dfi_file_calls calls = *dfi_file_calls();
    calls.read = shrinking_read;
    for (int format = PNG; format <= SAFETENSORS; format++) {
        for (int after = 3; after < 6; after++) {
            struct bytes file = format == PNG   ? make_png(100, 3, 8, 0)
                                : format == IDX ? make_idx(8, 1, dims, 300)
                                : format == NPY ? make_npy(1, NPY_HEADER("'|u1'", "False", "(300,)"), 300)
                                                : make_safetensors(ONE("\"U8\"", "[300]", "[0,300]"), 300);
            const long live = io_memory.live;
            void *handle = NULL;
            bytes_save(&file, io_path("shrink"));
            shrink_after = after;
            dfi_file_calls_set(&calls);
            const int status = hostile_read((enum format)format, io_path("shrink"), 0, &handle);
            dfi_file_calls_set(NULL);
            hostile_check("S14", status, DIFFC_ERR_TRUNCATED, "shrink", handle, live, hostile_now());
            bytes_free(&file);
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

/* What is no regular file, or cannot be read: an error at once. */
static void test_paths(void **state)
{
    (void)state;
    char endless[5000];
    memset(endless, 'x', sizeof(endless));
    endless[4999] = '\0';
    assert_int_equal(mkfifo(io_path("fifo"), 0600), 0);
    assert_int_equal(symlink("nowhere", io_path("dangling")), 0);
    assert_int_equal(symlink("loop", io_path("loop")), 0);
    struct bytes file = make_png(4, 2, 8, 0);
    bytes_save(&file, io_path("secret"));
    bytes_free(&file);
    assert_int_equal(chmod(io_path("secret"), 0), 0);
    for (int format = PNG; format <= SAFETENSORS; format++) {
        const char *const paths[] = { io_folder, "/dev/zero",     "/dev/null",         endless,
                                      "",        io_path("fifo"), io_path("dangling"), io_path("loop") };
        for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
            hostile_path(paths[i], (enum format)format, paths[i], DIFFC_ERR_IO, NULL);
        if (geteuid() != 0)
            hostile_path("unreadable", (enum format)format, io_path("secret"), DIFFC_ERR_IO, "secret");
    }
}

static struct bytes large_png(void)
{
    struct bytes file = { 0 }, raw = { 0 };
    for (int y = 0; y < 32; y++) {
        bytes_fill(&raw, y % 5, 1);
        for (int x = 0; x < 32 * 3; x++) {
            const unsigned char byte = (unsigned char)((y * 97 + x * 31) * 2654435761u >> 24);
            bytes_put(&raw, &byte, 1);
        }
    }
    struct bytes pixels = deflate_bytes(&raw, 15);
    png_start(&file, 32, 32, 8, 2, 0);
    png_chunk(&file, "gAMA", "\0\0\xb1\x8f", 4);
    png_chunk(&file, "tRNS", "\0\1\0\2\0\3", 6);
    for (size_t at = 0; at < pixels.size; at += 1000)
        png_chunk(&file, "IDAT", pixels.data + at, pixels.size - at < 1000 ? pixels.size - at : 1000);
    png_chunk(&file, "tEXt", "a\0b", 3);
    png_end(&file);
    bytes_free(&raw);
    bytes_free(&pixels);
    return file;
}

static struct bytes interlaced_png(void)
{
    struct bytes file = { 0 }, raw = { 0 };
    bytes_fill(&raw, 0, 15 * 2); /* 8 x 8 pixels of 1 bit: 15 rows of one byte in 7 passes */
    struct bytes pixels = deflate_bytes(&raw, 15);
    png_start(&file, 8, 8, 1, 3, 1);
    png_chunk(&file, "PLTE", "abcdef", 6);
    png_chunk(&file, "tRNS", "\1\2", 2);
    png_chunk(&file, "IDAT", pixels.data, pixels.size);
    png_end(&file);
    bytes_free(&raw);
    bytes_free(&pixels);
    return file;
}

static struct bytes large_archive(void)
{
    struct bytes header = { 0 };
    char entry[160];
    bytes_text(&header, "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"caf\xc3\xa9 \\u20ac\"}");
    for (int i = 0; i < 40; i++) {
        snprintf(entry, sizeof(entry), ",\"block.%d.weight\":" ENTRY("\"%s\"", "[%d,2]", "[%d,%d]"), i,
                 i % 2 ? "F16" : "F32", i % 2 ? 2 : 1, 8 * i, 8 * i + 8);
        bytes_text(&header, entry);
    }
    bytes_put(&header, "}", 2);
    struct bytes file = make_safetensors((const char *)header.data, 320);
    bytes_free(&header);
    return file;
}

static void test_damage(void **state)
{
    (void)state;
    const uint32_t dims[3] = { 40, 10, 9 };
    const long before = hostile_cases;
    int codes[16] = { 0 };
    hostile_damage(PNG, large_png(), codes);
    hostile_damage(PNG, interlaced_png(), codes);
    hostile_damage(IDX, make_idx(8, 3, dims, 3600), codes);
    hostile_damage(IDX, packed_idx(3, dims, 3600), codes);
    hostile_damage(NPY, make_npy(1, NPY_HEADER("'>i4'", "True", "(4, 25)"), 400), codes);
    hostile_damage(SAFETENSORS, large_archive(), codes);
    print_message(
        "damaged files: %ld; ok %d, format %d, truncated %d, checksum %d, limit %d, unsupported %d\n",
        hostile_cases - before, codes[0], codes[-DIFFC_ERR_FORMAT], codes[-DIFFC_ERR_TRUNCATED],
        codes[-DIFFC_ERR_CHECKSUM], codes[-DIFFC_ERR_LIMIT], codes[-DIFFC_ERR_UNSUPPORTED]);
    assert_true(hostile_cases - before >= 50000);
}

static int setup(void **state)
{
    limit_memory();
    return io_setup(state);
}

static int teardown(void **state)
{
    print_message("hostile files: %ld cases, the slowest (%s) took %.0f ms of CPU\n", hostile_cases,
                  hostile_slowest_id, hostile_slowest * 1e3);
    chmod(io_path("secret"), 0600);
    return io_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_p1_signature),
        cmocka_unit_test(test_p2_size),
        cmocka_unit_test(test_p3_kinds),
        cmocka_unit_test(test_p4_bombs),
        cmocka_unit_test(test_p5_data),
        cmocka_unit_test(test_p7_tail),
        cmocka_unit_test(test_p8_chunks),
        cmocka_unit_test(test_i2_i3_gzip),
        cmocka_unit_test(test_i4_i5_sizes),
        cmocka_unit_test(test_i6_magic),
        cmocka_unit_test(test_i8_gzip_header),
        cmocka_unit_test(test_n1_prefix),
        cmocka_unit_test(test_n2_descr),
        cmocka_unit_test(test_n4_shape),
        cmocka_unit_test(test_n5_grammar),
        cmocka_unit_test(test_n6_data),
        cmocka_unit_test(test_s1_length),
        cmocka_unit_test(test_s3_header),
        cmocka_unit_test(test_s4_to_s8_entries),
        cmocka_unit_test(test_s4_name_length),
        cmocka_unit_test(test_s8_s9_counts),
        cmocka_unit_test(test_s12_values),
        cmocka_unit_test(test_s14_shrinking),
        cmocka_unit_test(test_pickles),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
