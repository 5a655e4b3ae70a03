#include <math.h>

#include "quality.h"

const int ex_blur_kernels[EX_BLUR_KERNELS] = { 3, 5, 7, 9, 11, 13, 15 };
const double ex_blur_sigmas[EX_BLUR_SIGMAS] = { 0.5, 1, 1.5, 2, 2.5, 3 };

static double shown(float value)
{
    return fmin(fmax((double)value, -1), 1);
}

double ex_psnr(const diffc_tensor *images, int index, const diffc_tensor *clean)
{
    const int64_t count = diffc_tensor_count(clean);
    const float *a = (const float *)diffc_tensor_data(images) + index * count, *b = diffc_tensor_data(clean);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        double difference = shown(a[i]) - shown(b[i]);
        sum += difference * difference;
    }
    return 10 * log10(4 * (double)count / sum); /* from black to white is 2 */
}

int ex_blur_sweep(const diffc_tensor *noisy, const diffc_tensor *clean, struct ex_blur *blur)
{
    const int64_t height = diffc_tensor_dim(noisy, 2), width = diffc_tensor_dim(noisy, 3);
    const int64_t side = height < width ? height : width;
    *blur = (struct ex_blur) { .best = -INFINITY };
    for (int k = 0; k < EX_BLUR_KERNELS; k++)
        for (int s = 0; s < EX_BLUR_SIGMAS; s++) {
            diffc_tensor *image = NULL;
            blur->psnr[k][s] = NAN;
            if (ex_blur_kernels[k] / 2 >= side)
                continue;
            int status = diffc_image_blur(noisy, ex_blur_kernels[k], ex_blur_sigmas[s], &image);
            if (status) {
                diffc_release(&blur->image);
                return ex_failed("blur", status);
            }
            blur->psnr[k][s] = ex_psnr(image, 0, clean);
            if (blur->psnr[k][s] > blur->best) {
                blur->best = blur->psnr[k][s];
                blur->kernel = ex_blur_kernels[k];
                blur->sigma = ex_blur_sigmas[s];
                diffc_release(&blur->image);
                blur->image = diffc_retain(image);
            }
            diffc_release(&image);
        }
    return 0;
}
