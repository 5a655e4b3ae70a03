#ifndef DFI_IO_NPY_H
#define DFI_IO_NPY_H

#include "io/reader.h"

struct diffc_tensor;

/* NumPy files as documented at diffc_npy_read() and diffc_npy_write(). */
int dfi_npy_read(struct dfi_reader *reader, struct diffc_tensor **tensor);
int dfi_npy_decode(struct diffc_context *context, const void *data, size_t size,
                   struct diffc_tensor **tensor);
int dfi_npy_write(const struct diffc_tensor *tensor, const char *path);

#endif
