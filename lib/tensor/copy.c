#include <string.h>

#include "base/float_mode.h"
#include "tensor/tensor.h"

#define CHUNK 256

/* The walk over two tensors of one shape. */
struct walk {
    int ndim;
    int64_t shape[DIFFC_MAX_DIMS];
    int64_t source[DIFFC_MAX_DIMS], destination[DIFFC_MAX_DIMS]; /* strides in elements */
};

static int64_t magnitude(int64_t value)
{
    return value < 0 ? -value : value;
}

/* Order does not matter to a copy, so the axis with the smallest step in the destination goes innermost. */
static void add_axis(struct walk *walk, int64_t size, int64_t source, int64_t destination)
{
    int at = walk->ndim++;
    for (; at > 0 && magnitude(walk->destination[at - 1]) < magnitude(destination); at--) {
        walk->shape[at] = walk->shape[at - 1];
        walk->source[at] = walk->source[at - 1];
        walk->destination[at] = walk->destination[at - 1];
    }
    walk->shape[at] = size;
    walk->source[at] = source;
    walk->destination[at] = destination;
}

/* Neighbouring axes that are one run in both tensors become one axis. */
static void merge_axes(struct walk *walk)
{
    int kept = 0;
    for (int i = 1; i < walk->ndim; i++) {
        if (walk->source[kept] == walk->source[i] * walk->shape[i] &&
            walk->destination[kept] == walk->destination[i] * walk->shape[i]) {
            walk->shape[kept] *= walk->shape[i];
        } else {
            kept++;
            walk->shape[kept] = walk->shape[i];
        }
        walk->source[kept] = walk->source[i];
        walk->destination[kept] = walk->destination[i];
    }
    if (walk->ndim > 0)
        walk->ndim = kept + 1;
}

/* Elements are moved as what they are not. */
#define ALIAS(type) type __attribute__((may_alias))
#define MOVE(type) \
    do { \
        const ALIAS(type) *in = source; \
        ALIAS(type) *out = destination; \
        for (int64_t i = 0; i < count; i++) \
            out[i * destination_stride] = in[i * source_stride]; \
    } while (0)

/* Moves elements of one size, strides in elements. */
static void move_strided(size_t size, const void *source, int64_t source_stride, void *destination,
                         int64_t destination_stride, int64_t count)
{
    switch (size) {
    case 1: MOVE(uint8_t); break;
    case 2: MOVE(uint16_t); break;
    case 4: MOVE(uint32_t); break;
    default: MOVE(uint64_t); break;
    }
}

struct pair { /* dtypes and sizes of the two sides */
    int from, to;
    size_t from_size, to_size;
};

/* One innermost axis: gather, convert, scatter, each only if needed. */
static void copy_run(const struct pair *pair, const char *source, int64_t source_stride, char *destination,
                     int64_t destination_stride, int64_t count)
{
    _Alignas(16) char gathered[CHUNK * sizeof(double)], converted[CHUNK * sizeof(double)];
    if (source_stride == 1 && destination_stride == 1) {
        dfi_convert(pair->from, source, pair->to, destination, (size_t)count);
        return;
    }
    if (pair->from == pair->to) {
        move_strided(pair->to_size, source, source_stride, destination, destination_stride, count);
        return;
    }
    for (int64_t done = 0; done < count; done += CHUNK) {
        const int64_t piece = count - done < CHUNK ? count - done : CHUNK;
        move_strided(pair->from_size, source + done * source_stride * (int64_t)pair->from_size, source_stride,
                     gathered, 1, piece);
        dfi_convert(pair->from, gathered, pair->to, converted, (size_t)piece);
        move_strided(pair->to_size, converted, 1,
                     destination + done * destination_stride * (int64_t)pair->to_size, destination_stride,
                     piece);
    }
}

static void copy_axis(const struct walk *walk, int axis, const struct pair *pair, const char *source,
                      char *destination)
{
    if (axis == walk->ndim - 1) {
        copy_run(pair, source, walk->source[axis], destination, walk->destination[axis], walk->shape[axis]);
        return;
    }
    for (int64_t i = 0; i < walk->shape[axis]; i++)
        copy_axis(walk, axis + 1, pair, source + i * walk->source[axis] * (int64_t)pair->from_size,
                  destination + i * walk->destination[axis] * (int64_t)pair->to_size);
}

void dfi_tensor_copy(const struct diffc_tensor *source, struct diffc_tensor *destination)
{
    struct walk walk = { 0 };
    if (dfi_tensor_count(source) == 0)
        return;
    for (int i = 0; i < source->ndim; i++)
        if (source->shape[i] > 1)
            add_axis(&walk, source->shape[i], source->strides[i], destination->strides[i]);
    if (walk.ndim == 0)
        add_axis(&walk, 1, 1, 1);
    merge_axes(&walk);
    const struct pair pair = { source->dtype, destination->dtype, dfi_dtype_size(source->dtype),
                               dfi_dtype_size(destination->dtype) };
    struct dfi_float_mode saved;
    dfi_float_enter(&saved, 0);
    copy_axis(&walk, 0, &pair, source->data, destination->data);
    dfi_float_leave(&saved);
}
