#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "train/checkpoint.h"

#define PREFIX "ckpt-"
#define SUFFIX ".safetensors"
#define LOCK ".lock"
#define NAME_BYTES 64

int dfi_checkpoint_directory(const char *directory)
{
    struct stat information;
    if (mkdir(directory, 0777) == 0)
        return DIFFC_OK;
    const int error = errno;
    if (stat(directory, &information) == 0 && S_ISDIR(information.st_mode))
        return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_IO, "cannot make the directory \"%s\": %s", directory,
                    error == EEXIST ? "it is a file" : strerror(error));
}

/* Room for the path of any name in the directory. */
static size_t path_bytes(const char *directory)
{
    return strlen(directory) + NAME_MAX + 2;
}

static char *join(struct diffc_context *context, const char *directory, const char *name)
{
    const size_t bytes = path_bytes(directory);
    char *path = dfi_alloc(context, bytes);
    if (path)
        (void)snprintf(path, bytes, "%s/%s", directory, name);
    return path;
}

char *dfi_checkpoint_path(struct diffc_context *context, const char *directory, int64_t step)
{
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof(name), PREFIX "%09" PRId64 SUFFIX, step);
    return join(context, directory, name);
}

int dfi_checkpoint_lock(struct diffc_context *context, const char *directory, int *lock)
{
    char *path = join(context, directory, LOCK);
    if (!path)
        return DIFFC_ERR_NOMEM;
    int status = DIFFC_OK;
    const int fd = dfi_file_calls()->open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        status = dfi_fail(DIFFC_ERR_IO, "cannot open \"%s\": %s", path, strerror(errno));
    else if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        status = dfi_fail(DIFFC_ERR_BUSY, "\"%s\": another process saves a checkpoint there", directory);
    else
        *lock = fd;
    if (status < 0 && fd >= 0)
        (void)dfi_file_calls()->close(fd);
    dfi_free(context, path);
    return status;
}

void dfi_checkpoint_unlock(int lock)
{
    (void)flock(lock, LOCK_UN); /* a child that was forked meanwhile may have it open, too */
    (void)dfi_file_calls()->close(lock);
}

int64_t dfi_checkpoint_step_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char again[NAME_BYTES];
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || strlen(name) >= sizeof(again))
        return -1;
    const long long step = strtoll(name + strlen(PREFIX), NULL, 10);
    (void)snprintf(again, sizeof(again), PREFIX "%09lld" SUFFIX, step);
    return step >= 0 && strcmp(name, again) == 0 ? step : -1;
}

static int newest_first(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return *x < *y ? 1 : *x > *y ? -1 : 0;
}

/* Room for one more in a growing array. */
static int grow(struct diffc_context *context, int64_t **steps, int count, int *capacity)
{
    if (count < *capacity)
        return DIFFC_OK;
    const int more = *capacity ? 2 * *capacity : 16;
    int64_t *grown = dfi_realloc(context, *steps, (size_t)count * sizeof(**steps),
                                 (size_t)more * sizeof(**steps));
    if (!grown)
        return DIFFC_ERR_NOMEM;
    *steps = grown;
    *capacity = more;
    return DIFFC_OK;
}

int dfi_checkpoint_list(struct diffc_context *context, const char *directory, int64_t **steps, int *count)
{
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    int64_t *found = NULL;
    int used = 0, capacity = 0, status = DIFFC_OK;
    if (!stream)
        return dfi_fail(errno == ENOENT ? DIFFC_ERR_ARG : DIFFC_ERR_IO,
                        "cannot read the directory \"%s\": %s", directory, strerror(errno));
    errno = 0;
    while (status == DIFFC_OK && (entry = readdir(stream))) {
        const int64_t step = dfi_checkpoint_step_of(entry->d_name);
        if (step >= 0)
            status = grow(context, &found, used, &capacity);
        if (step >= 0 && status == DIFFC_OK)
            found[used++] = step;
        errno = 0;
    }
    if (status == DIFFC_OK && errno)
        status = dfi_fail(DIFFC_ERR_IO, "cannot read the directory \"%s\": %s", directory, strerror(errno));
    (void)closedir(stream);
    if (status < 0) {
        dfi_free(context, found);
        return status;
    }
    if (used)
        qsort(found, (size_t)used, sizeof(*found), newest_first);
    *steps = found;
    *count = used;
    return DIFFC_OK;
}

int dfi_checkpoint_find_old(struct diffc_context *context, const char *directory, int64_t step, int keep,
                            struct dfi_checkpoint_old *old)
{
    int count = 0, kept = 1;
    old->count = 0;
    old->steps = NULL;
    old->path = dfi_alloc(context, path_bytes(directory));
    const int status = old->path ? dfi_checkpoint_list(context, directory, &old->steps, &count)
                                 : DIFFC_ERR_NOMEM;
    if (status < 0) {
        dfi_checkpoint_free_old(context, old);
        return status;
    }
    for (int i = 0; i < count; i++)
        if (old->steps[i] != step && kept++ >= keep)
            old->steps[old->count++] = old->steps[i];
    return DIFFC_OK;
}

static void remove_file(struct diffc_context *context, const char *path)
{
    if (dfi_file_calls()->unlink(path) != 0 && errno != ENOENT)
        dfi_log(context, DIFFC_LOG_WARNING, "cannot remove \"%s\": %s", path, strerror(errno));
}

void dfi_checkpoint_remove_old(struct diffc_context *context, const char *directory,
                               const struct dfi_checkpoint_old *old)
{
    for (int i = 0; i < old->count; i++) {
        (void)snprintf(old->path, path_bytes(directory), "%s/" PREFIX "%09" PRId64 SUFFIX, directory,
                       old->steps[i]);
        remove_file(context, old->path);
    }
}

void dfi_checkpoint_free_old(struct diffc_context *context, struct dfi_checkpoint_old *old)
{
    dfi_free(context, old->steps);
    dfi_free(context, old->path);
    old->steps = NULL;
    old->path = NULL;
}

static int is_left_over(const char *name)
{
    static const char start[] = "." PREFIX, end[] = ".tmp";
    const size_t length = strlen(name);
    return length >= sizeof(start) + sizeof(end) && strncmp(name, start, sizeof(start) - 1) == 0 &&
           strcmp(name + length - (sizeof(end) - 1), end) == 0;
}

int dfi_checkpoint_clean(struct diffc_context *context, const char *directory)
{
    const size_t bytes = path_bytes(directory);
    char *path = dfi_alloc(context, bytes);
    if (!path)
        return DIFFC_ERR_NOMEM;
    DIR *stream = opendir(directory);
    const struct dirent *entry;
    while (stream && (entry = readdir(stream))) {
        if (!is_left_over(entry->d_name))
            continue;
        (void)snprintf(path, bytes, "%s/%s", directory, entry->d_name);
        remove_file(context, path);
    }
    if (stream)
        (void)closedir(stream);
    dfi_free(context, path);
    return DIFFC_OK;
}
