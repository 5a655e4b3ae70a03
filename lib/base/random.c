#include <math.h>
#include <string.h>

#include "base/attributes.h"
#include "base/random.h"

#define CHUNK 256 /* values made at once: a multiple of 4 */

/* Multipliers and key increments: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * 2011. */
DFI_INLINE void philox_round(uint32_t x[4], uint32_t key0, uint32_t key1)
{
    const uint64_t p = (uint64_t)0xD2511F53u * x[0], q = (uint64_t)0xCD9E8D57u * x[2];
    x[0] = (uint32_t)(q >> 32) ^ x[1] ^ key0;
    x[1] = (uint32_t)q;
    x[2] = (uint32_t)(p >> 32) ^ x[3] ^ key1;
    x[3] = (uint32_t)p;
}

DFI_INLINE void philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t words[4])
{
    uint32_t x[4] = { (uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32) };
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        philox_round(x, key0, key1);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    memcpy(words, x, sizeof(x));
}

void dfi_philox(uint64_t seed, uint64_t stream, uint64_t index, uint32_t words[4])
{
    philox(seed, stream, index, words);
}

/* The CHUNK words of the stream from `first`, a multiple of CHUNK. */
static void fill_words(uint64_t seed, uint64_t stream, uint64_t first, uint32_t words[CHUNK])
{
    for (int i = 0; i < CHUNK / 4; i++)
        philox(seed, stream, first / 4 + (uint64_t)i, words + 4 * i);
}

DFI_INLINE float to_uniform(uint32_t word)
{
    return (float)(int32_t)(word >> 8) * 0x1p-24f;
}

DFI_INLINE float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

DFI_INLINE uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* Natural logarithm of a positive normal number: x = 2^e m with m near 1, log m = 2 artanh s =
 * 2 (s + s^3/3 + ...) with s = (m - 1) / (m + 1), |s| < 0.172; the terms left out are below 2e-9. */
DFI_INLINE float log_of(float x)
{
    const uint32_t shifted = to_bits(x) + 0x004afb0du; /* carries into the exponent from m = sqrt(2) on */
    const float e = (float)((int32_t)(shifted >> 23) - 127);
    const float m = from_bits((shifted & 0x007fffffu) + 0x3f3504f3u);
    const float s = (m - 1.0f) / (m + 1.0f), t = s * s;
    const float series = 2.0f + t * (2.0f / 3 + t * (2.0f / 5 + t * (2.0f / 7 + t * (2.0f / 9))));
    return e * 0.69314718f + s * series;
}

/* Taylor series on [-pi/4, pi/4]: the terms left out are below 3e-9. */
DFI_INLINE float sin_near(float x)
{
    const float t = x * x;
    return x * (1.0f + t * (-1.0f / 6 + t * (1.0f / 120 + t * (-1.0f / 5040 + t * (1.0f / 362880)))));
}

DFI_INLINE float cos_near(float x)
{
    const float t = x * x;
    return 1.0f +
           t * (-1.0f / 2 + t * (1.0f / 24 + t * (-1.0f / 720 + t * (1.0f / 40320 + t * (-1.0f / 3628800)))));
}

/* Box-Muller: u in (0, 1], the angle in units of 2^-32 turns. The nearest quarter turn only swaps and
 * negates. */
DFI_INLINE void box_muller(float u, uint32_t angle, float *first, float *second)
{
    const float radius = sqrtf(-2.0f * log_of(u));
    const uint32_t quarter = (angle + 0x20000000u) >> 30;
    const float x = (float)(int32_t)(angle - (quarter << 30)) * 0x1.921fb6p-30f; /* 2 pi / 2^32 */
    const uint32_t sine = to_bits(sin_near(x)), cosine = to_bits(cos_near(x));
    const uint32_t swap = (quarter & 1u) ? ~0u : 0u;
    const uint32_t c = ((sine & swap) | (cosine & ~swap)) ^ (((quarter + 1u) & 2u) << 30);
    const uint32_t s = ((cosine & swap) | (sine & ~swap)) ^ ((quarter & 2u) << 30);
    *first = radius * from_bits(c);
    *second = radius * from_bits(s);
}

static void make_uniforms(const uint32_t words[CHUNK], float values[CHUNK])
{
    for (int i = 0; i < CHUNK; i++)
        values[i] = to_uniform(words[i]);
}

static void make_normals(const uint32_t words[CHUNK], float values[CHUNK])
{
    for (int i = 0; i < CHUNK; i += 2) {
        const float u = (float)(int32_t)(words[i] >> 1) * 0x1p-31f + 0x1p-32f;
        box_muller(u, words[i + 1], &values[i], &values[i + 1]);
    }
}

