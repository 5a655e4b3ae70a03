#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "tensor/storage.h"
#include "tensor/tensor.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [DIFFC_F32] = { "F32", 4 }, [DIFFC_F16] = { "F16", 2 }, [DIFFC_BF16] = { "BF16", 2 },
    [DIFFC_F64] = { "F64", 8 }, [DIFFC_U8] = { "U8", 1 },   [DIFFC_I32] = { "I32", 4 },
    [DIFFC_I64] = { "I64", 8 },
};

size_t dfi_dtype_size(int dtype)
{
    return dtype >= 0 && dtype < DFI_COUNT(dtypes) ? dtypes[dtype].size : 0;
}

const char *dfi_dtype_name(int dtype)
{
    return dfi_dtype_size(dtype) ? dtypes[dtype].name : "unknown dtype";
}

int dfi_dtype_is_float(int dtype)
{
    return dtype == DIFFC_F32 || dtype == DIFFC_F16 || dtype == DIFFC_BF16 || dtype == DIFFC_F64;
}

static void destroy_tensor(void *handle)
{
    struct diffc_tensor *tensor = handle;
    dfi_storage_release(tensor->object.context, tensor->storage);
    dfi_object_free(tensor);
}

static void set_contiguous(struct diffc_tensor *tensor)
{
    int64_t stride = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        tensor->strides[i] = stride;
        stride *= tensor->shape[i] > 0 ? tensor->shape[i] : 1;
    }
}

/* Checks what describes a tensor and says its size in bytes. */
static int check_shape(int dtype, int ndim, const int64_t *shape, size_t *bytes)
{
    const size_t size = dfi_dtype_size(dtype);
    if (!size)
        return dfi_fail(DIFFC_ERR_ARG, "dtype is %d, must be a diffc_dtype", dtype);
    if (ndim < 0 || ndim > DIFFC_MAX_DIMS)
        return dfi_fail(DIFFC_ERR_ARG, "ndim is %d, must be 0 to %d", ndim, DIFFC_MAX_DIMS);
    if (ndim > 0 && !shape)
        return dfi_fail(DIFFC_ERR_ARG, "shape is NULL with %d dimensions", ndim);
    size_t product = size;
    int empty = 0;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0)
            return dfi_fail(DIFFC_ERR_ARG, "shape[%d] is %" PRId64 ", must not be negative", i, shape[i]);
        empty |= shape[i] == 0;
        /* sizes beside a 0 count too: strides are their products */
        if (shape[i] > 0 && (dfi_ck_mul(product, (size_t)shape[i], &product) || product > PTRDIFF_MAX))
            return dfi_fail(DIFFC_ERR_LIMIT, "the tensor's byte count overflows at shape[%d] = %" PRId64, i,
                            shape[i]);
    }
    *bytes = empty ? 0 : product;
    return DIFFC_OK;
}

static struct diffc_tensor *new_tensor(struct diffc_context *context, int dtype, int ndim,
                                       const int64_t *shape)
{
    struct diffc_tensor *tensor = dfi_object_new(context, sizeof(*tensor), destroy_tensor);
    if (!tensor)
        return NULL;
    tensor->dtype = dtype;
    tensor->ndim = ndim;
    if (ndim > 0)
        memcpy(tensor->shape, shape, (size_t)ndim * sizeof(*shape));
    set_contiguous(tensor);
    return tensor;
}

int dfi_tensor_create(struct diffc_context *context, int dtype, int ndim, const int64_t *shape,
                      struct diffc_tensor **result)
{
    size_t bytes;
    DFI_TRY(check_shape(dtype, ndim, shape, &bytes));
    struct diffc_tensor *tensor = new_tensor(context, dtype, ndim, shape);
    if (!tensor)
        return DIFFC_ERR_NOMEM;
    tensor->storage = dfi_storage_new(context);
    if (tensor->storage)
        tensor->data = tensor->storage->block = dfi_calloc(context, 1, bytes);
    if (!tensor->data) {
        dfi_release(tensor);
        return DIFFC_ERR_NOMEM;
    }
    *result = tensor;
    return DIFFC_OK;
}

/* Every element must be reachable by an offset in bytes that does not overflow. */
static int check_strides(int dtype, int ndim, const int64_t *shape, const int64_t *strides)
{
    int64_t reach = 0;
    for (int i = 0; i < ndim; i++) {
        int64_t way;
        if (shape[i] == 0)
            return DIFFC_OK;
        if (strides[i] == INT64_MIN ||
            __builtin_mul_overflow(shape[i] - 1, strides[i] < 0 ? -strides[i] : strides[i], &way) ||
            __builtin_add_overflow(reach, way, &reach) ||
            reach >= (int64_t)(PTRDIFF_MAX / dfi_dtype_size(dtype)))
            return dfi_fail(DIFFC_ERR_LIMIT, "the tensor's extent overflows at strides[%d] = %" PRId64, i,
                            strides[i]);
    }
    return DIFFC_OK;
}

