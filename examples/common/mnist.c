#include <stdio.h>

#include "mnist.h"

#ifndef EX_DATA_FOLDER
#define EX_DATA_FOLDER "examples/data"
#endif

/* The file or its gzipped twin. */
static int find_file(const char *folder, const char *name, char path[EX_PATH])
{
    if (ex_exists(ex_path(path, folder, name)))
        return 1;
    char zipped[64];
    snprintf(zipped, sizeof zipped, "%s.gz", name);
    return ex_exists(ex_path(path, folder, zipped));
}

/* Reads one pair of files; returns 0 with NULLs when `optional` and there is no such pair. */
static int read_pair(diffc_context *context, const char *folder, const char *part, int optional,
                     diffc_tensor **images, diffc_tensor **labels)
{
    char name[48], path[EX_PATH], label_path[EX_PATH];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", part);
    if (!find_file(folder, name, path))
        return optional ? 0 : ex_error(EX_FAILED, folder, "no %s or %s.gz in it", name, name);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", part);
    if (!find_file(folder, name, label_path))
        return ex_error(EX_FAILED, folder, "no %s or %s.gz in it", name, name);
    int status = diffc_idx_read(context, path, images);
    if (status)
        return ex_failed(path, status);
    status = diffc_idx_read(context, label_path, labels);
    if (status)
        return ex_failed(label_path, status);
    if (diffc_tensor_ndim(*images) != 3)
        return ex_error(EX_FAILED, path, "has %d dimensions, images have 3", diffc_tensor_ndim(*images));
    if (diffc_tensor_ndim(*labels) != 1)
        return ex_error(EX_FAILED, label_path, "has %d dimensions, labels have 1",
                        diffc_tensor_ndim(*labels));
    if (diffc_tensor_dim(*images, 0) != diffc_tensor_dim(*labels, 0))
        return ex_error(EX_FAILED, path, "%lld images, but %s has %lld labels",
                        (long long)diffc_tensor_dim(*images, 0), label_path,
                        (long long)diffc_tensor_dim(*labels, 0));
    return 0;
}

/* `*tensor` becomes `length` of its entries from `start`. */
static int cut(diffc_tensor **tensor, int64_t start, int64_t length)
{
    diffc_tensor *view = NULL;
    int status = diffc_tensor_slice(*tensor, 0, start, length, 1, &view);
    if (status)
        return ex_failed("data", status);
    diffc_release(tensor);
    *tensor = view;
    return 0;
}

/* Four fifths of the test images become the training images. */
static int divide(struct ex_mnist *mnist)
{
    int64_t count = diffc_tensor_dim(mnist->test_images, 0), part = count * 4 / 5;
    mnist->train_images = diffc_retain(mnist->test_images);
    mnist->train_labels = diffc_retain(mnist->test_labels);
    int code = cut(&mnist->train_images, 0, part);
    if (!code)
        code = cut(&mnist->train_labels, 0, part);
    if (!code)
        code = cut(&mnist->test_images, part, count - part);
    if (!code)
        code = cut(&mnist->test_labels, part, count - part);
    return code;
}

static int make_dataset(const diffc_tensor *images, const diffc_tensor *labels, const char *folder,
                        diffc_dataset **dataset)
{
    int status = diffc_dataset_create(images, labels, dataset);
    return status ? ex_failed(folder, status) : 0;
}

static int read_all(diffc_context *context, const char *folder, int limit, int only_test,
                    struct ex_mnist *mnist)
{
    int code = read_pair(context, folder, "train", 1, &mnist->train_images, &mnist->train_labels);
    if (!code)
        code = read_pair(context, folder, "t10k", 0, &mnist->test_images, &mnist->test_labels);
    if (!code && !mnist->train_images && !only_test)
        code = divide(mnist);
    if (!code && mnist->train_images && limit > 0 && limit < diffc_tensor_dim(mnist->train_images, 0)) {
        code = cut(&mnist->train_images, 0, limit);
        if (!code)
            code = cut(&mnist->train_labels, 0, limit);
    }
    if (!code && mnist->train_images)
        code = make_dataset(mnist->train_images, mnist->train_labels, folder, &mnist->train);
    if (!code)
        code = make_dataset(mnist->test_images, mnist->test_labels, folder, &mnist->test);
    return code;
}

/* Ten classes are what the pictures and the classifier have room for. */
static int check_labels(const diffc_dataset *dataset, int classes, const char *folder)
{
    for (int64_t i = 0, count = dataset ? diffc_dataset_count(dataset) : 0; i < count; i++) {
        int32_t label = -1;
        int status = diffc_dataset_sample(dataset, i, NULL, &label);
        if (status)
            return ex_failed(folder, status);
        if (label < 0 || label >= classes)
            return ex_error(EX_FAILED, folder, "label %lld is %d, expected 0 .. %d", (long long)i, label,
                            classes - 1);
    }
    return 0;
}

int ex_mnist_open(diffc_context *context, const char *folder, int limit, int only_test,
                  struct ex_mnist *mnist)
{
    *mnist = (struct ex_mnist) { .classes = 10 };
    if (!folder)
        folder = EX_DATA_FOLDER;
    int code = read_all(context, folder, limit, only_test, mnist);
    if (!code)
        code = check_labels(mnist->train, mnist->classes, folder);
    if (!code)
        code = check_labels(mnist->test, mnist->classes, folder);
    if (code) {
        ex_mnist_close(mnist);
        return code;
    }
    mnist->height = (int)diffc_tensor_dim(mnist->test_images, 1);
    mnist->width = (int)diffc_tensor_dim(mnist->test_images, 2);
    return 0;
}

void ex_mnist_close(struct ex_mnist *mnist)
{
    diffc_release(&mnist->train);
    diffc_release(&mnist->test);
    diffc_release(&mnist->train_images);
    diffc_release(&mnist->train_labels);
    diffc_release(&mnist->test_images);
    diffc_release(&mnist->test_labels);
}

int ex_mnist_floats(const diffc_tensor *images, int64_t first, int64_t count, diffc_tensor **floats)
{
    diffc_tensor *part = NULL, *copy = NULL;
    int64_t shape[4] = { count, 1, diffc_tensor_dim(images, 1), diffc_tensor_dim(images, 2) };
    int status = diffc_tensor_slice(images, 0, first, count, 1, &part);
    if (!status)
        status = diffc_tensor_convert(part, DIFFC_F32, &copy);
    if (!status)
        status = diffc_tensor_reshape(copy, 4, shape, floats);
    diffc_release(&part);
    diffc_release(&copy);
    if (status)
        return ex_failed("data", status);
    float *value = diffc_tensor_data(*floats);
    for (int64_t i = 0, total = diffc_tensor_count(*floats); i < total; i++)
        value[i] /= 255.0f;
    return 0;
}