static void fill(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t count,
                 void (*make)(const uint32_t *words, float *values))
{
    uint32_t words[CHUNK];
    float chunk[CHUNK];
    while (count > 0) {
        const size_t skip = (size_t)(first % CHUNK);
        const size_t piece = count < CHUNK - skip ? count : CHUNK - skip;
        fill_words(seed, stream, first - skip, words);
        make(words, chunk);
        memcpy(values, chunk + skip, piece * sizeof(*values));
        values += piece;
        first += piece;
        count -= piece;
    }
}

void dfi_uniform_fill(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t count)
{
    fill(seed, stream, first, values, count, make_uniforms);
}

void dfi_normal_fill(uint64_t seed, uint64_t stream, uint64_t first, float *values, size_t count)
{
    fill(seed, stream, first, values, count, make_normals);
}

float dfi_uniform_at(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t words[4];
    philox(seed, stream, index / 4, words);
    return to_uniform(words[index % 4]);
}

/* The finaliser of MurmurHash3 (Appleby): every bit of the input reaches every bit of the result. */
static uint32_t mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x85ebca6bu;
    x = (x ^ x >> 13) * 0xc2b2ae35u;
    return x ^ x >> 16;
}

uint64_t dfi_permute(uint64_t seed, uint64_t stream, uint64_t count, uint64_t position)
{
    uint32_t keys[8];
    philox(seed, stream, 0, keys);
    philox(seed, stream, 1, keys + 4);
    int half = 1;
    while (half < 32 && (uint64_t)1 << 2 * half < count)
        half++;
    const uint32_t mask = (uint32_t)(((uint64_t)1 << half) - 1);
    uint64_t at = position;
    do {
        uint32_t left = (uint32_t)(at >> half), right = (uint32_t)at & mask;
        for (int round = 0; round < 8; round++) {
            const uint32_t next = left ^ (mix(right ^ keys[round]) & mask);
            left = right;
            right = next;
        }
        at = (uint64_t)left << half | right;
    } while (at >= count && position < count);
    return at;
}

/* Matsumoto and Nishimura, "Mersenne Twister", 1998. */
void dfi_mt19937_seed(struct dfi_mt19937 *generator, uint32_t seed)
{
    uint32_t *state = generator->state;
    state[0] = seed;
    for (uint32_t i = 1; i < 624; i++)
        state[i] = 1812433253u * (state[i - 1] ^ state[i - 1] >> 30) + i;
    generator->position = 624;
    generator->has_spare = 0;
    generator->spare = 0.0;
}

static void twist(uint32_t state[624])
{
    for (int i = 0; i < 624; i++) {
        const uint32_t y = (state[i] & 0x80000000u) | (state[(i + 1) % 624] & 0x7fffffffu);
        state[i] = state[(i + 397) % 624] ^ y >> 1 ^ ((y & 1u) ? 0x9908b0dfu : 0u);
    }
}

uint32_t dfi_mt19937_word(struct dfi_mt19937 *generator)
{
    if (generator->position >= 624) {
        twist(generator->state);
        generator->position = 0;
    }
    uint32_t y = generator->state[generator->position++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

/* 53 bits of two words. */
static double next_double(struct dfi_mt19937 *generator)
{
    const uint64_t high = dfi_mt19937_word(generator);
    const uint64_t word = high << 32 | dfi_mt19937_word(generator);
    return (double)(word & (((uint64_t)1 << 53) - 1)) * 0x1p-53;
}

static double next_normal(struct dfi_mt19937 *generator)
{
    if (generator->has_spare) {
        generator->has_spare = 0;
        return generator->spare;
    }
    const double angle = 6.283185307179586 * next_double(generator);
    const double radius = sqrt(-2.0 * log1p(-next_double(generator)));
    generator->spare = radius * sin(angle);
    generator->has_spare = 1;
    return radius * cos(angle);
}

/* Sixteen values, eight pairs. */
static void fill_sixteen(struct dfi_mt19937 *generator, float values[16])
{
    uint32_t words[16];
    for (int i = 0; i < 16; i++)
        words[i] = dfi_mt19937_word(generator) & 0xffffffu;
    for (int i = 0; i < 8; i++) {
        const float u = 1.0f - (float)(int32_t)words[i] * 0x1p-24f;
        box_muller(u, words[i + 8] << 8, &values[i], &values[i + 8]);
    }
}

void dfi_mt19937_randn(struct dfi_mt19937 *generator, float *values, size_t count)
{
    if (count < 16) {
        for (size_t i = 0; i < count; i++)
            values[i] = (float)next_normal(generator);
        return;
    }
    for (size_t i = 0; i + 16 <= count; i += 16)
        fill_sixteen(generator, values + i);
    for (size_t i = 0; i < count % 16; i++)
        (void)dfi_mt19937_word(generator); /* PyTorch draws them, then fills the last sixteen anew */
    if (count % 16)
        fill_sixteen(generator, values + count - 16);
}
