#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/file.h"

#define NAME_TRIES 100
#define PIECE ((size_t)1 << 30) /* Linux moves less than 2 GiB per call */

static int system_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

/* Where the file system cannot reserve, the write will tell. */
static int system_reserve(int fd, size_t size)
{
#ifdef FALLOC_FL_KEEP_SIZE
    if (size <= INT64_MAX && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO))
        return -1;
#else
    (void)fd;
    (void)size;
#endif
    return 0;
}

static const struct dfi_file_calls system_calls = {
    .open = system_open,
    .read = read,
    .write = write,
    .reserve = system_reserve,
    .fsync = fsync,
    .close = close,
    .rename = rename,
    .unlink = unlink,
};
static _Atomic(const struct dfi_file_calls *) present_calls = &system_calls;

const struct dfi_file_calls *dfi_file_calls(void)
{
    return atomic_load(&present_calls);
}

void dfi_file_calls_set(const struct dfi_file_calls *calls)
{
    atomic_store(&present_calls, calls ? calls : &system_calls);
}

static int fail_errno(const char *verb, const char *path)
{
    const int number = errno;
    return dfi_fail(DIFFC_ERR_IO, "cannot %s \"%s\": %s", verb, path, strerror(number));
}

static int open_retry(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = dfi_file_calls()->open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* After EINTR the descriptor is gone on Linux: a second close could hit somebody else's. */
static int close_once(int fd)
{
    return dfi_file_calls()->close(fd) == 0 || errno == EINTR ? 0 : -1;
}

static int sync_retry(int fd)
{
    int failed;
    do
        failed = dfi_file_calls()->fsync(fd);
    while (failed && errno == EINTR);
    return failed;
}

int dfi_file_open(const char *path, int *result, size_t *size)
{
    const int fd = open_retry(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return fail_errno("open", path);
    struct stat information;
    int status = DIFFC_OK;
    if (fstat(fd, &information) != 0)
        status = fail_errno("examine", path);
    else if (!S_ISREG(information.st_mode))
        status = dfi_fail(DIFFC_ERR_IO, "cannot read \"%s\": not a regular file", path);
    else if ((uint64_t)information.st_size > SIZE_MAX)
        status = dfi_fail(DIFFC_ERR_LIMIT, "\"%s\" has %lld bytes: more than can be addressed", path,
                          (long long)information.st_size);
    if (status < 0) {
        (void)close_once(fd);
        return status;
    }
    *result = fd;
    *size = (size_t)information.st_size;
    return DIFFC_OK;
}

int dfi_file_read(int fd, const char *path, void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        const size_t piece = size - done < PIECE ? size - done : PIECE;
        const ssize_t got = dfi_file_calls()->read(fd, (char *)data + done, piece);
        if (got == 0)
            return dfi_fail(DIFFC_ERR_TRUNCATED, "\"%s\" ends early: %zu of %zu bytes read", path, done,
                            size);
        if (got > 0)
            done += (size_t)got;
        else if (errno != EINTR)
            return fail_errno("read", path);
    }
    return DIFFC_OK;
}

int dfi_file_load(struct diffc_context *context, const char *path, size_t limit, void **data, size_t *size)
{
    int fd;
    size_t bytes;
    DFI_TRY(dfi_file_open(path, &fd, &bytes));
    void *block = NULL;
    int status = DIFFC_OK;
    if (bytes > limit)
        status = dfi_fail(DIFFC_ERR_LIMIT, "\"%s\" has %zu bytes, the limit is %zu", path, bytes, limit);
    else if (!(block = dfi_alloc(context, bytes)))
        status = DIFFC_ERR_NOMEM;
    else
        status = dfi_file_read(fd, path, block, bytes);
    (void)close_once(fd);
    if (status < 0) {
        dfi_free(context, block);
        return status;
    }
    *data = block;
    *size = bytes;
    return DIFFC_OK;
}

/* Length of the directory part, the slash included. */
static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static int open_temporary(struct dfi_atomic_file *file, size_t capacity)
{
    const int directory = (int)directory_length(file->path);
    for (int i = 0; i < NAME_TRIES; i++) {
        char suffix[16] = "";
        if (i)
            (void)snprintf(suffix, sizeof(suffix), "-%d", i);
        (void)snprintf(file->temporary, capacity, "%.*s.%s.%ld%s.tmp", directory, file->path,
                       file->path + directory, (long)getpid(), suffix);
        file->fd = open_retry(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY, 0666);
        if (file->fd >= 0 || errno != EEXIST)
            break;
    }
    if (file->fd >= 0)
        return DIFFC_OK;
    const int status = fail_errno("create", file->temporary);
    file->temporary[0] = '\0'; /* not ours: abort must not remove it */
    return status;
}

/* The rename at the end would put a file in place of whatever is there: a device such as /dev/null as well.
 */
static int check_target(const char *path)
{
    struct stat information;
    if (!path[directory_length(path)])
        return dfi_fail(DIFFC_ERR_IO, "cannot write \"%s\": not the name of a file", path);
    if (stat(path, &information) == 0 && !S_ISREG(information.st_mode))
        return dfi_fail(DIFFC_ERR_IO, "cannot write \"%s\": not a regular file", path);
    return DIFFC_OK;
}

int dfi_atomic_begin(struct diffc_context *context, const char *path, size_t size,
                     struct dfi_atomic_file *file)
{
    *file = (struct dfi_atomic_file) { .context = context, .fd = -1 };
    DFI_TRY(check_target(path));
    const size_t capacity = strlen(path) + 64;
    file->path = dfi_strdup(context, path);
    file->temporary = file->path ? dfi_alloc(context, capacity) : NULL;
    int status = file->temporary ? open_temporary(file, capacity) : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK && size && dfi_file_calls()->reserve(file->fd, size) != 0)
        status = fail_errno("reserve space for", path);
    if (status < 0)
        dfi_atomic_abort(file);
    return status;
}