int dfi_tensor_wrap(struct diffc_context *context, int dtype, int ndim, const int64_t *shape,
                    const int64_t *strides, void *data, void (*release)(void *opaque), void *opaque,
                    struct diffc_tensor **result)
{
    size_t bytes;
    DFI_TRY(check_shape(dtype, ndim, shape, &bytes));
    if (!data && bytes > 0)
        return dfi_fail(DIFFC_ERR_ARG, "data is NULL for a tensor of %zu bytes", bytes);
    if ((uintptr_t)data % dfi_dtype_size(dtype))
        return dfi_fail(DIFFC_ERR_ARG, "data is not aligned to the %zu bytes of a %s", dfi_dtype_size(dtype),
                        dfi_dtype_name(dtype));
    if (strides)
        DFI_TRY(check_strides(dtype, ndim, shape, strides));
    struct diffc_tensor *tensor = new_tensor(context, dtype, ndim, shape);
    if (!tensor)
        return DIFFC_ERR_NOMEM;
    tensor->data = data;
    if (strides && ndim > 0)
        memcpy(tensor->strides, strides, (size_t)ndim * sizeof(*strides));
    if (release) {
        tensor->storage = dfi_storage_new(context);
        if (!tensor->storage) {
            dfi_release(tensor);
            return DIFFC_ERR_NOMEM;
        }
        tensor->storage->release = release;
        tensor->storage->opaque = opaque;
    }
    *result = tensor;
    return DIFFC_OK;
}

int dfi_tensor_over(struct diffc_context *context, int dtype, int ndim, const int64_t *shape, void *data,
                    const void *owner, struct diffc_tensor **result)
{
    size_t bytes;
    DFI_TRY(check_shape(dtype, ndim, shape, &bytes));
    struct diffc_tensor *tensor = new_tensor(context, dtype, ndim, shape);
    if (!tensor)
        return DIFFC_ERR_NOMEM;
    tensor->data = data;
    tensor->storage = dfi_storage_new(context);
    if (!tensor->storage) {
        dfi_release(tensor);
        return DIFFC_ERR_NOMEM;
    }
    tensor->storage->owner = dfi_retain(owner);
    *result = tensor;
    return DIFFC_OK;
}

int64_t dfi_tensor_count(const struct diffc_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->ndim; i++)
        count *= tensor->shape[i];
    return count;
}

int dfi_tensor_is_contiguous(const struct diffc_tensor *tensor)
{
    int64_t stride = 1;
    for (int i = tensor->ndim - 1; i >= 0; i--) {
        if (tensor->shape[i] == 0)
            return 1;
        if (tensor->shape[i] != 1 && tensor->strides[i] != stride)
            return 0;
        stride *= tensor->shape[i];
    }
    return 1;
}

const char *dfi_tensor_text(const struct diffc_tensor *tensor, char *text, size_t size)
{
    if (!size)
        return text;
    size_t used = 0;
    int written = snprintf(text, size, "%s [", dfi_dtype_name(tensor->dtype));
    for (int i = 0; i <= tensor->ndim; i++) {
        used += written > 0 && (size_t)written < size - used ? (size_t)written : 0;
        if (i < tensor->ndim && tensor->shape[i] == -1) /* in what dfi_tensor_expect() wants */
            written = snprintf(text + used, size - used, "%sany", i ? ", " : "");
        else if (i < tensor->ndim)
            written = snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", tensor->shape[i]);
    }
    (void)snprintf(text + used, size - used, "]");
    return text;
}

static void write_shape(char *text, size_t size, int ndim, const int64_t *shape)
{
    struct diffc_tensor wanted = { .dtype = DIFFC_F32, .ndim = ndim };
    memcpy(wanted.shape, shape, (size_t)ndim * sizeof(*shape));
    (void)dfi_tensor_text(&wanted, text, size);
}

int dfi_tensor_expect(const struct diffc_tensor *tensor, const char *name, int ndim, const int64_t *shape)
{
    char given[192], wanted[192];
    if (!tensor)
        return dfi_fail(DIFFC_ERR_ARG, "%s is NULL", name);
    int fits = tensor->dtype == DIFFC_F32 && tensor->ndim == ndim;
    for (int i = 0; fits && i < ndim; i++)
        fits = shape[i] == -1 || shape[i] == tensor->shape[i];
    if (!fits) {
        write_shape(wanted, sizeof(wanted), ndim, shape);
        return dfi_fail(DIFFC_ERR_ARG, "%s is %s, must be %s", name,
                        dfi_tensor_text(tensor, given, sizeof(given)), wanted);
    }
    if (!dfi_tensor_is_contiguous(tensor))
        return dfi_fail(DIFFC_ERR_ARG, "%s (%s) is not contiguous", name,
                        dfi_tensor_text(tensor, given, sizeof(given)));
    return DIFFC_OK;
}

/* A second handle on the same elements; its shape, strides and data are then changed by the caller. */
static struct diffc_tensor *new_view(const struct diffc_tensor *tensor)
{
    struct diffc_tensor *view = new_tensor(tensor->object.context, tensor->dtype, tensor->ndim,
                                           tensor->shape);
    if (!view)
        return NULL;
    memcpy(view->strides, tensor->strides, sizeof(view->strides));
    view->data = tensor->data;
    view->storage = dfi_storage_retain(tensor->storage);
    return view;
}

