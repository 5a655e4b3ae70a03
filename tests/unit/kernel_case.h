#ifndef TESTS_KERNEL_CASE_H
#define TESTS_KERNEL_CASE_H

#include <diffc/context.h>
#include <diffc/tensor.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "kernel/kernels.h"

/* What the tests of the kernels share: random numbers, the tables of this CPU, and arrays of either type
 * between guard zones. Unset elements are NaNs of all ones, so that a kernel that reads or writes beside its
 * data is found out. */

#define KC_GUARD 72
#define KC_TABLES 4 /* at most, of floats */

struct kc_array {
    unsigned char *memory;
    void *p;
    size_t count, size;
};

static inline double kc_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static inline int kc_pick(uint64_t *state, int first, int last)
{
    return first + (int)(kc_random(state) * (last - first + 1));
}

/* Multiples of 1/64 within [-4, 4]: sums of a product and a number are exact in float. */
static inline double kc_value(uint64_t *state)
{
    return kc_pick(state, -256, 256) / 64.0;
}

static inline uint32_t kc_flags(int table)
{
    static const uint32_t flags[KC_TABLES] = { 0, DIFFC_CPU_AVX2, DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512,
                                               DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512 | DIFFC_CPU_AVX512_BF16 };
    return flags[table] & dfi_cpu_detect();
}

/* Different tables of floats that this CPU can run. */
static inline int kc_list_tables(const struct dfi_kernels **tables)
{
    int count = 0;
    for (int i = 0; i < KC_TABLES; i++) {
        const struct dfi_kernels *table = dfi_kernels_get(kc_flags(i), DIFFC_F32);
        if (count == 0 || tables[count - 1] != table)
            tables[count++] = table;
    }
    return count;
}

/* Aligned to its element only. */
static inline struct kc_array kc_make(int dtype, size_t count)
{
    struct kc_array a = { .count = count, .size = dtype == DIFFC_F64 ? sizeof(double) : sizeof(float) };
    a.memory = malloc((count + 2 * KC_GUARD) * a.size);
    assert_non_null(a.memory);
    memset(a.memory, 0xff, (count + 2 * KC_GUARD) * a.size);
    a.p = a.memory + (KC_GUARD - 1) * a.size;
    return a;
}

static inline double kc_get(const struct kc_array *a, size_t i)
{
    return a->size == sizeof(double) ? ((const double *)a->p)[i] : (double)((const float *)a->p)[i];
}

static inline void kc_set(struct kc_array *a, size_t i, double value)
{
    if (a->size == sizeof(double))
        ((double *)a->p)[i] = value;
    else
        ((float *)a->p)[i] = (float)value;
}

static inline void *kc_at(const struct kc_array *a, size_t i)
{
    return (unsigned char *)a->p + i * a->size;
}

/* Values into rows of c elements, ld apart; what lies between stays unset. */
static inline void kc_fill(struct kc_array *a, size_t rows, int c, ptrdiff_t ld, uint64_t *state)
{
    for (size_t r = 0; r < rows; r++)
        for (int i = 0; i < c; i++)
            kc_set(a, r * (size_t)ld + (size_t)i, kc_value(state));
}

static inline struct kc_array kc_copy(const struct kc_array *a, int dtype)
{
    static const unsigned char unset[sizeof(double)] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    struct kc_array copy = kc_make(dtype, a->count);
    for (size_t i = 0; i < a->count; i++)
        if (memcmp(kc_at(a, i), unset, a->size) != 0)
            kc_set(&copy, i, kc_get(a, i));
    return copy;
}

static inline int kc_unset(const unsigned char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != 0xff)
            return 0;
    return 1;
}

/* Nothing was written outside `rows` rows of c elements, ld apart. */
static inline int kc_intact(const struct kc_array *a, size_t rows, int c, ptrdiff_t ld)
{
    const unsigned char *first = a->p, *end = first + a->count * a->size;
    if (!kc_unset(a->memory, (KC_GUARD - 1) * a->size) || !kc_unset(end, (KC_GUARD + 1) * a->size))
        return 0;
    for (size_t r = 0; r < rows; r++)
        if (!kc_unset(first + (r * (size_t)ld + (size_t)c) * a->size, (size_t)(ld - c) * a->size))
            return 0;
    return 1;
}

static inline int kc_same(const struct kc_array *a, const struct kc_array *b)
{
    return memcmp(a->p, b->p, a->count * a->size) == 0;
}

static inline void kc_free(struct kc_array *a)
{
    free(a->memory);
}

#endif
