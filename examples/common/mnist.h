#ifndef EX_MNIST_H
#define EX_MNIST_H

#include "support.h"

/* MNIST, or any set of grey images in the same four files. A folder that has only the t10k files (such as the
 * shipped 1,000 images) is divided: the first four fifths to train on, the rest to test with. */
struct ex_mnist {
    diffc_tensor *train_images, *train_labels; /* U8 [N, H, W] and [N] */
    diffc_tensor *test_images, *test_labels;
    diffc_dataset *train, *test;
    int height, width, classes;
};

/* `folder` NULL is the shipped one. `limit` > 0 keeps only the first `limit` training images. With
 * `only_test` nothing is set apart for training unless the folder has training images. */
int ex_mnist_open(diffc_context *context, const char *folder, int limit, int only_test,
                  struct ex_mnist *mnist);
void ex_mnist_close(struct ex_mnist *mnist);

/* `count` images from `first` on as F32 [count, 1, H, W] in [0, 1]. */
int ex_mnist_floats(const diffc_tensor *images, int64_t first, int64_t count, diffc_tensor **floats);

#endif
