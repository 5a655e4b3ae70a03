#include "io_case.h"

#include <errno.h>

#include "io/archive.h"
#include "io/safetensors.h"

static const int dtypes[] = {
    DIFFC_F32, DIFFC_F16, DIFFC_BF16, DIFFC_F64, DIFFC_U8, DIFFC_I32, DIFFC_I64,
};
enum { DTYPES = sizeof(dtypes) / sizeof(dtypes[0]) };

static diffc_tensor *make_tensor(int dtype, int ndim, const int64_t *shape)
{
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_tensor_create(io_context, dtype, ndim, shape, &tensor), DIFFC_OK);
    unsigned char *const data = diffc_tensor_data(tensor);
    const size_t bytes = dfi_dtype_size(dtype) * (size_t)diffc_tensor_count(tensor);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (unsigned char)(i * 29 + 3);
    return tensor;
}

static void expect_stored(const diffc_archive *archive, const char *name, const diffc_tensor *expected)
{
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_archive_get(archive, name, &tensor), DIFFC_OK);
    assert_int_equal(diffc_tensor_dtype(tensor), diffc_tensor_dtype(expected));
    assert_int_equal(diffc_tensor_ndim(tensor), diffc_tensor_ndim(expected));
    for (int i = 0; i < diffc_tensor_ndim(tensor); i++)
        assert_int_equal(diffc_tensor_dim(tensor, i), diffc_tensor_dim(expected, i));
    assert_memory_equal(diffc_tensor_data(tensor), diffc_tensor_data(expected),
                        dfi_dtype_size(diffc_tensor_dtype(tensor)) * (size_t)diffc_tensor_count(tensor));
    diffc_release(&tensor);
}

static void test_every_dtype_and_rank(void **state)
{
    (void)state;
    static const int64_t shape[8] = { 3, 1, 2, 1, 3, 2, 1, 2 };
    static const int64_t empty[2] = { 4, 0 };
    diffc_archive *archive = NULL, *read = NULL;
    char name[32];
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    for (int i = 0; i < DTYPES; i++) {
        for (int ndim = 0; ndim <= 9; ndim++) {
            diffc_tensor *tensor = ndim == 9 ? make_tensor(dtypes[i], 2, empty)
                                             : make_tensor(dtypes[i], ndim, shape);
            snprintf(name, sizeof(name), "%d/%d", i, ndim);
            assert_int_equal(diffc_archive_add(archive, name, tensor), DIFFC_OK);
            diffc_release(&tensor); /* the archive keeps it */
        }
    }
    assert_int_equal(diffc_archive_save(archive, io_path("all.safetensors")), DIFFC_OK);
    assert_int_equal(diffc_archive_open(io_context, io_path("all.safetensors"), NULL, &read), DIFFC_OK);
    assert_int_equal(diffc_archive_count(read), DTYPES * 10);
    for (int i = 0; i < diffc_archive_count(archive); i++) {
        diffc_tensor *tensor = NULL;
        assert_string_equal(diffc_archive_name(archive, i), diffc_archive_name(read, i));
        assert_int_equal(diffc_archive_get(archive, diffc_archive_name(archive, i), &tensor), DIFFC_OK);
        expect_stored(read, diffc_archive_name(archive, i), tensor);
        assert_int_equal(dfi_archive_crc32(archive, i), dfi_archive_crc32(read, i));
        diffc_release(&tensor);
    }
    diffc_release(&archive);
    /* What was read is written with the same bytes. */
    assert_int_equal(diffc_archive_save(read, io_path("again.safetensors")), DIFFC_OK);
    struct bytes first = bytes_load(io_path("all.safetensors")),
                 second = bytes_load(io_path("again.safetensors"));
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    bytes_free(&first);
    bytes_free(&second);
    diffc_release(&read);
}

