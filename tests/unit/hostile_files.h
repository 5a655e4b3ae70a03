#ifndef DIFFC_TEST_HOSTILE_FILES_H
#define DIFFC_TEST_HOSTILE_FILES_H

/* The rows of the tables of hostile inputs, under a limit on the address space, and the rules that all
 * follow: the expected code and words in the message, outputs untouched, no leak, no descriptor left, and the
 * same by path, by path with reads of one byte, and from memory. */

#include <errno.h>
#include <locale.h>
#include <sys/resource.h>
#include <time.h>

#include "io_case.h"

#include "io/idx.h"
#include "io/npy.h"
#include "io/png.h"
#include "io/safetensors.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

#define NPY_HEADER(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
#define ENTRY(dtype, shape, offsets) "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) "{\"a\":" ENTRY(dtype, shape, offsets) "}"

enum format { PNG, IDX, NPY, SAFETENSORS };

static long hostile_cases;
static double hostile_slowest;
static char hostile_slowest_id[64];

static inline int hostile_decode(enum format format, const struct bytes *file, void **handle)
{
    struct diffc_tensor *tensor = NULL;
    struct diffc_archive *archive = NULL;
    int status = DIFFC_OK;
    switch (format) {
    case PNG: status = dfi_png_decode(io_context, file->data, file->size, 0, &tensor); break;
    case IDX: status = dfi_idx_decode(io_context, file->data, file->size, &tensor); break;
    case NPY: status = dfi_npy_decode(io_context, file->data, file->size, &tensor); break;
    case SAFETENSORS:
        status = diffc_archive_open_memory(io_context, file->data, file->size, &archive);
        *handle = archive;
        return status;
    }
    *handle = tensor;
    return status;
}

static inline int hostile_read(enum format format, const char *path, int map, void **handle)
{
    diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
    struct diffc_tensor *tensor = NULL;
    struct diffc_archive *archive = NULL;
    int status = DIFFC_OK;
    switch (format) {
    case PNG: status = diffc_image_read(io_context, path, 0, &tensor); break;
    case IDX: status = diffc_idx_read(io_context, path, &tensor); break;
    case NPY: status = diffc_npy_read(io_context, path, &tensor); break;
    case SAFETENSORS:
        options.map = map;
        status = diffc_archive_open(io_context, path, &options, &archive);
        *handle = archive;
        return status;
    }
    *handle = tensor;
    return status;
}

static inline double hostile_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now); /* whatever else the machine does */
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline ssize_t hostile_read_one(int fd, void *data, size_t size)
{
    static int interrupted;
    interrupted = !interrupted;
    if (interrupted) {
        errno = EINTR;
        return -1;
    }
    return read(fd, data, size ? 1 : 0);
}

/* Checks after a call; frees what it made. */
static inline void hostile_check(const char *id, int status, int expected, const char *words, void *handle,
                                 long live, double start)
{
    const double took = hostile_now() - start;
    if (took > hostile_slowest) {
        hostile_slowest = took;
        snprintf(hostile_slowest_id, sizeof(hostile_slowest_id), "%s", id);
    }
    hostile_cases++;
    if (status != expected)
        fail_msg("%s: %s instead of %s: %s", id, diffc_status_name(status), diffc_status_name(expected),
                 diffc_message());
    if ((status != DIFFC_OK) != (handle == NULL))
        fail_msg("%s: output does not go with the status", id);
    if (status != DIFFC_OK && (!diffc_message()[0] || strchr(diffc_message(), '\n')))
        fail_msg("%s: message \"%s\"", id, diffc_message());
    if (words && !strstr(diffc_message(), words))
        fail_msg("%s: no \"%s\" in \"%s\"", id, words, diffc_message());
    diffc_release(&handle);
    if (io_memory.live != live)
        fail_msg("%s: %ld blocks left", id, io_memory.live - live);
}

