#ifndef DFI_IO_GZ_H
#define DFI_IO_GZ_H

#include "io/reader.h"

/* A gzip file read as a stream. The caller knows how many bytes it wants, so no bomb can unpack more than
 * that. */
struct dfi_gz;

/* Deflate never packs better than this (1032 : 1, rounded up): a file that claims more cannot be whole. */
#define DFI_DEFLATE_RATIO 1040

int dfi_gz_open(struct dfi_reader *reader, struct dfi_gz **gz);

/* Exactly `size` bytes: ERR_TRUNCATED if the stream or file ends before, ERR_FORMAT, ERR_CHECKSUM, ERR_NOMEM.
 */
int dfi_gz_read(struct dfi_gz *gz, void *data, size_t size);

/* The data must end here: reads the trailer. ERR_CHECKSUM for CRC or length, ERR_FORMAT for more data,
 * ERR_TRUNCATED. Bytes behind the stream that are not zero are reported to the log. */
int dfi_gz_finish(struct dfi_gz *gz);
void dfi_gz_close(struct dfi_gz *gz);

#endif
