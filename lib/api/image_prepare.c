#include <limits.h>
#include <math.h>

#include <diffc/image.h>

#include "io/image.h"
#include "io/resize.h"

#define MAX_SIDE (1 << 24)

static int require(const void *image, const void *result)
{
    return image && result ? DIFFC_OK : dfi_fail(DIFFC_ERR_ARG, "image and the result must not be NULL");
}

static int check_source(const diffc_tensor *image)
{
    char text[128];
    const int last = image->ndim - 1;
    if (last < 1 || (image->dtype != DIFFC_F32 && image->dtype != DIFFC_U8) || dfi_tensor_count(image) == 0)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, must be F32 or U8 [..., H, W], not empty",
                        dfi_tensor_text(image, text, sizeof(text)));
    if (image->shape[last] > MAX_SIDE || image->shape[last - 1] > MAX_SIDE ||
        dfi_tensor_count(image) / image->shape[last] / image->shape[last - 1] > INT_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "image is %s, too large",
                        dfi_tensor_text(image, text, sizeof(text)));
    return DIFFC_OK;
}

static int check_size(int64_t height, int64_t width)
{
    if (height < 1 || width < 1 || height > MAX_SIDE || width > MAX_SIDE)
        return dfi_fail(DIFFC_ERR_ARG, "height and width are %lld and %lld, must be 1 to %d",
                        (long long)height, (long long)width, MAX_SIDE);
    return DIFFC_OK;
}

int diffc_image_resize(const diffc_tensor *image, int64_t height, int64_t width, const char *method,
                       diffc_tensor **resized)
{
    DFI_TRY(require(image, resized));
    DFI_TRY(check_source(image));
    DFI_TRY(check_size(height, width));
    const struct dfi_resize_method *found = dfi_resize_find(method);
    return found ? dfi_image_resize(image, (int)height, (int)width, found, resized) : DIFFC_ERR_ARG;
}

int diffc_image_crop(diffc_tensor *image, int64_t height, int64_t width, diffc_tensor **middle)
{
    char text[128];
    DFI_TRY(require(image, middle));
    const int last = image->ndim - 1;
    if (last < 1 || height < 1 || width < 1 || height > image->shape[last - 1] || width > image->shape[last])
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, cannot be cropped to %lld x %lld",
                        dfi_tensor_text(image, text, sizeof(text)), (long long)height, (long long)width);
    struct diffc_tensor *rows;
    DFI_TRY(dfi_tensor_slice(image, last - 1, (image->shape[last - 1] - height) / 2, height, 1, &rows));
    const int status = dfi_tensor_slice(rows, last, (image->shape[last] - width) / 2, width, 1, middle);
    dfi_release(rows);
    return status;
}

/* The middle of `whole`, contiguous. */
static int crop_copy(diffc_tensor *whole, int64_t height, int64_t width, diffc_tensor **fitted)
{
    struct diffc_tensor *view = NULL, *made = NULL;
    int status = diffc_image_crop(whole, height, width, &view);
    if (status == DIFFC_OK)
        status = dfi_tensor_create(whole->object.context, view->dtype, view->ndim, view->shape, &made);
    if (status == DIFFC_OK) {
        dfi_tensor_copy(view, made);
        *fitted = made;
    }
    dfi_release(view);
    return status;
}

int diffc_image_fit(const diffc_tensor *image, int64_t height, int64_t width, const char *method,
                    diffc_tensor **fitted)
{
    DFI_TRY(require(image, fitted));
    DFI_TRY(check_source(image));
    DFI_TRY(check_size(height, width));
    const int64_t h = image->shape[image->ndim - 2], w = image->shape[image->ndim - 1];
    const int tall = h * width >= w * height; /* the width decides */
    struct diffc_tensor *whole;
    DFI_TRY(diffc_image_resize(image, tall ? h * width / w : height, tall ? width : w * height / h, method,
                               &whole));
    const int status = crop_copy(whole, height, width, fitted);
    dfi_release(whole);
    return status;
}

int diffc_image_fit_side(const diffc_tensor *image, int64_t side, int64_t multiple, const char *method,
                         diffc_tensor **fitted)
{
    DFI_TRY(require(image, fitted));
    DFI_TRY(check_source(image));
    DFI_TRY(check_size(side, multiple));
    const int64_t h = image->shape[image->ndim - 2], w = image->shape[image->ndim - 1];
    const double ratio = (double)w / (double)h,
                 share = (double)side / (double)multiple; /* as Python has it */
    const double longer = rint(h > w ? share / ratio : share * ratio) * (double)multiple;
    if (!(longer >= 1 && longer <= MAX_SIDE))
        return dfi_fail(DIFFC_ERR_ARG, "side is %lld, the longer side of %lld x %lld would become %g",
                        (long long)side, (long long)h, (long long)w, longer);
    return diffc_image_resize(image, h > w ? (int64_t)longer : side, h > w ? side : (int64_t)longer, method,
                              fitted);
}

static int check_range(float low, float high, int reversible)
{
    if (!isfinite(low) || !isfinite(high) || !isfinite(high - low) ||
        (reversible ? low == high : low >= high))
        return dfi_fail(DIFFC_ERR_ARG, "low and high are %g and %g, must be finite and %s", (double)low,
                        (double)high, reversible ? "differ" : "in order");
    return DIFFC_OK;
}

static int check_dtype(const diffc_tensor *image, int dtype)
{
    return image->dtype == dtype ? DIFFC_OK
                                 : dfi_fail(DIFFC_ERR_ARG, "the dtype is %s, must be %s",
                                            dfi_dtype_name(image->dtype), dfi_dtype_name(dtype));
}

int diffc_image_to_bytes(const diffc_tensor *image, float low, float high, diffc_tensor **bytes)
{
    DFI_TRY(require(image, bytes));
    DFI_TRY(check_dtype(image, DIFFC_F32));
    DFI_TRY(check_range(low, high, 1));
    return dfi_image_to_bytes(image, low, high, bytes);
}

int diffc_image_from_bytes(const diffc_tensor *bytes, float low, float high, diffc_tensor **image)
{
    DFI_TRY(require(bytes, image));
    DFI_TRY(check_dtype(bytes, DIFFC_U8));
    DFI_TRY(check_range(low, high, 0));
    return dfi_image_from_bytes(bytes, low, high, image);
}

int diffc_image_flatten(const diffc_tensor *image, float background, diffc_tensor **flat)
{
    char text[128];
    DFI_TRY(require(image, flat));
    const int axis = image->ndim - 3;
    if (image->dtype != DIFFC_F32 || axis < 0 || axis > 1 || image->shape[axis] != 4)
        return dfi_fail(DIFFC_ERR_ARG, "image is %s, must be F32 [4, H, W] or [N, 4, H, W]",
                        dfi_tensor_text(image, text, sizeof(text)));
    if (!(background >= 0 && background <= 1))
        return dfi_fail(DIFFC_ERR_ARG, "background is %g, must be 0 to 1", (double)background);
    return dfi_image_flatten(image, background, flat);
}

int diffc_image_grey_bytes(const diffc_tensor *bytes, diffc_tensor **grey)
{
    char text[128];
    DFI_TRY(require(bytes, grey));
    const int axis = bytes->ndim - 3;
    if (bytes->dtype != DIFFC_U8 || axis < 0 || axis > 1 || bytes->shape[axis] != 3)
        return dfi_fail(DIFFC_ERR_ARG, "bytes is %s, must be U8 [3, H, W] or [N, 3, H, W]",
                        dfi_tensor_text(bytes, text, sizeof(text)));
    return dfi_image_grey_bytes(bytes, grey);
}
