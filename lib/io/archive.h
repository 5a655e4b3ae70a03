#ifndef DFI_IO_ARCHIVE_H
#define DFI_IO_ARCHIVE_H

#include <diffc/archive.h>

#include "io/reader.h"
#include "tensor/tensor.h"

/* The bytes of an opened file. A handle of its own: tensors of the file keep it and not the archive, so a
 * tensor may be added to the archive it came from. */
struct dfi_archive_bytes {
    struct dfi_object object;
    void *data;
    size_t mapped; /* bytes to unmap; 0: from the allocator */
};

struct dfi_archive_entry {
    char *name;
    int dtype, ndim;
    int64_t shape[DIFFC_MAX_DIMS];
    size_t bytes;
    const void
        *data; /* contiguous in C order; NULL if the added tensor is strided (use its copy functions) */
    struct diffc_tensor *tensor; /* what was added; NULL for entries of an opened file */
};

struct dfi_archive_pair {
    char *key, *value;
};

struct diffc_archive {
    struct dfi_object object;
    struct dfi_archive_bytes *block; /* NULL if it was created empty */
    struct dfi_archive_entry *entries;
    int *order; /* positions sorted by name */
    int count, capacity;
    struct dfi_archive_pair *metadata;
    int metadata_count, metadata_capacity;
};

int dfi_archive_new(struct diffc_context *context, struct diffc_archive **archive);

/* Position of a name, or -1. */
int dfi_archive_find(const struct diffc_archive *archive, const char *name);

/* Entry at a position in range: shape, dtype and data without allocation. */
const struct dfi_archive_entry *dfi_archive_entry(const struct diffc_archive *archive, int position);

/* What the API does, without its checks for NULL. */
int dfi_archive_get(const struct diffc_archive *archive, int position, struct diffc_tensor **tensor);
int dfi_archive_add(struct diffc_archive *archive, const char *name, const struct diffc_tensor *tensor);
int dfi_archive_set_metadata(struct diffc_archive *archive, const char *key, const char *value);
const char *dfi_archive_metadata(const struct diffc_archive *archive, const char *key);

/* For the reader: room for one more at the end, with its own copy of the name; the rest of the entry is zero.
 * The caller makes sure that names are unique, and sorts when all are there. */
int dfi_archive_append(struct diffc_archive *archive, const char *name, struct dfi_archive_entry **entry);
/* Takes out what dfi_archive_add() put in last. */
void dfi_archive_undo_add(struct diffc_archive *archive);
int dfi_archive_append_metadata(struct diffc_archive *archive, const char *key, const char *value);
int dfi_archive_sort(struct diffc_archive *archive);

/* CRC-32 of the data of an entry, in the bytes that a file has. */
uint32_t dfi_archive_crc32(const struct diffc_archive *archive, int position);

/* ERR_NONFINITE with the first tensor of an opened archive that has a NaN or an infinity, and where. */
int dfi_archive_check_finite(const struct diffc_archive *archive);

/* safetensors_write.c: the whole file, atomically. */
int dfi_archive_save(const struct diffc_archive *archive, const char *path);

#endif
