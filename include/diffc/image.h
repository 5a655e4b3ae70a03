#ifndef DIFFC_IMAGE_H
#define DIFFC_IMAGE_H

#include <diffc/common.h>

DIFFC_BEGIN

/* Thread safety: all functions of this header may run at the same time on one image. */

/* Reads a PNG file of any bit depth and colour type, interlaced or not, as F32 [C, H, W] in [0, 1].
 * `channels` 1 (grey), 3 (RGB), 4 (RGBA) or 0 (as stored: palettes as RGB or RGBA, grey with alpha as 4).
 * 16-bit values keep their precision. Grey from colour is 0.299 R + 0.587 G + 0.114 B; alpha that was not
 * asked for is dropped, alpha that is missing is 1. The values are those of the file: gamma, colour profiles
 * and texts are skipped, unread. Of an animation the first picture. What is behind the end of the image is
 * not read. ERR_ARG, ERR_IO, ERR_FORMAT, ERR_TRUNCATED, ERR_CHECKSUM, ERR_UNSUPPORTED (an unknown critical
 * chunk), ERR_LIMIT (image_width, image_height, image_bytes), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_image_read(diffc_context *context, const char *path, int channels, diffc_tensor **image);

typedef struct diffc_image_options {
    size_t struct_size;
    float low, high; /* values that become black and white; default 0 and 1 (both zero means default); low >
                        high gives a negative */
    int32_t columns; /* of a grid; default: as many as make it about square */
    int32_t gap;     /* pixels between the pictures of a grid; default 2, -1 for none */
    float gap_value; /* grey of the gap and of places left over, in [0, 1]; default 0 */
    int32_t scale;   /* each pixel, of gaps too, becomes scale x scale pixels; default 1 */
    /* Key, value, key, value, ..., NULL: PNG text chunks; default none. Keys: 1 to 79 ASCII characters
     * without spaces at the ends or twice in a row; values: UTF-8. */
    const char *const *text;
} diffc_image_options;

#define DIFFC_IMAGE_OPTIONS DIFFC_OPTIONS_OF(diffc_image_options)

/* Writes an 8-bit PNG file, by a temporary file and a rename. `image` is [C, H, W], or [N, C, H, W] for a
 * grid, filled row by row; C is 1, 3 or 4; F32, any strides. Values are clamped, rounded half to even; NaN
 * becomes black, and the call then still writes the file but returns ERR_NONFINITE with the count in the
 * message. ERR_ARG (also for an empty image), ERR_LIMIT (image_width, image_height), ERR_IO (then `path` is
 * what it was, unless the message says that the folder cannot be synced: then it is the new file), ERR_NOMEM.
 * Since 0.1. */
DIFFC_API int diffc_image_write(const diffc_tensor *image, const char *path,
                                const diffc_image_options *options);

/* Gaussian blur of each channel of an F32 [..., H, W] tensor of any strides into a new contiguous one,
 * borders by reflection (the border pixel is not repeated): `kernel_size` odd, sigma > 0 in pixels,
 * kernel_size / 2 < min(H, W). The taps are exp(-x^2 / (2 sigma^2)) divided by their sum. ERR_ARG, ERR_NOMEM,
 * ERR_CANCELLED. Since 0.1. */
DIFFC_API int diffc_image_blur(const diffc_tensor *image, int kernel_size, double sigma,
                               diffc_tensor **blurred);

/* ---- preparing pictures for a network ---- */

/* Resizes each channel of a tensor [..., H, W] of any strides into a new contiguous one. F32 is computed in
 * double, as Pillow's mode "F"; U8 in Pillow's 8-bit arithmetic, to the bit. Rows are resized before columns
 * (Pillow 13 goes the other way when the height shrinks much more than the width).
 *   bicubic   cubic convolution with a = -0.5, widened when shrinking: Image.resize(BICUBIC)
 *   bilinear  triangle filter, widened when shrinking: Image.resize(BILINEAR)
 *   area      the mean of what a pixel covers
 *   nearest   the pixel at its centre: Image.resize(NEAREST)
 *   bilinear_corners  linear between pixels with corners on corners, as torch.nn.functional.interpolate(
 *             mode="bilinear", align_corners=True)
 * height and width are 1 .. 2^24. ERR_ARG (also for an unknown name, with the list), ERR_LIMIT, ERR_NOMEM,
 * ERR_CANCELLED. Since 0.1. */
DIFFC_API int diffc_image_resize(const diffc_tensor *image, int64_t height, int64_t width, const char *method,
                                 diffc_tensor **resized);

/* The middle of an image [..., H, W], any dtype and strides: a view of it, no copy. Where the border is odd,
 * the smaller part is above and on the left. ERR_ARG (larger than the image), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_image_crop(diffc_tensor *image, int64_t height, int64_t width, diffc_tensor **middle);

/* Resized so that it just covers height x width (the side that would stick out rounded down), then the middle
 * of that, contiguous: torchvision's Resize(side) and CenterCrop(side). As diffc_image_resize(). Since 0.1.
 */
DIFFC_API int diffc_image_fit(const diffc_tensor *image, int64_t height, int64_t width, const char *method,
                              diffc_tensor **fitted);

/* Resized with its proportions kept: the shorter side becomes `side`, the longer one the multiple of
 * `multiple` that is nearest to its share, half to even. With 8, what diffusers' DeepFloyd IF pipelines make
 * of a picture to start from. As diffc_image_resize(). Since 0.1. */
DIFFC_API int diffc_image_fit_side(const diffc_tensor *image, int64_t side, int64_t multiple,
                                   const char *method, diffc_tensor **fitted);

/* Brightness of bytes U8 [3, H, W] or [N, 3, H, W], any strides, with 1 channel, as Pillow's convert("L"): to
 * the bit (19595 R + 38470 G + 7471 B + 32768) / 65536. ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_image_grey_bytes(const diffc_tensor *bytes, diffc_tensor **grey);

/* Between values and bytes, any shape and strides, into a new contiguous tensor. To bytes: F32, low becomes 0
 * and high 255, clamped, half to even, NaN 0. From bytes: U8, v / (255 / (high - low)) + low in float: for -1
 * and 1 the v / 127.5 - 1 of diffusers. low and high finite, to bytes different, from bytes low < high.
 * ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_image_to_bytes(const diffc_tensor *image, float low, float high, diffc_tensor **bytes);
DIFFC_API int diffc_image_from_bytes(const diffc_tensor *bytes, float low, float high, diffc_tensor **image);

/* Lays [4, H, W] or [N, 4, H, W], F32 in [0, 1], not premultiplied, any strides, on a plain background of
 * grey `background` in [0, 1] (1: white), into a new contiguous one with 3 channels. ERR_ARG, ERR_NOMEM.
 * Since 0.1. */
DIFFC_API int diffc_image_flatten(const diffc_tensor *image, float background, diffc_tensor **flat);

DIFFC_END

#endif
