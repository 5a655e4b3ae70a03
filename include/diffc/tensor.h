#ifndef DIFFC_TENSOR_H
#define DIFFC_TENSOR_H

#include <diffc/common.h>

DIFFC_BEGIN

#define DIFFC_MAX_DIMS 8

/* An n-dimensional array, 0 to DIFFC_MAX_DIMS dimensions, with strides: images are in logical order N, C, H,
 * W wherever the bytes lie, so a NumPy array or an interleaved RGB buffer can be wrapped in place. Storage is
 * shared between a tensor and its views and freed with the last of them.
 * Thread safety: reading from several threads is safe; writing needs the caller's own order. */

/* A new contiguous tensor of zeros. `shape` has `ndim` sizes >= 0. ERR_ARG, ERR_NOMEM, ERR_LIMIT when the
 * byte count overflows. Since 0.1. */
DIFFC_API int diffc_tensor_create(diffc_context *context, int dtype, int ndim, const int64_t *shape,
                                  diffc_tensor **tensor);

/* A tensor over the caller's memory. `strides` counts elements, may be negative, NULL means contiguous.
 * `data` addresses element (0, ..., 0), aligned to the size of one element. `release`, if not NULL, is called
 * with `opaque` when the last view is gone, on the thread that let go of it; it is not called on failure.
 * ERR_ARG, ERR_NOMEM, ERR_LIMIT when an offset in bytes overflows. Since 0.1. */
DIFFC_API int diffc_tensor_wrap(diffc_context *context, int dtype, int ndim, const int64_t *shape,
                                const int64_t *strides, void *data, void (*release)(void *opaque),
                                void *opaque, diffc_tensor **tensor);

/* Shape and storage. An axis out of range gives 0; the data pointer addresses element (0, ..., 0). Since 0.1.
 */
DIFFC_API int diffc_tensor_dtype(const diffc_tensor *tensor);
DIFFC_API int diffc_tensor_ndim(const diffc_tensor *tensor);
DIFFC_API int64_t diffc_tensor_dim(const diffc_tensor *tensor, int axis);
DIFFC_API int64_t diffc_tensor_stride(const diffc_tensor *tensor, int axis);
DIFFC_API int64_t diffc_tensor_count(const diffc_tensor *tensor);
DIFFC_API int diffc_tensor_is_contiguous(const diffc_tensor *tensor);
DIFFC_API void *diffc_tensor_data(const diffc_tensor *tensor);

/* Views share storage with `tensor`. slice: `length` entries of `axis` from `start`, every `step`-th (step
 * may be negative, not 0). permute: axis i of the view is axis axes[i]. reshape: contiguous tensors only, one
 * size may be -1. ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_tensor_slice(const diffc_tensor *tensor, int axis, int64_t start, int64_t length,
                                 int64_t step, diffc_tensor **view);
DIFFC_API int diffc_tensor_permute(const diffc_tensor *tensor, const int *axes, diffc_tensor **view);
DIFFC_API int diffc_tensor_reshape(const diffc_tensor *tensor, int ndim, const int64_t *shape,
                                   diffc_tensor **view);

/* Copies element by element into a tensor of the same shape, converting the dtype: to a floating dtype by
 * rounding to nearest even, to an integer dtype by rounding to nearest even and saturating (NaN gives 0). The
 * two must not overlap. ERR_ARG (shapes differ). Since 0.1. */
DIFFC_API int diffc_tensor_copy(const diffc_tensor *source, diffc_tensor *destination);

/* A contiguous copy in another dtype (0: the same). ERR_ARG, ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_tensor_convert(const diffc_tensor *source, int dtype, diffc_tensor **copy);

/* Sets every element, converted as by diffc_tensor_copy(). Since 0.1. */
DIFFC_API int diffc_tensor_fill(diffc_tensor *tensor, double value);

DIFFC_END

#endif
