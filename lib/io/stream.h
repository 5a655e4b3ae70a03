#ifndef DFI_IO_STREAM_H
#define DFI_IO_STREAM_H

#include "tensor/tensor.h"

/* Gives the elements of a tensor of any strides to `sink` in C order, in pieces, without memory of its own:
 * one piece if it is contiguous, else pieces of a few KiB. `little`: in little-endian byte order, whatever
 * the host has. Stops at the first negative result of the sink and returns it. */
typedef int (*dfi_sink_fn)(void *opaque, const void *data, size_t size);
int dfi_tensor_stream(const struct diffc_tensor *tensor, int little, dfi_sink_fn sink, void *opaque);

/* The same into a file, little-endian. */
struct dfi_atomic_file;
int dfi_tensor_append(const struct diffc_tensor *tensor, struct dfi_atomic_file *file);

size_t dfi_tensor_bytes(const struct diffc_tensor *tensor);

#endif