static inline void hostile_path(const char *id, enum format format, const char *path, int expected,
                                const char *words)
{
    for (int map = 0; map <= (format == SAFETENSORS); map++) {
        const long live = io_memory.live;
        const int descriptors = io_count_descriptors();
        const double start = hostile_now();
        void *handle = NULL;
        const int status = hostile_read(format, path, map, &handle);
        hostile_check(id, status, expected, words, handle, live, start);
        assert_int_equal(io_count_descriptors(), descriptors);
    }
}

/* One row of the table; frees the file. */
static inline void hostile(const char *id, enum format format, struct bytes file, int expected,
                           const char *words)
{
    const long live = io_memory.live;
    const double start = hostile_now();
    void *handle = NULL;
    const int status = hostile_decode(format, &file, &handle);
    hostile_check(id, status, expected, words, handle, live, start);
    bytes_save(&file, io_path("hostile"));
    hostile_path(id, format, io_path("hostile"), expected, words);
    if (file.size < 100000) {
        struct dfi_file_calls calls = *dfi_file_calls();
        calls.read = hostile_read_one;
        dfi_file_calls_set(&calls);
        hostile_path(id, format, io_path("hostile"), expected, words);
        dfi_file_calls_set(NULL);
    }
    bytes_free(&file);
}

static inline int hostile_is_listed(int status)
{
    return status == DIFFC_OK || status == DIFFC_ERR_FORMAT || status == DIFFC_ERR_TRUNCATED ||
           status == DIFFC_ERR_CHECKSUM || status == DIFFC_ERR_LIMIT || status == DIFFC_ERR_UNSUPPORTED;
}

/* An exact copy on the heap, so that a byte too many is seen by the sanitizers. */
static inline int hostile_damaged(enum format format, const unsigned char *data, size_t size, int must_fail)
{
    struct bytes copy = { 0 };
    void *handle = NULL;
    const long live = io_memory.live;
    copy.data = malloc(size ? size : 1);
    assert_non_null(copy.data);
    memcpy(copy.data, data, size);
    copy.size = size;
    const double start = hostile_now();
    const int status = hostile_decode(format, &copy, &handle);
    if (!hostile_is_listed(status) || (must_fail && status == DIFFC_OK))
        fail_msg("%s: %s", diffc_status_name(status), diffc_message());
    hostile_check("damaged", status, status, NULL, handle, live, start);
    free(copy.data);
    return status;
}

/* Ends at every byte, and every bit of the first 4 KiB turned. */
static inline void hostile_damage(enum format format, struct bytes file, int *codes)
{
    for (size_t size = 0; size < file.size; size++)
        codes[-hostile_damaged(format, file.data, size, 1)]++;
    for (size_t bit = 0; bit < 8 * file.size && bit < 8 * 4096; bit++) {
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        codes[-hostile_damaged(format, file.data, file.size, 0)]++;
        file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_int_equal(hostile_damaged(format, file.data, file.size, 0), DIFFC_OK);
    bytes_free(&file);
}

static inline struct bytes text_file(const char *text, size_t size)
{
    struct bytes file = { 0 };
    bytes_put(&file, text, size);
    return file;
}

static inline struct bytes packed_idx(int ndim, const uint32_t *dims, size_t data)
{
    struct bytes plain = make_idx(8, ndim, dims, data), packed = deflate_bytes(&plain, 31);
    bytes_free(&plain);
    return packed;
}

static long long bytes_read;

static inline ssize_t count_read(int fd, void *data, size_t size)
{
    const ssize_t got = read(fd, data, size);
    bytes_read += got > 0 ? got : 0;
    return got;
}

static inline int hostile_setup(void **state)
{
#ifndef SANITIZED
    const struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#endif
    return io_setup(state);
}

static inline int hostile_teardown(void **state)
{
    print_message("hostile files: %ld cases, the slowest (%s) took %.0f ms of CPU\n", hostile_cases,
                  hostile_slowest_id, hostile_slowest * 1e3);
    return io_teardown(state);
}

#endif
