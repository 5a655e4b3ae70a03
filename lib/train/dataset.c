#include "train/dataset.h"

#include <string.h>

#include "base/checked.h"
#include "io/idx.h"

static void destroy(void *handle)
{
    struct diffc_dataset *dataset = handle;
    dfi_release(dataset->images);
    dfi_release(dataset->labels);
    dfi_object_free(dataset);
}

/* One image is held in memory as floats: the limit is that of a decoded image. */
static int check_sizes(const struct diffc_context *context, int64_t count, int64_t channels, int64_t height,
                       int64_t width)
{
    const int64_t sizes[4] = { channels, height, width, (int64_t)sizeof(float) };
    size_t bytes;
    if (count < 1 || channels < 1 || height < 1 || width < 1)
        return dfi_fail(DIFFC_ERR_ARG,
                        "data set of %lld images [%lld, %lld, %lld], every size must be at least 1",
                        (long long)count, (long long)channels, (long long)height, (long long)width);
    if (dfi_ck_product(sizes, 4, &bytes) || bytes > (size_t)context->limits.image_bytes)
        return dfi_fail(DIFFC_ERR_LIMIT, "images [%lld, %lld, %lld] take more than limits.image_bytes = %lld",
                        (long long)channels, (long long)height, (long long)width,
                        (long long)context->limits.image_bytes);
    return DIFFC_OK;
}

static int make(struct diffc_context *context, int64_t count, int64_t channels, int64_t height, int64_t width,
                struct diffc_dataset **dataset)
{
    DFI_TRY(check_sizes(context, count, channels, height, width));
    struct diffc_dataset *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->count = count;
    made->channels = (int)channels;
    made->height = (int)height;
    made->width = (int)width;
    *dataset = made;
    return DIFFC_OK;
}

static int check_tensors(const struct diffc_tensor *images, const struct diffc_tensor *labels)
{
    char text[128];
    if ((images->ndim != 3 && images->ndim != 4) || (images->dtype != DIFFC_U8 && images->dtype != DIFFC_F32))
        return dfi_fail(DIFFC_ERR_ARG, "images is %s, expected U8 or F32 [N, C, H, W] or [N, H, W]",
                        dfi_tensor_text(images, text, sizeof(text)));
    if (!labels)
        return DIFFC_OK;
    if (labels->ndim != 1 ||
        (labels->dtype != DIFFC_U8 && labels->dtype != DIFFC_I32 && labels->dtype != DIFFC_I64))
        return dfi_fail(DIFFC_ERR_ARG, "labels is %s, expected U8, I32 or I64 [N]",
                        dfi_tensor_text(labels, text, sizeof(text)));
    if (labels->shape[0] != images->shape[0])
        return dfi_fail(DIFFC_ERR_CONFIG, "%lld images but %lld labels", (long long)images->shape[0],
                        (long long)labels->shape[0]);
    return DIFFC_OK;
}

int dfi_dataset_new(const struct diffc_tensor *images, const struct diffc_tensor *labels,
                    struct diffc_dataset **dataset)
{
    DFI_TRY(check_tensors(images, labels));
    const int64_t *shape = images->shape;
    const int flat = images->ndim == 3;
    struct diffc_dataset *made = NULL;
    DFI_TRY(make(images->object.context, shape[0], flat ? 1 : shape[1], shape[flat ? 1 : 2],
                 shape[flat ? 2 : 3], &made));
    made->images = dfi_retain(images);
    made->labels = dfi_retain(labels);
    made->labelled = labels != NULL;
    *dataset = made;
    return DIFFC_OK;
}

static int read_idx(struct diffc_context *context, const char *path, struct diffc_tensor **tensor)
{
    struct dfi_reader reader;
    DFI_TRY(dfi_reader_open(&reader, context, path));
    const int status = dfi_idx_read(&reader, tensor);
    dfi_reader_close(&reader);
    return status;
}

