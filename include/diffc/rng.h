#ifndef DIFFC_RNG_H
#define DIFFC_RNG_H

#include <diffc/common.h>

DIFFC_BEGIN

/* Random numbers as a pure function of (seed, stream, index), Philox4x32-10: element k of the tensor, in
 * row-major order, gets the value with index first + k. So a batch may be cut anywhere without a change of
 * values, and there is no state to save. F32 or F64 tensors (the same values in both, rounded to float).
 * Uniform: [0, 1) in steps of 2^-24. Normal: mean 0, variance 1, Box-Muller on pairs of indices, at most 6.7
 * from 0. The same bits on every machine and for every number of threads. Indices go on at 0 after 2^64 - 1.
 * ERR_ARG, ERR_LIMIT (of values in one call), ERR_NOMEM (tensors other than contiguous F32 need a copy),
 * ERR_CANCELLED. Since 0.1. */
DIFFC_API int diffc_rng_uniform(diffc_tensor *tensor, uint64_t seed, uint64_t stream, uint64_t first);
DIFFC_API int diffc_rng_normal(diffc_tensor *tensor, uint64_t seed, uint64_t stream, uint64_t first);

/* The CPU generator of PyTorch, for those who compare pictures by seed: after diffc_generator_create(seed)
 * the k-th call of diffc_generator_normal() fills what the k-th torch.randn() of that shape gives after
 * torch.manual_seed(seed), to about 1e-6; only the low 32 bits of the seed count. Contiguous F32 tensors.
 * ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_generator_create(diffc_context *context, uint64_t seed, diffc_generator **generator);
DIFFC_API int diffc_generator_normal(diffc_generator *generator, diffc_tensor *tensor);

DIFFC_END

#endif
