#ifndef DFI_IO_SAFETENSORS_H
#define DFI_IO_SAFETENSORS_H

#include "io/reader.h"

/* Reads all of a safetensors file, or of its bytes in memory, into a new archive. `map`: map the file if the
 * tensors lie aligned in it, else read. */
int dfi_safetensors_open(struct diffc_context *context, const char *path, int map,
                         struct diffc_archive **archive);
int dfi_safetensors_parse(struct diffc_context *context, const char *name, const void *data, size_t size,
                          struct diffc_archive **archive);

/* The format's name of a dtype. */
const char *dfi_safetensors_dtype(int dtype);

#define DFI_SAFETENSORS_NAME_MAX 4096

#endif