int dfi_dataset_open_idx(struct diffc_context *context, const char *images_path, const char *labels_path,
                         struct diffc_dataset **dataset)
{
    struct diffc_tensor *images = NULL, *labels = NULL;
    int status = read_idx(context, images_path, &images);
    if (status == DIFFC_OK && labels_path)
        status = read_idx(context, labels_path, &labels);
    if (status == DIFFC_OK && images->ndim != 3 && images->ndim != 4)
        status = dfi_fail(DIFFC_ERR_FORMAT, "%s: %d dimensions, images have 3 or 4", images_path,
                          images->ndim);
    if (status == DIFFC_OK && labels && labels->ndim != 1)
        status = dfi_fail(DIFFC_ERR_FORMAT, "%s: %d dimensions, labels have 1", labels_path, labels->ndim);
    if (status == DIFFC_OK) {
        status = dfi_dataset_new(images, labels, dataset);
        if (status < 0)
            status = dfi_fail_in(status, labels_path ? "%s, %s" : "%s", images_path, labels_path);
    }
    dfi_release(images);
    dfi_release(labels);
    return status;
}

int dfi_dataset_of_function(struct diffc_context *context, int64_t count, int channels, int height, int width,
                            diffc_dataset_fn read, void *opaque, struct diffc_dataset **dataset)
{
    struct diffc_dataset *made = NULL;
    DFI_TRY(make(context, count, channels, height, width, &made));
    made->read = read;
    made->opaque = opaque;
    made->labelled = 1;
    *dataset = made;
    return DIFFC_OK;
}

size_t dfi_dataset_values(const struct diffc_dataset *dataset)
{
    return (size_t)dataset->channels * (size_t)dataset->height * (size_t)dataset->width;
}

static void read_row(const struct diffc_tensor *images, ptrdiff_t at, ptrdiff_t stride, int width, float *row)
{
    if (images->dtype == DIFFC_U8) {
        const unsigned char *bytes = (const unsigned char *)images->data + at;
        for (int x = 0; x < width; x++)
            row[x] = (float)bytes[x * stride] / 255.0f;
    } else {
        const float *floats = (const float *)images->data + at;
        for (int x = 0; x < width; x++)
            row[x] = floats[x * stride];
    }
}

void dfi_dataset_image(const struct diffc_dataset *dataset, int64_t index, float *image)
{
    const struct diffc_tensor *images = dataset->images;
    const int64_t *strides = images->strides;
    const int flat = images->ndim == 3;
    for (int c = 0; c < dataset->channels; c++) {
        for (int y = 0; y < dataset->height; y++) {
            const int64_t at = index * strides[0] + (flat ? 0 : c * strides[1]) + y * strides[flat ? 1 : 2];
            read_row(images, (ptrdiff_t)at, (ptrdiff_t)strides[flat ? 2 : 3], dataset->width, image);
            image += dataset->width;
        }
    }
}

int32_t dfi_dataset_label(const struct diffc_dataset *dataset, int64_t index)
{
    const struct diffc_tensor *labels = dataset->labels;
    if (!labels)
        return -1;
    const int64_t at = index * labels->strides[0];
    if (labels->dtype == DIFFC_U8)
        return ((const unsigned char *)labels->data)[at];
    if (labels->dtype == DIFFC_I32)
        return ((const int32_t *)labels->data)[at];
    const int64_t label = ((const int64_t *)labels->data)[at];
    return label < INT32_MIN ? INT32_MIN : label > INT32_MAX ? INT32_MAX : (int32_t)label;
}

int dfi_dataset_read(const struct diffc_dataset *dataset, int64_t index, float *image, int32_t *label)
{
    if (!dataset->read) {
        dfi_dataset_image(dataset, index, image);
        *label = dfi_dataset_label(dataset, index);
        return DIFFC_OK;
    }
    dfi_forget_message();
    const int status = dataset->read(dataset->opaque, index, image, label);
    if (status == DIFFC_OK)
        return DIFFC_OK;
    return dfi_callback_failed(status, "sample %lld: the data set's function", (long long)index);
}