int dfi_tensor_slice(const struct diffc_tensor *tensor, int axis, int64_t start, int64_t length, int64_t step,
                     struct diffc_tensor **result)
{
    if (axis < 0 || axis >= tensor->ndim)
        return dfi_fail(DIFFC_ERR_ARG, "axis is %d, the tensor has %d", axis, tensor->ndim);
    const int64_t size = tensor->shape[axis];
    int64_t last = start;
    int bad = length < 0 || step == 0 || start < 0 || start > size || (length > 0 && start >= size);
    if (!bad && length > 0)
        bad = __builtin_mul_overflow(length - 1, step, &last) || __builtin_add_overflow(last, start, &last) ||
              last < 0 || last >= size;
    if (bad)
        return dfi_fail(DIFFC_ERR_ARG,
                        "slice of %" PRId64 " entries from %" PRId64 " in steps of %" PRId64
                        " leaves axis %d of size %" PRId64,
                        length, start, step, axis, size);
    struct diffc_tensor *view = new_view(tensor);
    if (!view)
        return DIFFC_ERR_NOMEM;
    if (length > 0 && view->data)
        view->data = (char *)view->data +
                     start * tensor->strides[axis] * (int64_t)dfi_dtype_size(tensor->dtype);
    view->shape[axis] = length;
    view->strides[axis] *= length > 1 ? step : 1;
    *result = view;
    return DIFFC_OK;
}

int dfi_tensor_permute(const struct diffc_tensor *tensor, const int *axes, struct diffc_tensor **result)
{
    unsigned seen = 0;
    for (int i = 0; i < tensor->ndim; i++) {
        if (axes[i] < 0 || axes[i] >= tensor->ndim || (seen >> axes[i] & 1u))
            return dfi_fail(DIFFC_ERR_ARG, "axes[%d] is %d: each of 0 to %d must occur once", i, axes[i],
                            tensor->ndim - 1);
        seen |= 1u << axes[i];
    }
    struct diffc_tensor *view = new_view(tensor);
    if (!view)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < tensor->ndim; i++) {
        view->shape[i] = tensor->shape[axes[i]];
        view->strides[i] = tensor->strides[axes[i]];
    }
    *result = view;
    return DIFFC_OK;
}

/* Replaces the one size that is -1 by what is left of `count`. */
static int resolve_shape(int64_t count, int ndim, const int64_t *shape, int64_t *resolved)
{
    int open = -1;
    size_t known = 1;
    if (ndim < 0 || ndim > DIFFC_MAX_DIMS)
        return dfi_fail(DIFFC_ERR_ARG, "ndim is %d, must be 0 to %d", ndim, DIFFC_MAX_DIMS);
    if (ndim > 0 && !shape)
        return dfi_fail(DIFFC_ERR_ARG, "shape is NULL with %d dimensions", ndim);
    for (int i = 0; i < ndim; i++) {
        resolved[i] = shape[i];
        if (shape[i] == -1 && open < 0) {
            open = i;
            resolved[i] = 1;
        } else if (shape[i] < 0) {
            return dfi_fail(DIFFC_ERR_ARG, "shape[%d] is %" PRId64 ", must not be negative (but one -1)", i,
                            shape[i]);
        }
    }
    if (dfi_ck_product(resolved, ndim, &known))
        return dfi_fail(DIFFC_ERR_ARG, "the shape's element count overflows");
    if (open >= 0) {
        if (known == 0 || (size_t)count % known)
            return dfi_fail(DIFFC_ERR_ARG, "%" PRId64 " elements do not divide by the %zu of the sizes given",
                            count, known);
        resolved[open] = count / (int64_t)known;
    } else if (known != (size_t)count) {
        return dfi_fail(DIFFC_ERR_ARG, "the shape has %zu elements, the tensor %" PRId64, known, count);
    }
    return DIFFC_OK;
}

int dfi_tensor_reshape(const struct diffc_tensor *tensor, int ndim, const int64_t *shape,
                       struct diffc_tensor **result)
{
    int64_t resolved[DIFFC_MAX_DIMS];
    size_t bytes;
    if (!dfi_tensor_is_contiguous(tensor))
        return dfi_fail(DIFFC_ERR_ARG, "only contiguous tensors can be reshaped");
    DFI_TRY(resolve_shape(dfi_tensor_count(tensor), ndim, shape, resolved));
    DFI_TRY(check_shape(tensor->dtype, ndim, resolved, &bytes));
    struct diffc_tensor *view = new_view(tensor);
    if (!view)
        return DIFFC_ERR_NOMEM;
    view->ndim = ndim;
    memset(view->shape, 0, sizeof(view->shape));
    memset(view->strides, 0, sizeof(view->strides));
    memcpy(view->shape, resolved, (size_t)ndim * sizeof(*resolved));
    set_contiguous(view);
    *result = view;
    return DIFFC_OK;
}
