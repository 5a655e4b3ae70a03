#ifndef DIFFC_ARCHIVE_H
#define DIFFC_ARCHIVE_H

#include <diffc/common.h>

DIFFC_BEGIN

/* Named tensors with string metadata: one safetensors file, read or being built. Reading checks everything that
 * the format asks for (offsets without holes or overlaps, sizes, names unique) before a byte of data is used. */

typedef struct diffc_archive_options {
    size_t struct_size;
    int32_t map; /* 1: map the file instead of reading it; then it must not shrink while the archive lives */
} diffc_archive_options;

#define DIFFC_ARCHIVE_OPTIONS DIFFC_OPTIONS_OF(diffc_archive_options)

/* Opens a file, or `size` bytes in memory (copied). ERR_IO, ERR_FORMAT, ERR_TRUNCATED, ERR_LIMIT,
 * ERR_UNSUPPORTED (unknown dtype; a PyTorch pickle, which is never read), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_archive_open(diffc_context *context, const char *path, const diffc_archive_options *options,
                                 diffc_archive **archive);
DIFFC_API int diffc_archive_open_memory(diffc_context *context, const void *data, size_t size,
                                        diffc_archive **archive);

/* An empty archive to add to. Since 0.1. */
DIFFC_API int diffc_archive_create(diffc_context *context, diffc_archive **archive);

/* Contents, in the order of the file. A position out of range gives NULL. Since 0.1. */
DIFFC_API int diffc_archive_count(const diffc_archive *archive);
DIFFC_API const char *diffc_archive_name(const diffc_archive *archive, int position);

/* A tensor that shares the archive's memory (and keeps it), in the stored dtype. ERR_ARG when there is none of
 * that name. Since 0.1. */
DIFFC_API int diffc_archive_get(const diffc_archive *archive, const char *name, diffc_tensor **tensor);

/* Metadata: the value of a key or NULL; all keys by position. Since 0.1. */
DIFFC_API const char *diffc_archive_metadata(const diffc_archive *archive, const char *key);
DIFFC_API const char *diffc_archive_metadata_key(const diffc_archive *archive, int position);

/* Adds a tensor (kept by reference until saved, any strides) or a metadata string. ERR_ARG for a name that is
 * taken, empty, longer than 4096 bytes or not UTF-8. Since 0.1. */
DIFFC_API int diffc_archive_add(diffc_archive *archive, const char *name, const diffc_tensor *tensor);
DIFFC_API int diffc_archive_set_metadata(diffc_archive *archive, const char *key, const char *value);

/* Writes all of it to a temporary file beside `path`, syncs and renames: `path` is the old file or the new one,
 * never a part. ERR_IO, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_archive_save(const diffc_archive *archive, const char *path);

/* NumPy files (format 1.0 to 3.0, native or swapped byte order, C or Fortran order; no objects, no records). */
DIFFC_API int diffc_npy_read(diffc_context *context, const char *path, diffc_tensor **tensor);
DIFFC_API int diffc_npy_write(const diffc_tensor *tensor, const char *path);

/* IDX files of unsigned bytes, 1 to 4 dimensions, plain or gzipped (told by their first bytes): the format of
 * MNIST. Gives a U8 tensor of the file's shape. Since 0.1. */
DIFFC_API int diffc_idx_read(diffc_context *context, const char *path, diffc_tensor **tensor);

DIFFC_END

#endif