/* View number `kind` of a tensor [5, 6, 7]. */
static diffc_tensor *make_view(const diffc_tensor *tensor, int kind)
{
    static const int reversed[3] = { 2, 1, 0 }, turned[3] = { 1, 2, 0 };
    diffc_tensor *view = NULL;
    int status = DIFFC_ERR_ARG;
    switch (kind) {
    case 0: status = diffc_tensor_permute(tensor, reversed, &view); break;
    case 1: status = diffc_tensor_permute(tensor, turned, &view); break;
    case 2: status = diffc_tensor_slice(tensor, 0, 4, 5, -1, &view); break;
    case 3: status = diffc_tensor_slice(tensor, 2, 1, 3, 2, &view); break;
    case 4: status = diffc_tensor_slice(tensor, 1, 5, 2, -3, &view); break;
    case 5: status = diffc_tensor_slice(tensor, 1, 3, 0, 1, &view); break;
    }
    assert_int_equal(status, DIFFC_OK);
    return view;
}

static void test_strides(void **state)
{
    (void)state;
    static const int64_t shape[3] = { 5, 6, 7 };
    for (int i = 0; i < DTYPES; i++) {
        for (int kind = 0; kind < 6; kind++) {
            diffc_tensor *tensor = make_tensor(dtypes[i], 3, shape), *view = make_view(tensor, kind),
                         *copy = NULL;
            diffc_archive *archive = NULL, *read = NULL;
            assert_int_equal(diffc_tensor_convert(view, 0, &copy), DIFFC_OK);
            assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
            assert_int_equal(diffc_archive_add(archive, "view", view), DIFFC_OK);
            assert_int_equal(diffc_archive_add(archive, "copy", copy), DIFFC_OK);
            assert_int_equal(dfi_archive_crc32(archive, 0), dfi_archive_crc32(archive, 1));
            assert_int_equal(diffc_archive_save(archive, io_path("v.safetensors")), DIFFC_OK);
            assert_int_equal(diffc_archive_open(io_context, io_path("v.safetensors"), NULL, &read), DIFFC_OK);
            expect_stored(read, "view", copy);
            diffc_release(&read);
            diffc_release(&archive);
            diffc_release(&copy);
            diffc_release(&view);
            diffc_release(&tensor);
        }
    }
}

/* Larger than the pieces in which strided tensors are written. */
static void test_large_strided(void **state)
{
    (void)state;
    static const int64_t shape[2] = { 301, 407 };
    static const int axes[2] = { 1, 0 };
    diffc_tensor *tensor = make_tensor(DIFFC_F64, 2, shape), *view = NULL, *copy = NULL;
    diffc_archive *archive = NULL, *read = NULL;
    assert_int_equal(diffc_tensor_permute(tensor, axes, &view), DIFFC_OK);
    assert_int_equal(diffc_tensor_convert(view, 0, &copy), DIFFC_OK);
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "t", view), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("t.safetensors")), DIFFC_OK);
    assert_int_equal(diffc_archive_open(io_context, io_path("t.safetensors"), NULL, &read), DIFFC_OK);
    expect_stored(read, "t", copy);
    diffc_release(&read);
    diffc_release(&archive);
    diffc_release(&copy);
    diffc_release(&view);
    diffc_release(&tensor);
}

/* The header as other readers want it: length, JSON padded with spaces to 8 bytes, metadata first. */
static void test_bytes(void **state)
{
    (void)state;
    static const char expected[] =
        "{\"__metadata__\":{\"k\\\"\\u0001\":\"v\\\\\"},\"b\":{\"dtype\":\"U8\",\"shape\":[3],"
        "\"data_offsets\":[0,3]},\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[3,7]}}";
    const int64_t shape[1] = { 3 };
    diffc_archive *archive = NULL;
    diffc_tensor *b = make_tensor(DIFFC_U8, 1, shape), *a = make_tensor(DIFFC_F32, 0, NULL);
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_set_metadata(archive, "k\"\1", "x"), DIFFC_OK);
    assert_int_equal(diffc_archive_set_metadata(archive, "k\"\1", "v\\"), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "b", b), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "a", a), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("b.safetensors")), DIFFC_OK);
    struct bytes file = bytes_load(io_path("b.safetensors"));
    const size_t header = (size_t)dfi_load_le(file.data, 8);
    assert_int_equal(header % 8, 0);
    assert_int_equal(file.size, 8 + header + 7);
    assert_memory_equal(file.data + 8, expected, strlen(expected));
    for (size_t i = strlen(expected); i < header; i++)
        assert_int_equal(file.data[8 + i], ' ');
    bytes_free(&file);
    diffc_release(&archive);
    diffc_release(&a);
    diffc_release(&b);
}

