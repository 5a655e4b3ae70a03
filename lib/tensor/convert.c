#include <math.h>
#include <string.h>

#include "base/bf16.h"
#include "base/f16.h"
#include "tensor/tensor.h"

/* The pairs that move weights and images have loops of their own, which compilers vectorise. All others go
 * through a wide number, int64_t from integers and double from the rest, without being rounded twice. */

#define CHUNK 256

static inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

static inline float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* Below 2^-14 the sum with 0.5 rounds at 2^-24, the unit of half precision's denormals. */
static inline uint16_t float_to_f16(float value)
{
    const uint32_t bits = float_bits(value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
    const uint32_t normal = (magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13;
    const uint32_t tiny = float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t finite = magnitude < (113u << 23) ? tiny : normal;
    const uint32_t bounded = magnitude >= 0x47800000u || finite > 0x7c00u ? 0x7c00u : finite;
    const uint32_t nan = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    return (uint16_t)(sign | (magnitude > 0x7f800000u ? nan : bounded));
}

/* Rounding to odd: an inexact result gets its last bit set, so that rounding it once more, to a format at
 * least two bits narrower, gives what rounding the double at once would (Boldo and Melquiond 2008). */
static float double_to_odd(double value)
{
    float nearest = (float)value;
    if ((double)nearest == value || value != value)
        return nearest;
    uint32_t bits = float_bits(nearest);
    if (fabs((double)nearest) > fabs(value))
        bits--;
    return bits_float(bits | 1u);
}

/* The same from 64 to 53 bits: what is cut off leaves a mark. */
static double int64_to_odd(int64_t value)
{
    if (value > -((int64_t)1 << 53) && value < (int64_t)1 << 53)
        return (double)value;
    const int64_t kept = (int64_t)((uint64_t)value & ~(uint64_t)0x7ff);
    return (double)(value == kept ? kept : (int64_t)((uint64_t)kept | 0x800));
}

static int is_integer(int dtype)
{
    return dtype == DIFFC_U8 || dtype == DIFFC_I32 || dtype == DIFFC_I64;
}

#define LOOP(from_type, to_type, expression) \
    do { \
        const from_type *in = source; \
        to_type *out = destination; \
        for (size_t i = 0; i < count; i++) \
            out[i] = (to_type)(expression); \
    } while (0)

static void load_integers(int dtype, const void *source, int64_t *destination, size_t count)
{
    switch (dtype) {
    case DIFFC_U8: LOOP(uint8_t, int64_t, in[i]); break;
    case DIFFC_I32: LOOP(int32_t, int64_t, in[i]); break;
    default: memcpy(destination, source, count * sizeof(*destination)); break;
    }
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void store_integers(int dtype, const int64_t *source, void *destination, size_t count)
{
    switch (dtype) {
    case DIFFC_U8: LOOP(int64_t, uint8_t, clamp(in[i], 0, UINT8_MAX)); break;
    case DIFFC_I32: LOOP(int64_t, int32_t, clamp(in[i], INT32_MIN, INT32_MAX)); break;
    case DIFFC_I64: memcpy(destination, source, count * sizeof(*source)); break;
    case DIFFC_F32: LOOP(int64_t, float, in[i]); break;
    case DIFFC_F64: LOOP(int64_t, double, in[i]); break;
    case DIFFC_F16: LOOP(int64_t, uint16_t, float_to_f16(double_to_odd(int64_to_odd(in[i])))); break;
    default: LOOP(int64_t, uint16_t, dfi_bf16_round(double_to_odd(int64_to_odd(in[i])))); break;
    }
}

static void load_doubles(int dtype, const void *source, double *destination, size_t count)
{
    switch (dtype) {
    case DIFFC_F32: LOOP(float, double, in[i]); break;
    case DIFFC_F16: LOOP(uint16_t, double, dfi_f16_widen(in[i])); break;
    case DIFFC_BF16: LOOP(uint16_t, double, dfi_bf16_widen(in[i])); break;
    default: memcpy(destination, source, count * sizeof(*destination)); break;
    }
}

static int64_t round_to(double value, int64_t low, int64_t high)
{
    if (value != value)
        return 0;
    const double rounded = rint(value);
    return rounded <= (double)low ? low : rounded >= (double)high ? high : (int64_t)rounded;
}

static void store_doubles(int dtype, const double *source, void *destination, size_t count)
{
    switch (dtype) {
    case DIFFC_U8: LOOP(double, uint8_t, round_to(in[i], 0, UINT8_MAX)); break;
    case DIFFC_I32: LOOP(double, int32_t, round_to(in[i], INT32_MIN, INT32_MAX)); break;
    case DIFFC_I64: LOOP(double, int64_t, round_to(in[i], INT64_MIN, INT64_MAX)); break;
    case DIFFC_F32: LOOP(double, float, in[i]); break;
    case DIFFC_F16: LOOP(double, uint16_t, float_to_f16(double_to_odd(in[i]))); break;
    case DIFFC_BF16: LOOP(double, uint16_t, dfi_bf16_round(double_to_odd(in[i]))); break;
    default: memcpy(destination, source, count * sizeof(*source)); break;
    }
}

static void convert_any(int from, const void *source, int to, void *destination, size_t count)
{
    union {
        int64_t integers[CHUNK];
        double doubles[CHUNK];
    } wide;
    const size_t from_size = dfi_dtype_size(from), to_size = dfi_dtype_size(to);
    for (size_t done = 0; done < count; done += CHUNK) {
        const size_t piece = count - done < CHUNK ? count - done : CHUNK;
        const void *in = (const char *)source + done * from_size;
        void *out = (char *)destination + done * to_size;
        if (is_integer(from)) {
            load_integers(from, in, wide.integers, piece);
            store_integers(to, wide.integers, out, piece);
        } else {
            load_doubles(from, in, wide.doubles, piece);
            store_doubles(to, wide.doubles, out, piece);
        }
    }
}

#define PAIR(from, to) ((from)*16 + (to))

void dfi_convert(int from, const void *source, int to, void *destination, size_t count)
{
    if (count == 0)
        return;
    if (from == to) {
        memcpy(destination, source, count * dfi_dtype_size(from));
        return;
    }
    switch (PAIR(from, to)) {
    case PAIR(DIFFC_F32, DIFFC_BF16): LOOP(float, uint16_t, dfi_bf16_round(in[i])); break;
    case PAIR(DIFFC_BF16, DIFFC_F32): LOOP(uint16_t, float, dfi_bf16_widen(in[i])); break;
    case PAIR(DIFFC_F32, DIFFC_F16): LOOP(float, uint16_t, float_to_f16(in[i])); break;
    case PAIR(DIFFC_F16, DIFFC_F32): LOOP(uint16_t, float, dfi_f16_widen(in[i])); break;
    case PAIR(DIFFC_F32, DIFFC_F64): LOOP(float, double, in[i]); break;
    case PAIR(DIFFC_F64, DIFFC_F32): LOOP(double, float, in[i]); break;
    case PAIR(DIFFC_U8, DIFFC_F32): LOOP(uint8_t, float, in[i]); break;
    default: convert_any(from, source, to, destination, count); break;
    }
}
