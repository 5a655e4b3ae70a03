#ifndef DIFFC_TEST_IO_CASE_H
#define DIFFC_TEST_IO_CASE_H

/* What the tests of readers and writers share: a context whose memory is counted and may fail, a temporary
 * folder, byte strings that grow, and makers of files that no decent writer would make. */

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include <diffc/diffc.h>

#include "base/file.h"
#include "io/reader.h"

struct io_memory {
    long calls, live;
    long fail_from, fail_count; /* fails calls fail_from .. fail_from + fail_count - 1, from 1; 0: none */
    size_t bytes, peak;
};

static struct io_memory io_memory;
static diffc_context *io_context;
static char io_folder[64];

static void *io_alloc(void *opaque, size_t bytes)
{
    struct io_memory *const memory = opaque;
    memory->calls++;
    if (memory->fail_from && memory->calls >= memory->fail_from &&
        memory->calls - memory->fail_from < memory->fail_count)
        return NULL;
    size_t *const block = malloc(bytes + 16);
    if (!block)
        return NULL;
    block[0] = bytes;
    memory->live++;
    memory->bytes += bytes;
    if (memory->bytes > memory->peak)
        memory->peak = memory->bytes;
    return block + 2;
}

static void io_release(void *opaque, void *block)
{
    struct io_memory *const memory = opaque;
    size_t *const start = (size_t *)block - 2;
    memory->live--;
    memory->bytes -= start[0];
    free(start);
}

static inline diffc_context *io_context_new(const diffc_limits *limits)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    options.threads = 1;
    options.allocator = (diffc_allocator) { io_alloc, io_release, &io_memory };
    options.limits = limits;
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    return context;
}

static inline int io_setup(void **state)
{
    (void)state;
    strcpy(io_folder, "diffc-io-XXXXXX");
    assert_non_null(mkdtemp(io_folder));
    io_context = io_context_new(NULL);
    return 0;
}

/* Names in the folder; their number is what a writer must not raise by leaving temporary files. */
static inline int io_count_files(void)
{
    DIR *const folder = opendir(io_folder);
    int count = 0;
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(folder);
    return count;
}

static inline void io_empty_folder(void)
{
    DIR *const folder = opendir(io_folder);
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

static inline int io_teardown(void **state)
{
    (void)state;
    io_empty_folder();
    rmdir(io_folder);
    diffc_release(&io_context);
    return io_memory.live == 0 ? 0 : -1;
}

static inline int io_count_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* A name in the temporary folder; four live at a time. */
static inline const char *io_path(const char *name)
{
    static char paths[4][128];
    static int next;
    char *const path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", io_folder, name);
    return path;
}

struct bytes {
    unsigned char *data;
    size_t size, capacity;
};

static inline void bytes_put(struct bytes *bytes, const void *data, size_t size)
{
    if (bytes->size + size > bytes->capacity || !bytes->data) {
        bytes->capacity = 2 * (bytes->size + size) + 64;
        bytes->data = realloc(bytes->data, bytes->capacity);
        assert_non_null(bytes->data);
    }
    if (size)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static inline void bytes_text(struct bytes *bytes, const char *text)
{
    bytes_put(bytes, text, strlen(text));
}

static inline void bytes_fill(struct bytes *bytes, int value, size_t count)
{
    unsigned char block[4096];
    memset(block, value, sizeof(block));
    for (size_t part; count > 0; count -= part) {
        part = count < sizeof(block) ? count : sizeof(block);
        bytes_put(bytes, block, part);
    }
}

static inline void bytes_le(struct bytes *bytes, uint64_t value, int width)
{
    for (int i = 0; i < width; i++) {
        const unsigned char byte = (unsigned char)(value >> 8 * i & 0xFF);
        bytes_put(bytes, &byte, 1);
    }
}

static inline void bytes_be32(struct bytes *bytes, uint32_t value)
{
    const unsigned char be[4] = { (unsigned char)(value >> 24), (unsigned char)(value >> 16 & 0xFF),
                                  (unsigned char)(value >> 8 & 0xFF), (unsigned char)(value & 0xFF) };
    bytes_put(bytes, be, 4);
}

static inline void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes) { 0 };
}

/* Some file systems wait for the disk when a file that was cut to nothing is closed: a new one does not. */
static inline void bytes_save(const struct bytes *bytes, const char *path)
{
    (void)unlink(path);
    FILE *const file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
    assert_int_equal(fclose(file), 0);
}

static inline struct bytes bytes_load(const char *path)
{
    struct bytes bytes = { 0 };
    unsigned char block[4096];
    FILE *const file = fopen(path, "rb");
    assert_non_null(file);
    for (size_t got; (got = fread(block, 1, sizeof(block), file)) > 0;)
        bytes_put(&bytes, block, got);
    fclose(file);
    return bytes;
}

/* safetensors: length, header, `data` bytes 0, 1, 2, ... */
static inline struct bytes make_safetensors(const char *header, size_t data)
{
    struct bytes file = { 0 };
    bytes_le(&file, strlen(header), 8);
    bytes_text(&file, header);
    for (size_t i = 0; i < data; i++) {
        const unsigned char byte = (unsigned char)(i & 0xFF);
        bytes_put(&file, &byte, 1);
    }
    return file;
}

