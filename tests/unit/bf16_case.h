#ifndef BF16_CASE_H
#define BF16_CASE_H

/* Numbers in float and in bfloat16. The rounding is written down once more, to compare with. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernel_case.h"

static inline uint16_t rounded(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40);
    const uint32_t rest = bits & 0xffff, up = rest > 0x8000 || (rest == 0x8000 && (bits >> 16 & 1));
    return (uint16_t)((bits >> 16) + up);
}

static inline float widened(uint16_t stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* The same numbers in both types, and guards behind the rows. */
#define ROOM 4096
struct twin {
    float wide[ROOM];
    uint16_t narrow[ROOM];
};

static inline void fill(struct twin *twin, uint64_t *state)
{
    for (int i = 0; i < ROOM; i++) {
        twin->narrow[i] = rounded((float)(4 * kc_random(state) - 2));
        twin->wide[i] = widened(twin->narrow[i]);
    }
}

#endif
