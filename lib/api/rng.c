#include <diffc/rng.h>

#include "base/checked.h"
#include "base/float_mode.h"
#include "base/random.h"
#include "tensor/tensor.h"

#define PIECE 8192 /* values per task */

typedef void (*fill_fn)(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t count);

struct filling {
    fill_fn fill;
    uint64_t seed, stream, first;
    float *values;
    size_t count;
};

static void fill_piece(void *opaque, int index, int worker)
{
    const struct filling *filling = opaque;
    const size_t start = (size_t)index * PIECE;
    const size_t count = filling->count - start < PIECE ? filling->count - start : PIECE;
    (void)worker;
    filling->fill(filling->seed, filling->stream, filling->first + start, filling->values + start, count);
}

static int fill_contiguous(struct diffc_context *context, struct filling *filling)
{
    const size_t pieces = (filling->count + PIECE - 1) / PIECE;
    if (pieces > INT32_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "%zu values are too many for one call", filling->count);
    return dfi_parallel(context, fill_piece, filling, (int)pieces);
}

/* Anything but contiguous floats is made contiguous first. */
static int fill_by_copy(diffc_tensor *tensor, struct filling *filling)
{
    struct diffc_tensor *plain;
    DFI_TRY(dfi_tensor_create(tensor->object.context, DIFFC_F32, tensor->ndim, tensor->shape, &plain));
    filling->values = plain->data;
    const int status = fill_contiguous(tensor->object.context, filling);
    if (status == DIFFC_OK)
        dfi_tensor_copy(plain, tensor);
    dfi_release(plain);
    return status;
}

static int fill_tensor(diffc_tensor *tensor, uint64_t seed, uint64_t stream, uint64_t first, fill_fn fill)
{
    DFI_REQUIRE(tensor);
    if (tensor->dtype != DIFFC_F32 && tensor->dtype != DIFFC_F64)
        return dfi_fail(DIFFC_ERR_ARG, "tensor is of dtype %s, must be F32 or F64",
                        dfi_dtype_name(tensor->dtype));
    struct filling filling = { fill, seed, stream, first, tensor->data, (size_t)dfi_tensor_count(tensor) };
    if (tensor->dtype == DIFFC_F32 && dfi_tensor_is_contiguous(tensor))
        return fill_contiguous(tensor->object.context, &filling);
    return fill_by_copy(tensor, &filling);
}

int diffc_rng_uniform(diffc_tensor *tensor, uint64_t seed, uint64_t stream, uint64_t first)
{
    return fill_tensor(tensor, seed, stream, first, dfi_uniform_fill);
}

int diffc_rng_normal(diffc_tensor *tensor, uint64_t seed, uint64_t stream, uint64_t first)
{
    return fill_tensor(tensor, seed, stream, first, dfi_normal_fill);
}

struct diffc_generator {
    struct dfi_object object;
    struct dfi_mt19937 twister;
};

int diffc_generator_create(diffc_context *context, uint64_t seed, diffc_generator **generator)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(generator);
    struct diffc_generator *made = dfi_object_new(context, sizeof(*made), dfi_object_free);
    if (!made)
        return DIFFC_ERR_NOMEM;
    dfi_mt19937_seed(&made->twister, (uint32_t)seed); /* PyTorch drops the high half as well */
    *generator = made;
    return DIFFC_OK;
}

int diffc_generator_normal(diffc_generator *generator, diffc_tensor *tensor)
{
    DFI_REQUIRE(generator);
    DFI_REQUIRE(tensor);
    DFI_TRY(dfi_tensor_expect(tensor, "tensor", tensor->ndim, tensor->shape));
    struct dfi_float_mode saved;
    dfi_float_enter(&saved, 1);
    dfi_mt19937_randn(&generator->twister, tensor->data, (size_t)dfi_tensor_count(tensor));
    dfi_float_leave(&saved);
    return DIFFC_OK;
}