static void test_empty(void **state)
{
    (void)state;
    diffc_archive *archive = NULL, *read = NULL;
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("e.safetensors")), DIFFC_OK);
    for (int map = 0; map < 2; map++) {
        diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
        options.map = map;
        assert_int_equal(diffc_archive_open(io_context, io_path("e.safetensors"), &options, &read), DIFFC_OK);
        assert_int_equal(diffc_archive_count(read), 0);
        diffc_release(&read);
    }
    diffc_release(&archive);
}

/* A tensor of an opened file may be added to that same archive, and the file saved over itself. */
static void test_edit(void **state)
{
    (void)state;
    const int64_t shape[1] = { 4 };
    for (int map = 0; map < 2; map++) {
        diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
        diffc_archive *archive = NULL;
        diffc_tensor *tensor = make_tensor(DIFFC_F32, 1, shape), *stored = NULL;
        options.map = map;
        assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
        assert_int_equal(diffc_archive_add(archive, "one", tensor), DIFFC_OK);
        assert_int_equal(diffc_archive_save(archive, io_path("x.safetensors")), DIFFC_OK);
        diffc_release(&archive);
        assert_int_equal(diffc_archive_open(io_context, io_path("x.safetensors"), &options, &archive),
                         DIFFC_OK);
        assert_int_equal(diffc_archive_get(archive, "one", &stored), DIFFC_OK);
        assert_int_equal(diffc_archive_add(archive, "two", stored), DIFFC_OK);
        assert_int_equal(diffc_archive_set_metadata(archive, "note", "copy"), DIFFC_OK);
        assert_int_equal(diffc_archive_save(archive, io_path("x.safetensors")), DIFFC_OK);
        diffc_release(&stored);
        diffc_release(&archive);
        assert_int_equal(diffc_archive_open(io_context, io_path("x.safetensors"), &options, &archive),
                         DIFFC_OK);
        expect_stored(archive, "one", tensor);
        expect_stored(archive, "two", tensor);
        assert_string_equal(diffc_archive_metadata(archive, "note"), "copy");
        diffc_release(&archive);
        diffc_release(&tensor);
    }
}

