#include <limits.h>
#include <math.h>

#include <diffc/image.h>

#include "io/image.h"
#include "io/png.h"

int diffc_image_read(diffc_context *context, const char *path, int channels, diffc_tensor **image)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    DFI_REQUIRE(image);
    if (channels != 0 && channels != 1 && channels != 3 && channels != 4)
        return dfi_fail(DIFFC_ERR_ARG, "channels is %d, must be 0, 1, 3 or 4", channels);
    struct dfi_reader reader;
    DFI_TRY(dfi_reader_open(&reader, context, path));
    const int status = dfi_png_read(&reader, channels, image);
    dfi_reader_close(&reader);
    return status;
}

static int check_picture(const diffc_tensor *image)
{
    char text[128];
    const int first = image->ndim - 3;
    if (image->dtype != DIFFC_F32 || first < 0 || first > 1)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, must be F32 [C, H, W] or [N, C, H, W]",
                        dfi_tensor_text(image, text, sizeof(text)));
    const int64_t channels = image->shape[first];
    if (channels != 1 && channels != 3 && channels != 4)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, must have 1, 3 or 4 channels",
                        dfi_tensor_text(image, text, sizeof(text)));
    if (dfi_tensor_count(image) == 0)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, must not be empty",
                        dfi_tensor_text(image, text, sizeof(text)));
    return DIFFC_OK;
}

static int check_options(const diffc_image_options *options)
{
    if (!isfinite(options->low) || !isfinite(options->high) || options->low == options->high)
        return dfi_fail(DIFFC_ERR_ARG, "options.low and high are %g and %g, must be finite and differ",
                        (double)options->low, (double)options->high);
    if (options->columns < 1)
        return dfi_fail(DIFFC_ERR_ARG, "options.columns is %d, must be at least 1", (int)options->columns);
    if (options->gap < -1)
        return dfi_fail(DIFFC_ERR_ARG, "options.gap is %d, must be at least -1", (int)options->gap);
    if (options->scale < 1)
        return dfi_fail(DIFFC_ERR_ARG, "options.scale is %d, must be at least 1", (int)options->scale);
    if (!(options->gap_value >= 0 && options->gap_value <= 1))
        return dfi_fail(DIFFC_ERR_ARG, "options.gap_value is %g, must be 0 to 1", (double)options->gap_value);
    return DIFFC_OK;
}

static void fill_defaults(diffc_image_options *options, const diffc_tensor *image)
{
    const int64_t *const shape = image->shape;
    if (options->low == 0 && options->high == 0)
        options->high = 1;
    if (options->columns == 0)
        options->columns = image->ndim == 4 ? dfi_image_columns(shape[0], shape[2], shape[3]) : 1;
    if (options->gap == 0)
        options->gap = 2;
    if (options->scale == 0)
        options->scale = 1;
}

int diffc_image_write(const diffc_tensor *image, const char *path, const diffc_image_options *options)
{
    diffc_image_options read;
    DFI_REQUIRE(image);
    DFI_REQUIRE(path);
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "diffc_image_options"));
    DFI_TRY(check_picture(image));
    fill_defaults(&read, image);
    DFI_TRY(check_options(&read));
    return dfi_image_write(image, path, &read);
}

int diffc_image_blur(const diffc_tensor *image, int kernel_size, double sigma, diffc_tensor **blurred)
{
    char text[128];
    DFI_REQUIRE(image);
    DFI_REQUIRE(blurred);
    const int last = image->ndim - 1;
    if (image->dtype != DIFFC_F32 || last < 1)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, must be F32 [..., H, W]",
                        dfi_tensor_text(image, text, sizeof(text)));
    if (kernel_size < 1 || kernel_size % 2 == 0)
        return dfi_fail(DIFFC_ERR_ARG, "kernel_size is %d, must be odd and positive", kernel_size);
    if (!isfinite(sigma) || sigma <= 0)
        return dfi_fail(DIFFC_ERR_ARG, "sigma is %g, must be positive", sigma);
    if (kernel_size / 2 >= image->shape[last - 1] || kernel_size / 2 >= image->shape[last])
        return dfi_fail(DIFFC_ERR_ARG, "kernel_size is %d, half of it must be less than the sides of %s",
                        kernel_size, dfi_tensor_text(image, text, sizeof(text)));
    if (image->shape[last - 1] > INT_MAX || image->shape[last] > INT_MAX ||
        dfi_tensor_count(image) / image->shape[last] / image->shape[last - 1] > INT_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "image is %s, too large",
                        dfi_tensor_text(image, text, sizeof(text)));
    return dfi_image_blur(image, kernel_size, sigma, blurred);
}
