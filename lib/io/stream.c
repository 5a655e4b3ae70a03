#include <string.h>

#include "base/file.h"
#include "io/reader.h"
#include "io/stream.h"

enum { PIECE = 8192 };

size_t dfi_tensor_bytes(const struct diffc_tensor *tensor)
{
    return (size_t)dfi_tensor_count(tensor) * dfi_dtype_size(tensor->dtype);
}

/* Walks the elements in C order, one row of the last axis after the other. */
struct walk {
    const struct diffc_tensor *tensor;
    int64_t index[DIFFC_MAX_DIMS];
    int64_t rows, length, step; /* step: bytes between the elements of a row */
    const char *row;
};

static void walk_start(struct walk *walk, const struct diffc_tensor *tensor, size_t width)
{
    const int last = tensor->ndim - 1;
    *walk = (struct walk) { .tensor = tensor, .rows = 1, .length = 1, .row = tensor->data };
    for (int i = 0; i < last; i++)
        walk->rows *= tensor->shape[i];
    if (last >= 0) {
        walk->length = tensor->shape[last];
        walk->step = tensor->strides[last] * (int64_t)width;
    }
}

static void walk_next_row(struct walk *walk, size_t width)
{
    const struct diffc_tensor *const tensor = walk->tensor;
    for (int i = tensor->ndim - 2; i >= 0; i--) {
        const int64_t stride = tensor->strides[i] * (int64_t)width;
        if (++walk->index[i] < tensor->shape[i]) {
            walk->row += stride;
            return;
        }
        walk->index[i] = 0;
        walk->row -= stride * (tensor->shape[i] - 1);
    }
}

/* A buffer in front of the sink. */
struct outlet {
    dfi_sink_fn sink;
    void *opaque;
    int swap;
    size_t width, used;
    unsigned char buffer[PIECE];
};

static int flush_outlet(struct outlet *outlet)
{
    if (outlet->used == 0)
        return DIFFC_OK;
    if (outlet->swap)
        dfi_swap_bytes(outlet->buffer, outlet->used / outlet->width, outlet->width);
    const size_t used = outlet->used;
    outlet->used = 0;
    return outlet->sink(outlet->opaque, outlet->buffer, used);
}

static int put_row(struct outlet *outlet, const struct walk *walk)
{
    const char *element = walk->row;
    for (int64_t i = 0; i < walk->length; i++) {
        if (outlet->used + outlet->width > PIECE)
            DFI_TRY(flush_outlet(outlet));
        memcpy(outlet->buffer + outlet->used, element, outlet->width);
        outlet->used += outlet->width;
        element += walk->step;
    }
    return DIFFC_OK;
}

int dfi_tensor_stream(const struct diffc_tensor *tensor, int little, dfi_sink_fn sink, void *opaque)
{
    const size_t width = dfi_dtype_size(tensor->dtype);
    const int swap = little && dfi_big_endian() && width > 1;
    if (dfi_tensor_count(tensor) == 0)
        return DIFFC_OK;
    if (dfi_tensor_is_contiguous(tensor) && !swap)
        return sink(opaque, tensor->data, dfi_tensor_bytes(tensor));
    struct outlet outlet = { .sink = sink, .opaque = opaque, .swap = swap, .width = width };
    struct walk walk;
    walk_start(&walk, tensor, width);
    for (int64_t i = 0; i < walk.rows; i++) {
        DFI_TRY(put_row(&outlet, &walk));
        walk_next_row(&walk, width);
    }
    return flush_outlet(&outlet);
}

static int append(void *opaque, const void *data, size_t size)
{
    return dfi_atomic_append(opaque, data, size);
}

int dfi_tensor_append(const struct diffc_tensor *tensor, struct dfi_atomic_file *file)
{
    return dfi_tensor_stream(tensor, 1, append, file);
}
