#ifndef DFI_BASE_FILE_H
#define DFI_BASE_FILE_H

#include <sys/types.h>

#include "base/context.h"

/* The system calls that touch files, in one table: tests put failing ones in its place. */
struct dfi_file_calls {
    int (*open)(const char *path, int flags, mode_t mode);
    ssize_t (*read)(int fd, void *data, size_t size);
    ssize_t (*write)(int fd, const void *data, size_t size);
    int (*reserve)(int fd, size_t size); /* disk space, without a change of the file's size */
    int (*fsync)(int fd);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
    int (*unlink)(const char *path);
};
const struct dfi_file_calls *dfi_file_calls(void);
void dfi_file_calls_set(const struct dfi_file_calls *calls); /* for tests; NULL: the system's */

/* Opens a regular file for reading (never blocks on a FIFO or device) and says its size. */
int dfi_file_open(const char *path, int *fd, size_t *size);

/* Reads exactly `size` bytes at the present position: ERR_TRUNCATED if the file ends before. */
int dfi_file_read(int fd, const char *path, void *data, size_t size);

/* The whole file in one block of the context's allocator, at most `limit` bytes. */
int dfi_file_load(struct diffc_context *context, const char *path, size_t limit, void **data, size_t *size);

/* A file that appears whole or not at all: begin makes `.NAME.PID.tmp` beside `path` (`.NAME.PID-1.tmp` and
 * so on if that is taken; ERR_IO where `path` is there and no regular file), append adds to it, commit syncs,
 * closes, renames and syncs the directory; abort (also after a failed begin, append or commit) removes it.
 * `size` of begin, if not 0, is reserved first so that a full disk shows before a byte is written. When only
 * the last step of commit fails, the new file is in place, but a power cut may still undo it. */
struct dfi_atomic_file {
    struct diffc_context *context;
    char *path, *temporary;
    int fd;
};
int dfi_atomic_begin(struct diffc_context *context, const char *path, size_t size,
                     struct dfi_atomic_file *file);
int dfi_atomic_append(struct dfi_atomic_file *file, const void *data, size_t size);
int dfi_atomic_commit(struct dfi_atomic_file *file);
void dfi_atomic_abort(struct dfi_atomic_file *file); /* does nothing after a commit that succeeded */

#endif