static void test_names(void **state)
{
    (void)state;
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = make_tensor(DIFFC_U8, 0, NULL), *none = NULL;
    char name[4098];
    memset(name, 'n', sizeof(name));
    name[4097] = '\0';
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, name, tensor), DIFFC_ERR_ARG);
    name[4096] = '\0';
    assert_int_equal(diffc_archive_add(archive, name, tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, name, tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_add(archive, "", tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_add(archive, "__metadata__", tensor), DIFFC_ERR_ARG);
    static const char *const bad[] = {
        "\x80", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "a\xff", "\xf8\x88\x80\x80\x80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(diffc_archive_add(archive, bad[i], tensor), DIFFC_ERR_ARG);
        assert_int_equal(diffc_archive_set_metadata(archive, "k", bad[i]), DIFFC_ERR_ARG);
        assert_int_equal(diffc_archive_set_metadata(archive, bad[i], "v"), DIFFC_ERR_ARG);
    }
    assert_int_equal(diffc_archive_add(archive, "\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9", tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_count(archive), 2);
    assert_int_equal(diffc_archive_get(archive, "missing", &none), DIFFC_ERR_ARG);
    assert_non_null(strstr(diffc_message(), "missing"));
    assert_null(none);
    assert_int_equal(diffc_archive_add(NULL, "a", tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_add(archive, NULL, tensor), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_add(archive, "a", NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_save(archive, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_archive_set_metadata(archive, "k", NULL), DIFFC_ERR_ARG);
    diffc_release(&archive);
    diffc_release(&tensor);
}

/* A table of system calls of which call number `failing` fails with `error`; with 0 a write is only cut
 * short. */
static struct {
    int calls, failing, forever, error;
} faults;

static int is_failing(void)
{
    faults.calls++;
    if (faults.calls != faults.failing && !(faults.forever && faults.calls > faults.failing))
        return 0;
    if (!faults.error)
        return 0;
    errno = faults.error;
    return 1;
}

static int fault_open(const char *path, int flags, mode_t mode)
{
    return is_failing() ? -1 : open(path, flags, mode);
}

static ssize_t fault_read(int fd, void *data, size_t size)
{
    return is_failing() ? -1 : read(fd, data, size);
}

static ssize_t fault_write(int fd, const void *data, size_t size)
{
    if (is_failing())
        return -1;
    return write(fd, data, !faults.error && faults.calls == faults.failing && size > 1 ? size / 2 : size);
}

static int fault_reserve(int fd, size_t size)
{
    (void)fd;
    (void)size;
    return is_failing() ? -1 : 0;
}

static int fault_fsync(int fd)
{
    return is_failing() ? -1 : fsync(fd);
}

static int fault_close(int fd)
{
    const int failing = is_failing(), error = errno;
    const int result = close(fd);
    errno = error;
    return failing ? -1 : result;
}

static int fault_rename(const char *from, const char *to)
{
    return is_failing() ? -1 : rename(from, to);
}

static int fault_unlink(const char *path)
{
    return unlink(path); /* a temporary file that cannot be removed would be no fault of the writer */
}

static const struct dfi_file_calls fault_calls = {
    .open = fault_open,
    .read = fault_read,
    .write = fault_write,
    .reserve = fault_reserve,
    .fsync = fault_fsync,
    .close = fault_close,
    .rename = fault_rename,
    .unlink = fault_unlink,
};

static int is_file(const struct bytes *expected, const char *path)
{
    struct bytes found = bytes_load(path);
    const int same = found.size == expected->size && memcmp(found.data, expected->data, found.size) == 0;
    bytes_free(&found);
    return same;
}

/* Saves with call number `n` failing; returns 0 once there is no such call. The file must be the old one or
 * the new one. */
static int save_with_fault(const diffc_archive *archive, int n, const struct bytes *old,
                           const struct bytes *new)
{
    const int descriptors = io_count_descriptors(), error = faults.error;
    const char *const path = io_path("atomic.safetensors");
    const long live = io_memory.live;
    bytes_save(old, path);
    faults.calls = 0;
    faults.failing = n;
    dfi_file_calls_set(&fault_calls);
    const int status = diffc_archive_save(archive, path);
    dfi_file_calls_set(NULL);
    assert_int_equal(io_count_descriptors(), descriptors);
    assert_int_equal(io_memory.live, live);
    assert_int_equal(io_count_files(), 1);
    if (status == DIFFC_OK) {
        assert_true(is_file(new, path));
    } else {
        assert_int_equal(status, DIFFC_ERR_IO);
        assert_true(error != 0 && diffc_message()[0] != '\0');
        assert_true(is_file(old, path) || is_file(new, path));
    }
    return faults.calls >= n;
}

static void test_failing_calls(void **state)
{
    (void)state;
    static const int errors[] = { ENOSPC, EIO, EINTR, EDQUOT, EFBIG, EROFS, 0 };
    const int64_t shape[2] = { 6, 4 };
    const int axes[2] = { 1, 0 };
    diffc_tensor *tensor = make_tensor(DIFFC_F32, 2, shape), *view = NULL;
    diffc_archive *archive = NULL;
    int cases = 0;
    io_empty_folder();
    assert_int_equal(diffc_tensor_permute(tensor, axes, &view), DIFFC_OK);
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "old", tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("atomic.safetensors")), DIFFC_OK);
    struct bytes old = bytes_load(io_path("atomic.safetensors"));
    assert_int_equal(diffc_archive_add(archive, "new", view), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("atomic.safetensors")), DIFFC_OK);
    struct bytes new = bytes_load(io_path("atomic.safetensors"));
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        for (faults.forever = 0; faults.forever < 2; faults.forever++) {
            faults.error = errors[i];
            if (faults.forever && (faults.error == EINTR || faults.error == 0))
                continue; /* would be tried again without an end, or is no failure */
            for (int n = 1; save_with_fault(archive, n, &old, &new); n++)
                cases++;
        }
    }
    print_message("archive: %d failing system calls while saving\n", cases);
    bytes_free(&old);
    bytes_free(&new);
    diffc_release(&archive);
    diffc_release(&view);
    diffc_release(&tensor);
}

static void test_read_faults(void **state)
{
    (void)state;
    const int64_t shape[1] = { 100 };
    diffc_tensor *tensor = make_tensor(DIFFC_F32, 1, shape);
    diffc_archive *archive = NULL;
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "t", tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("r.safetensors")), DIFFC_OK);
    diffc_release(&archive);
    faults.error = EIO;
    faults.forever = 0;
    for (faults.failing = 1;; faults.failing++) {
        const int descriptors = io_count_descriptors();
        faults.calls = 0;
        dfi_file_calls_set(&fault_calls);
        const int status = diffc_archive_open(io_context, io_path("r.safetensors"), NULL, &archive);
        dfi_file_calls_set(NULL);
        assert_int_equal(io_count_descriptors(), descriptors);
        if (status == DIFFC_OK) { /* a failing close after reading is no concern */
            diffc_release(&archive);
            if (faults.calls < faults.failing)
                break;
        } else {
            assert_int_equal(status, DIFFC_ERR_IO);
            assert_null(archive);
        }
    }
    diffc_release(&tensor);
}

