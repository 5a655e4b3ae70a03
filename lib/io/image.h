#ifndef DFI_IO_IMAGE_H
#define DFI_IO_IMAGE_H

#include <diffc/image.h>

#include "tensor/tensor.h"

/* What the API does, without its checks of the arguments: `image` is F32 [C, H, W] or [N, C, H, W], none of
 * them 0, C is 1, 3 or 4; `options` have their defaults filled in. */
int dfi_image_write(const struct diffc_tensor *image, const char *path, const diffc_image_options *options);

/* Columns that make a grid of `count` pictures about square. */
int32_t dfi_image_columns(int64_t count, int64_t height, int64_t width);

int dfi_image_blur(const struct diffc_tensor *image, int kernel_size, double sigma,
                   struct diffc_tensor **blurred);

int dfi_image_to_bytes(const struct diffc_tensor *image, float low, float high, struct diffc_tensor **bytes);
int dfi_image_from_bytes(const struct diffc_tensor *bytes, float low, float high,
                         struct diffc_tensor **image);
/* `image` is F32 [4, H, W] or [N, 4, H, W]. */
int dfi_image_flatten(const struct diffc_tensor *image, float background, struct diffc_tensor **flat);
/* `bytes` is U8 [3, H, W] or [N, 3, H, W]. */
int dfi_image_grey_bytes(const struct diffc_tensor *bytes, struct diffc_tensor **grey);

/* A value as a byte: low is 0, high is 255, clamped, half to even; NaN is 0. */
unsigned char dfi_image_byte(float value, float low, float high);

#endif
