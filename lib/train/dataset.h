#ifndef DFI_TRAIN_DATASET_H
#define DFI_TRAIN_DATASET_H

#include <diffc/train.h>

#include "tensor/tensor.h"

struct diffc_dataset {
    struct dfi_object object;
    struct diffc_tensor *images, *labels; /* NULL where a function reads; labels also where there are none */
    diffc_dataset_fn read;                /* NULL: tensors */
    void *opaque;
    int64_t count;
    int channels, height, width;
    int labelled;
};

int dfi_dataset_new(const struct diffc_tensor *images, const struct diffc_tensor *labels,
                    struct diffc_dataset **dataset);
int dfi_dataset_open_idx(struct diffc_context *context, const char *images_path, const char *labels_path,
                         struct diffc_dataset **dataset);
int dfi_dataset_of_function(struct diffc_context *context, int64_t count, int channels, int height, int width,
                            diffc_dataset_fn read, void *opaque, struct diffc_dataset **dataset);

/* Values of one image, [C, H, W]. */
size_t dfi_dataset_values(const struct diffc_dataset *dataset);

/* Sets of tensors only: cannot fail, on any thread. Labels outside of 32 bits become the nearest that fits.
 */
void dfi_dataset_image(const struct diffc_dataset *dataset, int64_t index, float *image);
int32_t dfi_dataset_label(const struct diffc_dataset *dataset, int64_t index);

/* Any set: image [C, H, W] and label (-1 without). */
int dfi_dataset_read(const struct diffc_dataset *dataset, int64_t index, float *image, int32_t *label);

#endif
