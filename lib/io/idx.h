#ifndef DFI_IO_IDX_H
#define DFI_IO_IDX_H

#include "io/reader.h"

struct diffc_tensor;

/* IDX files as documented at diffc_idx_read(). */
int dfi_idx_read(struct dfi_reader *reader, struct diffc_tensor **tensor);
int dfi_idx_decode(struct diffc_context *context, const void *data, size_t size,
                   struct diffc_tensor **tensor);

#endif
