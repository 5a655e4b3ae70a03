#ifndef DIFFC_ARCHIVE_H
#define DIFFC_ARCHIVE_H

#include <diffc/common.h>

DIFFC_BEGIN

/* Named tensors with string metadata: one safetensors file, read or being built. Reading checks everything
 * that the format asks for (offsets without holes or overlaps, sizes, names unique) before a byte of data is
 * used; NaN and infinities are data like any other unless `finite` is set. Dtypes: F32, F16, BF16, F64, U8,
 * I32, I64. Thread safety: functions that take a const archive may run at the same time on one archive. */

typedef struct diffc_archive_options {
    size_t struct_size;
    int32_t map; /* 1: map the file instead of reading it; then it must not shrink while the archive lives
                    (SIGBUS). Writing to the tensors does not change the file. A file with unaligned tensors
                    is read */
    const char *variant; /* of the files of a folder, e.g. fp16; default: those without a variant. Another one
                            is read where the wanted one is missing */
    int32_t finite;      /* 1: NaN and infinity are refused (ERR_NONFINITE names tensor and position) */
} diffc_archive_options;

#define DIFFC_ARCHIVE_OPTIONS DIFFC_OPTIONS_OF(diffc_archive_options)

/* Opens a file, or a folder with the weights of a model (one file or several, with or without an index) as
 * one archive, or `size` bytes in memory (copied). ERR_ARG, ERR_IO, ERR_FORMAT, ERR_TRUNCATED, ERR_LIMIT
 * (archive_header; archive_tensors, which holds for strings of metadata too; more than DIFFC_MAX_DIMS
 * dimensions, a name of more than 4096 bytes), ERR_UNSUPPORTED (unknown dtype; a PyTorch pickle, which is
 * never read), ERR_NONFINITE, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_archive_open(diffc_context *context, const char *path,
                                 const diffc_archive_options *options, diffc_archive **archive);
DIFFC_API int diffc_archive_open_memory(diffc_context *context, const void *data, size_t size,
                                        diffc_archive **archive);

/* An empty archive to add to. Since 0.1. */
DIFFC_API int diffc_archive_create(diffc_context *context, diffc_archive **archive);

/* Contents, in the order of the file. A position out of range gives NULL. Since 0.1. */
DIFFC_API int diffc_archive_count(const diffc_archive *archive);
DIFFC_API const char *diffc_archive_name(const diffc_archive *archive, int position);

/* A tensor that shares the archive's memory (and keeps it), in the stored dtype: of an opened file contiguous
 * and aligned for its dtype, of an archive being built the tensor that was added. ERR_ARG when there is none
 * of that name, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_archive_get(const diffc_archive *archive, const char *name, diffc_tensor **tensor);

/* Metadata: the value of a key or NULL (valid until the key is set again); all keys by position. Since 0.1.
 */
DIFFC_API const char *diffc_archive_metadata(const diffc_archive *archive, const char *key);
DIFFC_API const char *diffc_archive_metadata_key(const diffc_archive *archive, int position);

/* Adds a tensor (kept by reference until saved, any strides) or a metadata string (in place of the one of
 * that key). Opened archives can be added to as well. ERR_ARG for a name that is taken, empty,
 * "__metadata__", longer than 4096 bytes or not UTF-8, and for metadata that is not UTF-8; ERR_LIMIT
 * (archive_tensors), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_archive_add(diffc_archive *archive, const char *name, const diffc_tensor *tensor);
DIFFC_API int diffc_archive_set_metadata(diffc_archive *archive, const char *key, const char *value);

/* Writes all of it, in the order in which it was added, to a temporary file beside `path`, syncs and renames:
 * `path` is the old file or the new one, never a part. Takes no memory but for the header. `path` may be the
 * file that the archive was opened from. ERR_ARG, ERR_IO, ERR_LIMIT (a header over archive_header, that could
 * not be read again), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_archive_save(const diffc_archive *archive, const char *path);

/* NumPy files (format 1.0 to 3.0, native or swapped byte order, C or Fortran order; no objects, no records).
 * Read as a contiguous tensor; written from any strides, by a temporary file and a rename. ERR_ARG, ERR_IO,
 * ERR_FORMAT, ERR_TRUNCATED, ERR_LIMIT (a header over 10000 bytes, more than DIFFC_MAX_DIMS dimensions),
 * ERR_UNSUPPORTED (objects, records, dtypes that one side has not: BF16 cannot be written), ERR_NOMEM. Since
 * 0.1. */
DIFFC_API int diffc_npy_read(diffc_context *context, const char *path, diffc_tensor **tensor);
DIFFC_API int diffc_npy_write(const diffc_tensor *tensor, const char *path);

/* IDX files of unsigned bytes, 1 to 4 dimensions, plain or gzipped (told by their first bytes): the format of
 * MNIST. Gives a U8 tensor of the file's shape. The file must end with the data; behind a gzip stream zeros
 * are accepted, and other bytes with a warning to the log. ERR_ARG, ERR_IO, ERR_FORMAT, ERR_TRUNCATED,
 * ERR_CHECKSUM, ERR_LIMIT (idx_bytes), ERR_UNSUPPORTED (other element types, more dimensions), ERR_NOMEM.
 * Since 0.1. */
DIFFC_API int diffc_idx_read(diffc_context *context, const char *path, diffc_tensor **tensor);

DIFFC_END

#endif
