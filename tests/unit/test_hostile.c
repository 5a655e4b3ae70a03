/* What holds for every format: files that shrink while they are read, paths that are no files, files
 * with any damage. */

#include "hostile_files.h"

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

static int teardown(void **state)
{
    chmod(io_path("secret"), 0600);
    return hostile_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_s14_shrinking),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, hostile_setup, teardown);
}
