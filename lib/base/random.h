#ifndef DFI_BASE_RANDOM_H
#define DFI_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Philox4x32-10 (Salmon et al. 2011): four words for counter (index, stream) under key seed. */
void dfi_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t words[4]);

/* Values first .. first + count - 1 (modulo 2^64) of a stream. Word k of the stream is word k % 4 of block
 * k / 4; uniform k uses word k, normals 2j and 2j + 1 are the Box-Muller pair of words 2j and 2j + 1. Bits
 * depend on nothing but the arguments (no libm); the largest normal is 6.66. */
void dfi_uniform_fill(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t count);
void dfi_normal_fill(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t count);
float dfi_uniform_at(uint64_t seed, uint64_t stream, uint64_t index);

/* Streams of the library, so that no two purposes share numbers: the number is purpose << 48 | which. */
enum dfi_stream {
    DFI_STREAM_INIT = 1,    /* which: parameter */
    DFI_STREAM_SHUFFLE = 2, /* which: epoch */
    DFI_STREAM_TIME = 3,    /* which: 0; by position in the run, as the two below */
    DFI_STREAM_NOISE = 4,
    DFI_STREAM_DROPOUT = 5,
    DFI_STREAM_SAMPLE_START = 6, /* which: sample */
    DFI_STREAM_SAMPLE_STEP = 7,
    DFI_STREAM_EVALUATE = 8,
    DFI_STREAM_VIEW = 9,      /* which: 0, permutations; 1, trial pictures */
    DFI_STREAM_MASK = 10,     /* which: sample; known pictures outside a mask */
    DFI_STREAM_LOW = 11,      /* which: sample; the picture that is scaled up */
    DFI_STREAM_REFERENCE = 12 /* which: sample; the reference of an inverse problem */
};
static inline uint64_t dfi_stream(enum dfi_stream purpose, uint64_t which)
{
    return (uint64_t)purpose << 48 | which;
}

/* A permutation of 0 .. count - 1 chosen by (seed, stream): position -> element, without storing it (a
 * Feistel network over the next power of four, walked until inside). */
uint64_t dfi_permute(uint64_t seed, uint64_t stream, uint64_t count, uint64_t position);

/* MT19937 with PyTorch's rule for randn on a CPU (aten/src/ATen/native/cpu/DistributionTemplates.h). */
struct dfi_mt19937 {
    uint32_t state[624];
    int position;
    int has_spare; /* the second of a pair of normals, kept between short fills as PyTorch does */
    double spare;
};
void dfi_mt19937_seed(struct dfi_mt19937 *generator, uint32_t seed);
uint32_t dfi_mt19937_word(struct dfi_mt19937 *generator);
void dfi_mt19937_randn(struct dfi_mt19937 *generator, float *values, size_t count);

#endif
