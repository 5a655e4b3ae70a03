#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "picture.h"

static int read_png(diffc_context *context, const char *path, diffc_tensor **bytes)
{
    diffc_tensor *image = NULL, *flat = NULL;
    int status = diffc_image_read(context, path, 4, &image);
    if (!status)
        status = diffc_image_flatten(image, 1, &flat);
    if (!status)
        status = diffc_image_to_bytes(flat, 0, 1, bytes);
    diffc_release(&flat);
    diffc_release(&image);
    return status ? ex_failed(path, status) : 0;
}

int ex_picture_read(diffc_context *context, const char *path, diffc_tensor **bytes)
{
    unsigned char first[3] = { 0 };
    if (!strncmp(path, "drawing:", 8))
        return ex_drawing_draw(context, path + 8, bytes);
    FILE *file = fopen(path, "rb");
    if (!file)
        return ex_error(EX_FAILED, path, "%s", strerror(errno));
    size_t got = fread(first, 1, sizeof first, file);
    fclose(file);
    int is_jpeg = got == 3 && first[0] == 0xff && first[1] == 0xd8 && first[2] == 0xff;
    return is_jpeg ? ex_jpeg_read(context, path, bytes) : read_png(context, path, bytes);
}

int ex_picture_check(diffc_context *context, const char *path)
{
    diffc_tensor *bytes = NULL;
    int code = path ? ex_picture_read(context, path, &bytes) : 0;
    diffc_release(&bytes);
    return code;
}

/* [C, H, W] as [1, C, H, W]. */
static int add_batch(diffc_tensor **tensor)
{
    diffc_tensor *view = NULL;
    const int64_t shape[4] = { 1, diffc_tensor_dim(*tensor, 0), diffc_tensor_dim(*tensor, 1),
                               diffc_tensor_dim(*tensor, 2) };
    int status = diffc_tensor_reshape(*tensor, 4, shape, &view);
    diffc_release(tensor);
    *tensor = view;
    return status;
}

int ex_picture_open(diffc_context *context, const char *path, int64_t height, int64_t width, diffc_tensor **x)
{
    diffc_tensor *bytes = NULL, *fitted = NULL, *values = NULL;
    int code = ex_picture_read(context, path, &bytes);
    if (code)
        return code;
    int status = diffc_image_fit(bytes, height, width, "bicubic", &fitted);
    if (!status)
        status = diffc_image_from_bytes(fitted, -1, 1, &values);
    if (!status)
        status = add_batch(&values);
    diffc_release(&fitted);
    diffc_release(&bytes);
    if (status)
        return ex_failed(path, status);
    *x = values;
    return 0;
}

static int middle_mask(diffc_context *context, int64_t height, int64_t width, diffc_tensor **mask)
{
    const int64_t shape[4] = { 1, 1, height, width };
    int status = diffc_tensor_create(context, DIFFC_F32, 4, shape, mask);
    if (status)
        return ex_failed("mask", status);
    float *values = diffc_tensor_data(*mask);
    for (int64_t y = height / 4; y < height - height / 4; y++)
        for (int64_t x = width / 4; x < width - width / 4; x++)
            values[y * width + x] = 1;
    return 0;
}

int ex_mask_open(diffc_context *context, const char *path, int64_t height, int64_t width, diffc_tensor **mask)
{
    diffc_tensor *bytes = NULL, *grey = NULL, *fitted = NULL, *values = NULL;
    if (!path)
        return middle_mask(context, height, width, mask);
    int code = ex_picture_read(context, path, &bytes);
    if (code)
        return code;
    int status = diffc_image_grey_bytes(bytes, &grey);
    if (!status)
        status = diffc_image_fit(grey, height, width, "bicubic", &fitted);
    if (!status)
        status = diffc_image_from_bytes(fitted, 0, 1, &values);
    if (!status)
        status = add_batch(&values);
    diffc_release(&fitted);
    diffc_release(&grey);
    diffc_release(&bytes);
    if (status)
        return ex_failed(path, status);
    float *value = diffc_tensor_data(values);
    for (int64_t i = 0; i < height * width; i++)
        value[i] = value[i] >= 0.5f;
    *mask = values;
    return 0;
}
