#ifndef TESTS_DETERMINISTIC_H
#define TESTS_DETERMINISTIC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The tensors that reference numbers were made with: FNV-1a of the name seeds SplitMix64.
 */
static inline double dt_next(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return 2 * ((double)(z >> 40) * 0x1p-24) - 1;
}

static inline uint64_t dt_seed(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

/* Weights: fan is the product of all sizes but the first. */
static inline void dt_weights(const char *name, int ndim, const int64_t *shape, float *values, size_t count)
{
    uint64_t state = dt_seed(name);
    const size_t length = strlen(name);
    const int is_weight = length >= 6 && strcmp(name + length - 6, "weight") == 0;
    double fan = 1;
    for (int i = 1; i < ndim; i++)
        fan *= (double)shape[i];
    for (size_t i = 0; i < count; i++) {
        const double u = dt_next(&state);
        values[i] = (float)(ndim >= 2 ? u * sqrt(3 / fan) : is_weight ? 1 + 0.25 * u : 0.25 * u);
    }
}

static inline void dt_input(const char *name, float *values, size_t count)
{
    uint64_t state = dt_seed(name);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(dt_next(&state) * sqrt(3));
}

#endif
