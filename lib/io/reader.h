#ifndef DFI_IO_READER_H
#define DFI_IO_READER_H

#include "base/context.h"

#define DFI_READER_AHEAD 64

/* Bytes of known number, in a file or in memory, read once from front to back. Parsers see nothing else, so
 * whatever they do is bounded by `size`. */
struct dfi_reader {
    struct diffc_context *context;
    const char *name; /* for messages; the caller's */
    size_t size, position;
    const unsigned char *memory; /* NULL: a file */
    int fd;
    unsigned char ahead[DFI_READER_AHEAD]; /* read from the file, not yet given out */
    size_t ahead_start, ahead_end;
};

int dfi_reader_open(struct dfi_reader *reader, struct diffc_context *context, const char *path);
void dfi_reader_memory(struct dfi_reader *reader, struct diffc_context *context, const char *name,
                       const void *data, size_t size);
void dfi_reader_close(struct dfi_reader *reader);

/* Reads exactly `size` bytes, or fails with ERR_TRUNCATED (or ERR_IO). */
int dfi_reader_read(struct dfi_reader *reader, void *data, size_t size);

/* The first bytes without using them up: at most DFI_READER_AHEAD, fewer if there are fewer; only before the
 * first read. */
int dfi_reader_peek(struct dfi_reader *reader, void *data, size_t size, size_t *got);
size_t dfi_reader_left(const struct dfi_reader *reader);

/* Little-endian and big-endian numbers of a file. */
uint64_t dfi_load_le(const unsigned char *bytes, int count);
uint32_t dfi_load_be32(const unsigned char *bytes);

/* Reverses the bytes of each of `count` elements. */
void dfi_swap_bytes(void *data, size_t count, size_t width);
int dfi_big_endian(void);

/* A name for use in a message, cut to what fits into `size` bytes; returns `out`. */
const char *dfi_clip(const char *text, char *out, size_t size);

/* CRC-32 as in gzip and PNG; start with 0. */
uint32_t dfi_crc32(uint32_t crc, const void *data, size_t size);

#endif
