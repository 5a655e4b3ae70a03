#ifndef DFI_TENSOR_TENSOR_H
#define DFI_TENSOR_TENSOR_H

#include <diffc/tensor.h>

#include "base/context.h"

struct dfi_storage; /* reference-counted memory behind tensors */

struct diffc_tensor {
    struct dfi_object object;
    int dtype;
    int ndim;
    int64_t shape[DIFFC_MAX_DIMS];
    int64_t strides[DIFFC_MAX_DIMS]; /* elements */
    void *data;                      /* element (0, ..., 0) */
    struct dfi_storage *storage;     /* NULL: nobody's concern */
};

size_t dfi_dtype_size(int dtype); /* bytes; 0 for an unknown dtype */
const char *dfi_dtype_name(int dtype);
int dfi_dtype_is_float(int dtype); /* 16, 32 or 64 bits */

/* What the functions of diffc/tensor.h do, for the rooms below the API. Every argument but the pointers is
 * checked. */
int dfi_tensor_create(struct diffc_context *context, int dtype, int ndim, const int64_t *shape,
                      struct diffc_tensor **tensor);
int dfi_tensor_wrap(struct diffc_context *context, int dtype, int ndim, const int64_t *shape,
                    const int64_t *strides, void *data, void (*release)(void *opaque), void *opaque,
                    struct diffc_tensor **tensor);
int dfi_tensor_slice(const struct diffc_tensor *tensor, int axis, int64_t start, int64_t length, int64_t step,
                     struct diffc_tensor **view);
int dfi_tensor_permute(const struct diffc_tensor *tensor, const int *axes, struct diffc_tensor **view);
int dfi_tensor_reshape(const struct diffc_tensor *tensor, int ndim, const int64_t *shape,
                       struct diffc_tensor **view);
int64_t dfi_tensor_count(const struct diffc_tensor *tensor);
int dfi_tensor_is_contiguous(const struct diffc_tensor *tensor);

/* A tensor over memory that lives in another handle: `owner` is kept until the tensor and its views are gone.
 */
int dfi_tensor_over(struct diffc_context *context, int dtype, int ndim, const int64_t *shape, void *data,
                    const void *owner, struct diffc_tensor **tensor);

/* Text such as "F32 [2, 3, 8, 8]" for messages; returns `text`. */
const char *dfi_tensor_text(const struct diffc_tensor *tensor, char *text, size_t size);

/* Argument checks of the API: fail with a message that names the argument unless it is contiguous F32 of that
 * shape (a size of -1 matches any). */
int dfi_tensor_expect(const struct diffc_tensor *tensor, const char *name, int ndim, const int64_t *shape);

/* `count` values between any two dtypes, contiguous, rounding as diffc_tensor_copy() documents. */
void dfi_convert(int from, const void *source, int to, void *destination, size_t count);

/* Copies with strides and conversion between two tensors of one shape (no checks). Rounds to nearest whatever
 * the caller's floating-point mode; dfi_convert() is called in the mode of its caller. */
void dfi_tensor_copy(const struct diffc_tensor *source, struct diffc_tensor *destination);

#endif
