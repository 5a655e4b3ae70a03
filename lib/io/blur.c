/* Gaussian blur of planes (kernel/gaussian.h has its taps). */

#include "io/image.h"
#include "kernel/gaussian.h"
#include "kernel/kernels.h"

struct blur {
    const struct diffc_tensor *image;
    struct diffc_tensor *blurred;
    const struct dfi_kernels *kernels;
    const double *taps;
    int size;
    float *scratch; /* a plane per worker */
};

/* Plane `index` of the leading axes. */
static void blur_plane(void *work, int index, int worker)
{
    const struct blur *const blur = work;
    const struct diffc_tensor *const image = blur->image;
    const int last = image->ndim - 1;
    const int h = (int)image->shape[last - 1], w = (int)image->shape[last];
    const size_t plane = (size_t)h * (size_t)w;
    const float *in = image->data;
    int64_t rest = index;
    for (int i = last - 2; i >= 0; i--) {
        in += rest % image->shape[i] * image->strides[i];
        rest /= image->shape[i];
    }
    blur->kernels->blur(in, image->strides[last - 1], image->strides[last],
                        (float *)blur->blurred->data + (size_t)index * plane, h, w, blur->taps, blur->size,
                        blur->scratch + (size_t)worker * plane);
}

static double *make_taps(struct diffc_context *context, int size, double sigma)
{
    double *const taps = dfi_alloc(context, (size_t)size * sizeof(*taps));
    if (taps)
        dfi_gaussian_taps(taps, size, sigma);
    return taps;
}

int dfi_image_blur(const struct diffc_tensor *image, int kernel_size, double sigma,
                   struct diffc_tensor **blurred)
{
    struct diffc_context *const context = image->object.context;
    const int last = image->ndim - 1;
    const size_t plane = (size_t)image->shape[last - 1] * (size_t)image->shape[last] * sizeof(float);
    struct blur blur = { .image = image,
                         .kernels = dfi_kernels_get(context->cpu_flags, DIFFC_F32),
                         .size = kernel_size };
    double *const taps = make_taps(context, kernel_size, sigma);
    blur.taps = taps;
    blur.scratch = dfi_calloc(context, (size_t)context->threads, plane);
    int status = taps && blur.scratch
                     ? dfi_tensor_create(context, DIFFC_F32, image->ndim, image->shape, &blur.blurred)
                     : DIFFC_ERR_NOMEM;
    if (!status)
        status = dfi_parallel(context, blur_plane, &blur,
                              (int)(dfi_tensor_count(image) / (int64_t)(plane / sizeof(float))));
    dfi_free(context, taps);
    dfi_free(context, blur.scratch);
    if (status)
        dfi_release(blur.blurred);
    else
        *blurred = blur.blurred;
    return status;
}
