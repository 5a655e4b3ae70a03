/* gzip and IDX files: rows I of the table of hostile inputs. */

#include "hostile_files.h"

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

/* A second member was taken for garbage where only its first byte was read together with the first one. */
static void test_i3_member_at_the_end_of_a_buffer(void **state)
{
    (void)state;
    const uint32_t dims[3] = { 10, 5, 4 };
    struct bytes plain = make_idx(8, 3, dims, 200), packed = deflate_bytes(&plain, 31);
    packed.data[3] |= 8; /* a name follows the ten bytes of the header */
    for (size_t end = 32766; end <= 32769; end++) {
        struct bytes file = { 0 };
        bytes_put(&file, packed.data, 10);
        bytes_fill(&file, 'n', end - packed.size - 1);
        bytes_fill(&file, 0, 1);
        bytes_put(&file, packed.data + 10, packed.size - 10);
        bytes_put(&file, "\x1f\x8b\x08\0\0\0\0\0\0\3\3\0\0\0\0\0\0\0\0\0", 20);
        hostile("I3 member", IDX, file, DIFFC_ERR_FORMAT, "another gzip member");
    }
    bytes_free(&plain);
    bytes_free(&packed);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i2_i3_gzip),     cmocka_unit_test(test_i3_member_at_the_end_of_a_buffer),
        cmocka_unit_test(test_i4_i5_sizes),    cmocka_unit_test(test_i6_magic),
        cmocka_unit_test(test_i8_gzip_header),
    };
    return cmocka_run_group_tests(tests, hostile_setup, hostile_teardown);
}