static int save(void *work)
{
    return diffc_archive_save(work, io_path("oom.safetensors"));
}

static int build(void *work)
{
    diffc_archive *archive = NULL;
    char name[16];
    int status = diffc_archive_create(io_context, &archive);
    for (int i = 0; i < 18 && !status; i++) { /* more than fit at first */
        snprintf(name, sizeof(name), "%d", i * 7 % 18);
        status = diffc_archive_add(archive, name, work);
        if (!status)
            status = diffc_archive_set_metadata(archive, name, "v");
        if (!status)
            status = diffc_archive_set_metadata(archive, name, "w");
    }
    assert_true(status || diffc_archive_count(archive) == 18);
    diffc_release(&archive);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    const int64_t shape[2] = { 3, 4 };
    const int axes[2] = { 1, 0 };
    diffc_tensor *tensor = make_tensor(DIFFC_F32, 2, shape), *view = NULL;
    diffc_archive *archive = NULL, *read = NULL;
    io_empty_folder();
    assert_int_equal(diffc_tensor_permute(tensor, axes, &view), DIFFC_OK);
    assert_int_equal(diffc_archive_create(io_context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "t", tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "v", view), DIFFC_OK);
    long points = io_fail_allocations(build, tensor) + io_fail_allocations(save, archive);
    assert_int_equal(io_count_files(), 1);
    assert_int_equal(diffc_archive_open(io_context, io_path("oom.safetensors"), NULL, &read), DIFFC_OK);
    points += io_fail_allocations(save, read);
    assert_int_equal(io_count_files(), 1);
    print_message("archive: %ld failing allocations\n", points);
    diffc_release(&read);
    diffc_release(&archive);
    diffc_release(&view);
    diffc_release(&tensor);
}

/* The names that would not fit into a header that can be read again. */
static void test_header_limit(void **state)
{
    (void)state;
    diffc_limits limits = DIFFC_LIMITS;
    limits.archive_header = 256;
    limits.archive_tensors = 2;
    diffc_context *context = io_context_new(&limits);
    diffc_archive *archive = NULL;
    diffc_tensor *tensor = make_tensor(DIFFC_U8, 0, NULL);
    char text[257];
    memset(text, 'x', sizeof(text));
    text[256] = '\0';
    assert_int_equal(diffc_archive_create(context, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "a", tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "b", tensor), DIFFC_OK);
    assert_int_equal(diffc_archive_add(archive, "c", tensor), DIFFC_ERR_LIMIT);
    assert_int_equal(diffc_archive_save(archive, io_path("l.safetensors")), DIFFC_OK);
    assert_int_equal(diffc_archive_set_metadata(archive, "k", text), DIFFC_OK);
    assert_int_equal(diffc_archive_save(archive, io_path("l.safetensors")), DIFFC_ERR_LIMIT);
    /* What the reader would refuse: a checkpoint of so many was once written, and the older ones removed. */
    assert_int_equal(diffc_archive_set_metadata(archive, "l", "m"), DIFFC_OK);
    assert_int_equal(diffc_archive_set_metadata(archive, "m", "n"), DIFFC_ERR_LIMIT);
    assert_int_equal(diffc_archive_set_metadata(archive, "l", "n"), DIFFC_OK);
    diffc_release(&archive);
    diffc_release(&tensor);
    diffc_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype_and_rank),
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_large_strided),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_read_faults),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_header_limit),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