int dfi_atomic_append(struct dfi_atomic_file *file, const void *data, size_t size)
{
    size_t done = 0;
    while (done < size) {
        const size_t piece = size - done < PIECE ? size - done : PIECE;
        const ssize_t put = dfi_file_calls()->write(file->fd, (const char *)data + done, piece);
        if (put > 0) {
            done += (size_t)put;
        } else if (put == 0) {
            errno = EIO;
            return fail_errno("write", file->path);
        } else if (errno != EINTR) {
            return fail_errno("write", file->path);
        }
    }
    return DIFFC_OK;
}

/* Some file systems have no sync for directories and say EINVAL: nothing more can be done there. */
static int sync_directory(struct dfi_atomic_file *file)
{
    const size_t length = directory_length(file->path);
    memcpy(file->temporary, length ? file->path : ".", length ? length : 1);
    file->temporary[length ? length : 1] = '\0';
    const int fd = open_retry(file->temporary, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fail_errno("open the directory", file->temporary);
    int status = DIFFC_OK;
    if (sync_retry(fd) != 0 && errno != EINVAL)
        status = fail_errno("sync the directory", file->temporary);
    if (close_once(fd) != 0 && status == DIFFC_OK)
        status = fail_errno("close the directory", file->temporary);
    return status;
}

static void free_names(struct dfi_atomic_file *file)
{
    dfi_free(file->context, file->path);
    dfi_free(file->context, file->temporary);
    file->path = file->temporary = NULL;
}

/* A failed fsync is final: the kernel may have dropped the pages, and a second call would succeed over lost
 * data. */
int dfi_atomic_commit(struct dfi_atomic_file *file)
{
    if (sync_retry(file->fd) != 0)
        return fail_errno("sync", file->path);
    const int fd = file->fd;
    file->fd = -1;
    if (close_once(fd) != 0)
        return fail_errno("close", file->path);
    if (dfi_file_calls()->rename(file->temporary, file->path) != 0)
        return fail_errno("rename the new file to", file->path);
    const int status = sync_directory(file);
    free_names(file);
    return status;
}

void dfi_atomic_abort(struct dfi_atomic_file *file)
{
    if (file->fd >= 0)
        (void)close_once(file->fd);
    if (file->temporary && file->temporary[0])
        (void)dfi_file_calls()->unlink(file->temporary);
    file->fd = -1;
    free_names(file);
}
