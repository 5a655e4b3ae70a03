#include "base/float_mode.h"
#include "io/image.h"

/* A contiguous tensor of that dtype with the sizes of `image`. */
static int like(const struct diffc_tensor *image, int dtype, struct diffc_tensor **made)
{
    return dfi_tensor_create(image->object.context, dtype, image->ndim, image->shape, made);
}

int dfi_image_to_bytes(const struct diffc_tensor *image, float low, float high, struct diffc_tensor **bytes)
{
    struct diffc_tensor *plain, *made;
    struct dfi_float_mode mode;
    DFI_TRY(like(image, DIFFC_F32, &plain));
    const int status = like(image, DIFFC_U8, &made);
    if (status == DIFFC_OK) {
        dfi_tensor_copy(image, plain);
        dfi_float_enter(&mode, 0);
        for (int64_t i = 0, n = dfi_tensor_count(image); i < n; i++)
            ((unsigned char *)made->data)[i] = dfi_image_byte(((const float *)plain->data)[i], low, high);
        dfi_float_leave(&mode);
        *bytes = made;
    }
    dfi_release(plain);
    return status;
}

int dfi_image_from_bytes(const struct diffc_tensor *bytes, float low, float high, struct diffc_tensor **image)
{
    const float steps = 255.0f / (high - low);
    struct diffc_tensor *made;
    struct dfi_float_mode mode;
    DFI_TRY(like(bytes, DIFFC_F32, &made));
    dfi_tensor_copy(bytes, made);
    dfi_float_enter(&mode, 0);
    float *values = made->data;
    for (int64_t i = 0, n = dfi_tensor_count(made); i < n; i++)
        values[i] = values[i] / steps + low;
    dfi_float_leave(&mode);
    *image = made;
    return DIFFC_OK;
}

static void flatten_pixels(const float *in, float *out, int64_t pixels, float background)
{
    for (int64_t i = 0; i < 3 * pixels; i++) {
        const float alpha = in[3 * pixels + i % pixels];
        out[i] = in[i] * alpha + background * (1 - alpha);
    }
}

int dfi_image_flatten(const struct diffc_tensor *image, float background, struct diffc_tensor **flat)
{
    const int axis = image->ndim - 3;
    const int64_t pixels = image->shape[axis + 1] * image->shape[axis + 2];
    const int64_t pictures = axis ? image->shape[0] : 1;
    int64_t shape[4];
    struct diffc_tensor *plain, *made;
    struct dfi_float_mode mode;
    for (int i = 0; i < image->ndim; i++)
        shape[i] = i == axis ? 3 : image->shape[i];
    DFI_TRY(like(image, DIFFC_F32, &plain));
    const int status = dfi_tensor_create(image->object.context, DIFFC_F32, image->ndim, shape, &made);
    if (status == DIFFC_OK) {
        dfi_tensor_copy(image, plain);
        dfi_float_enter(&mode, 0);
        for (int64_t n = 0; n < pictures; n++)
            flatten_pixels((const float *)plain->data + n * 4 * pixels, (float *)made->data + n * 3 * pixels,
                           pixels, background);
        dfi_float_leave(&mode);
        *flat = made;
    }
    dfi_release(plain);
    return status;
}

static void grey_pixels(const unsigned char *in, unsigned char *out, int64_t pixels)
{
    for (int64_t i = 0; i < pixels; i++) {
        const uint32_t red = in[i], green = in[pixels + i], blue = in[2 * pixels + i];
        out[i] = (unsigned char)((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16);
    }
}

int dfi_image_grey_bytes(const struct diffc_tensor *bytes, struct diffc_tensor **grey)
{
    const int axis = bytes->ndim - 3;
    const int64_t pixels = bytes->shape[axis + 1] * bytes->shape[axis + 2];
    const int64_t pictures = axis ? bytes->shape[0] : 1;
    int64_t shape[4];
    struct diffc_tensor *plain, *made;
    for (int i = 0; i < bytes->ndim; i++)
        shape[i] = i == axis ? 1 : bytes->shape[i];
    DFI_TRY(like(bytes, DIFFC_U8, &plain));
    const int status = dfi_tensor_create(bytes->object.context, DIFFC_U8, bytes->ndim, shape, &made);
    if (status == DIFFC_OK) {
        dfi_tensor_copy(bytes, plain);
        for (int64_t n = 0; n < pictures; n++)
            grey_pixels((const unsigned char *)plain->data + n * 3 * pixels,
                        (unsigned char *)made->data + n * pixels, pixels);
        *grey = made;
    }
    dfi_release(plain);
    return status;
}