static inline struct bytes make_npy(int major, const char *header, size_t data)
{
    struct bytes file = { 0 };
    bytes_put(&file, "\x93NUMPY", 6);
    bytes_le(&file, (uint64_t)major, 2);
    bytes_le(&file, strlen(header), major == 1 ? 2 : 4);
    bytes_text(&file, header);
    for (size_t i = 0; i < data; i++) {
        const unsigned char byte = (unsigned char)(i & 0xFF);
        bytes_put(&file, &byte, 1);
    }
    return file;
}

static inline struct bytes make_idx(int type, int ndim, const uint32_t *dims, size_t data)
{
    struct bytes file = { 0 };
    const unsigned char magic[4] = { 0, 0, (unsigned char)type, (unsigned char)ndim };
    bytes_put(&file, magic, 4);
    for (int i = 0; i < ndim && i < 5; i++)
        bytes_be32(&file, dims[i]);
    for (size_t i = 0; i < data; i++) {
        const unsigned char byte = (unsigned char)(i * 7 & 0xFF);
        bytes_put(&file, &byte, 1);
    }
    return file;
}

/* One gzip member. `window`: 31 for gzip, 15 for the zlib format inside PNG. */
static inline struct bytes deflate_bytes(const struct bytes *source, int window)
{
    struct bytes packed = { 0 };
    unsigned char block[4096];
    z_stream stream = { 0 };
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = source->data;
    stream.avail_in = (unsigned)source->size;
    for (int result = Z_OK; result == Z_OK;) {
        stream.next_out = block;
        stream.avail_out = sizeof(block);
        result = deflate(&stream, Z_FINISH);
        bytes_put(&packed, block, sizeof(block) - stream.avail_out);
    }
    deflateEnd(&stream);
    return packed;
}

static inline void png_chunk(struct bytes *file, const char *type, const void *data, size_t size)
{
    bytes_be32(file, (uint32_t)size);
    const size_t start = file->size;
    bytes_put(file, type, 4);
    bytes_put(file, data, size);
    bytes_be32(file, dfi_crc32(0, file->data + start, file->size - start));
}

static inline void png_start(struct bytes *file, uint32_t width, uint32_t height, int depth, int colour,
                             int interlace)
{
    struct bytes head = { 0 };
    const unsigned char rest[5] = { (unsigned char)depth, (unsigned char)colour, 0, 0,
                                    (unsigned char)interlace };
    bytes_put(file, "\x89PNG\r\n\x1a\n", 8);
    bytes_be32(&head, width);
    bytes_be32(&head, height);
    bytes_put(&head, rest, 5);
    png_chunk(file, "IHDR", head.data, head.size);
    bytes_free(&head);
}

/* Rows of `row_bytes` bytes 0, 1, 2, ... without a filter, packed. */
static inline struct bytes png_pixels(size_t rows, size_t row_bytes)
{
    struct bytes raw = { 0 };
    for (size_t y = 0; y < rows; y++) {
        bytes_fill(&raw, 0, 1);
        for (size_t x = 0; x < row_bytes; x++) {
            const unsigned char byte = (unsigned char)((y * row_bytes + x) & 0xFF);
            bytes_put(&raw, &byte, 1);
        }
    }
    struct bytes packed = deflate_bytes(&raw, 15);
    bytes_free(&raw);
    return packed;
}

static inline void png_end(struct bytes *file)
{
    png_chunk(file, "IEND", "", 0);
}

static inline struct bytes make_png(uint32_t width, uint32_t height, int depth, int colour)
{
    const size_t samples = colour == 2 ? 3 : colour == 4 ? 2 : colour == 6 ? 4 : 1;
    struct bytes file = { 0 }, pixels = png_pixels(height, (width * samples * (size_t)depth + 7) / 8);
    png_start(&file, width, height, depth, colour, 0);
    png_chunk(&file, "IDAT", pixels.data, pixels.size);
    png_end(&file);
    bytes_free(&pixels);
    return file;
}

/* Fails the n-th allocation, once and then from there on, for n = 1, 2, ... until the call succeeds. It must
 * report NOMEM and leave nothing behind; `call` returns its status and releases what it made. */
static inline long io_fail_allocations(int (*call)(void *work), void *work)
{
    long points = 0;
    for (int forever = 0; forever < 2; forever++) {
        for (long n = 1;; n++) {
            const long live = io_memory.live;
            io_memory.calls = 0;
            io_memory.fail_from = n;
            io_memory.fail_count = forever ? 1L << 60 : 1;
            const int status = call(work);
            const int reached = io_memory.calls >= n;
            io_memory.fail_from = 0;
            assert_int_equal(io_memory.live, live);
            if (!reached) {
                assert_int_equal(status, DIFFC_OK);
                break;
            }
            assert_int_equal(status, DIFFC_ERR_NOMEM);
            assert_true(diffc_message()[0] != '\0');
            points++;
        }
    }
    assert_int_equal(call(work), DIFFC_OK);
    return points;
}

#endif
