#ifndef DIFFC_TEST_SCHED_CASE_H
#define DIFFC_TEST_SCHED_CASE_H

/* What the tests of schedules, samplers and guides share: a context whose memory is counted and may fail, and
 * short ways to make tensors. */

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <diffc/diffc.h>

#include "deterministic.h"

static struct {
    long live;
    long calls, fail_at; /* the fail_at-th call from now on fails; 0: none */
} case_memory;

static diffc_context *case_context;

static void *case_alloc(void *opaque, size_t bytes)
{
    (void)opaque;
    case_memory.calls++;
    if (case_memory.fail_at && case_memory.calls >= case_memory.fail_at)
        return NULL;
    void *block = malloc(bytes ? bytes : 1);
    case_memory.live += block != NULL;
    return block;
}

static void case_free(void *opaque, void *block)
{
    (void)opaque;
    case_memory.live -= block != NULL;
    free(block);
}

static inline int case_setup(void **state)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    (void)state;
    options.threads = 1;
    options.allocator = (diffc_allocator) { case_alloc, case_free, NULL };
    return diffc_context_create(&options, &case_context);
}

static inline int case_teardown(void **state)
{
    (void)state;
    diffc_release(&case_context);
    return case_memory.live == 0 ? 0 : -1;
}

#define check_ok(call) \
    do { \
        const int got_ = (call); \
        if (got_ != DIFFC_OK) \
            fail_msg("%s: %s: %s", #call, diffc_status_name(got_), diffc_message()); \
    } while (0)

/* A failure of that status, with `text` in its message. */
#define check_fails(call, status, text) \
    do { \
        const int got_ = (call); \
        if (got_ != (status) || !strstr(diffc_message(), (text))) \
            fail_msg("%s: %s \"%s\"", #call, diffc_status_name(got_), got_ < 0 ? diffc_message() : ""); \
    } while (0)

#define check_near(value, wanted, tolerance) \
    do { \
        const double value_ = (value), wanted_ = (wanted); \
        if (!(fabs(value_ - wanted_) <= (tolerance))) \
            fail_msg("%s is %.9g, not %.9g +- %g", #value, value_, wanted_, (double)(tolerance)); \
    } while (0)

static inline float *data_of(const diffc_tensor *tensor)
{
    return diffc_tensor_data(tensor);
}

static inline diffc_tensor *new_tensor(int64_t n, int64_t c, int64_t h, int64_t w)
{
    const int64_t shape[4] = { n, c, h, w };
    diffc_tensor *tensor = NULL;
    check_ok(diffc_tensor_create(case_context, DIFFC_F32, 4, shape, &tensor));
    return tensor;
}

/* The deterministic input tensor of that name. */
static inline diffc_tensor *named_tensor(const char *name, int64_t n, int64_t c, int64_t h, int64_t w)
{
    diffc_tensor *tensor = new_tensor(n, c, h, w);
    dt_input(name, data_of(tensor), (size_t)diffc_tensor_count(tensor));
    return tensor;
}

static inline void copy_values(const diffc_tensor *source, diffc_tensor *destination)
{
    memcpy(data_of(destination), data_of(source), (size_t)diffc_tensor_count(source) * sizeof(float));
}

static inline int same_bits(const diffc_tensor *a, const diffc_tensor *b)
{
    return diffc_tensor_count(a) == diffc_tensor_count(b) &&
           memcmp(data_of(a), data_of(b), (size_t)diffc_tensor_count(a) * sizeof(float)) == 0;
}

static inline diffc_schedule *new_schedule(const char *name, int train_steps)
{
    diffc_schedule_options options = DIFFC_SCHEDULE_OPTIONS;
    diffc_schedule *schedule = NULL;
    options.train_steps = train_steps;
    check_ok(diffc_schedule_create(case_context, name, &options, &schedule));
    return schedule;
}

static inline diffc_sampler *new_sampler(const char *schedule_name, int train_steps,
                                         const diffc_sampler_options *options)
{
    diffc_schedule *schedule = new_schedule(schedule_name, train_steps);
    diffc_sampler *sampler = NULL;
    check_ok(diffc_sampler_create(schedule, options, &sampler));
    diffc_release(&schedule);
    return sampler;
}

/* Runs `scene` with the first, second, ... allocation failing, until it passes; nothing may leak. The scene
 * gives back all it made and returns the first failure. */
static inline void check_memory_failures(int (*scene)(void *opaque), void *opaque)
{
    for (long n = 1;; n++) {
        const long live = case_memory.live;
        case_memory.calls = 0;
        case_memory.fail_at = n;
        const int status = scene(opaque);
        const int failed = case_memory.calls >= n;
        case_memory.fail_at = 0;
        assert_int_equal(case_memory.live, live);
        if (!failed) {
            assert_int_equal(status, DIFFC_OK);
            assert_true(n > 1);
            return;
        }
        assert_int_equal(status, DIFFC_ERR_NOMEM);
    }
}

#endif
