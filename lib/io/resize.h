#ifndef DFI_IO_RESIZE_H
#define DFI_IO_RESIZE_H

#include "base/registry.h"
#include "tensor/tensor.h"

struct dfi_resize_method;

const struct dfi_resize_method *dfi_resize_find(const char *name);
const struct dfi_entry *dfi_resize_entry(int index);

/* `image` is F32 or U8 [..., H, W], not empty; height and width are 1 to 2^24. */
int dfi_image_resize(const struct diffc_tensor *image, int height, int width,
                     const struct dfi_resize_method *method, struct diffc_tensor **resized);

#endif
