#include <string.h>

#include <diffc/tensor.h>

#include "tensor/tensor.h"

int diffc_tensor_create(diffc_context *context, int dtype, int ndim, const int64_t *shape,
                        diffc_tensor **tensor)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(tensor);
    return dfi_tensor_create(context, dtype, ndim, shape, tensor);
}

int diffc_tensor_wrap(diffc_context *context, int dtype, int ndim, const int64_t *shape,
                      const int64_t *strides, void *data, void (*release)(void *opaque), void *opaque,
                      diffc_tensor **tensor)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(tensor);
    return dfi_tensor_wrap(context, dtype, ndim, shape, strides, data, release, opaque, tensor);
}

int diffc_tensor_dtype(const diffc_tensor *tensor)
{
    return tensor ? tensor->dtype : 0;
}

int diffc_tensor_ndim(const diffc_tensor *tensor)
{
    return tensor ? tensor->ndim : 0;
}

int64_t diffc_tensor_dim(const diffc_tensor *tensor, int axis)
{
    return tensor && axis >= 0 && axis < tensor->ndim ? tensor->shape[axis] : 0;
}

int64_t diffc_tensor_stride(const diffc_tensor *tensor, int axis)
{
    return tensor && axis >= 0 && axis < tensor->ndim ? tensor->strides[axis] : 0;
}

int64_t diffc_tensor_count(const diffc_tensor *tensor)
{
    return tensor ? dfi_tensor_count(tensor) : 0;
}

int diffc_tensor_is_contiguous(const diffc_tensor *tensor)
{
    return tensor ? dfi_tensor_is_contiguous(tensor) : 0;
}

void *diffc_tensor_data(const diffc_tensor *tensor)
{
    return tensor ? tensor->data : NULL;
}

int diffc_tensor_slice(const diffc_tensor *tensor, int axis, int64_t start, int64_t length, int64_t step,
                       diffc_tensor **view)
{
    DFI_REQUIRE(tensor);
    DFI_REQUIRE(view);
    return dfi_tensor_slice(tensor, axis, start, length, step, view);
}

int diffc_tensor_permute(const diffc_tensor *tensor, const int *axes, diffc_tensor **view)
{
    DFI_REQUIRE(tensor);
    DFI_REQUIRE(view);
    if (tensor->ndim > 0)
        DFI_REQUIRE(axes);
    return dfi_tensor_permute(tensor, axes, view);
}

int diffc_tensor_reshape(const diffc_tensor *tensor, int ndim, const int64_t *shape, diffc_tensor **view)
{
    DFI_REQUIRE(tensor);
    DFI_REQUIRE(view);
    return dfi_tensor_reshape(tensor, ndim, shape, view);
}

int diffc_tensor_copy(const diffc_tensor *source, diffc_tensor *destination)
{
    char from[192], to[192];
    DFI_REQUIRE(source);
    DFI_REQUIRE(destination);
    int same = source->ndim == destination->ndim;
    for (int i = 0; same && i < source->ndim; i++)
        same = source->shape[i] == destination->shape[i];
    if (!same)
        return dfi_fail(DIFFC_ERR_ARG, "source is %s, destination %s: the shapes differ",
                        dfi_tensor_text(source, from, sizeof(from)),
                        dfi_tensor_text(destination, to, sizeof(to)));
    dfi_tensor_copy(source, destination);
    return DIFFC_OK;
}

int diffc_tensor_convert(const diffc_tensor *source, int dtype, diffc_tensor **copy)
{
    struct diffc_tensor *made = NULL;
    DFI_REQUIRE(source);
    DFI_REQUIRE(copy);
    DFI_TRY(dfi_tensor_create(source->object.context, dtype ? dtype : source->dtype, source->ndim,
                              source->shape, &made));
    dfi_tensor_copy(source, made);
    *copy = made;
    return DIFFC_OK;
}

int diffc_tensor_fill(diffc_tensor *tensor, double value)
{
    DFI_REQUIRE(tensor);
    /* a source of the same shape whose strides are all 0 */
    struct diffc_tensor constant = { .dtype = DIFFC_F64, .ndim = tensor->ndim, .data = &value };
    memcpy(constant.shape, tensor->shape, sizeof(constant.shape));
    dfi_tensor_copy(&constant, tensor);
    return DIFFC_OK;
}
