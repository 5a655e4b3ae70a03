#ifndef DFI_TEST_OOM_H
#define DFI_TEST_OOM_H

/* Makes every allocation of a function fail in turn.
 *
 * A program lists functions in a table and hands it to oom_run(). For each, a fresh context with a counting
 * allocator is made, `setup` (may be NULL) runs with memory enough, then `run` again and again with the
 * first, the second, ... allocation failing, until it succeeds untouched: once with only that one failing,
 * once with all from there on. Each failed run must return DIFFC_ERR_NOMEM and leave nothing behind; the same
 * run with memory enough must then succeed, so a failure may not spoil what `setup` made. `teardown` (may be
 * NULL) releases that. `run` releases whatever it creates, whether it succeeds or not. */

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <diffc/diffc.h>

struct oom {
    diffc_allocator allocator; /* for functions that make a context themselves */
    diffc_context *context;
    void *state;   /* of setup, run and teardown */
    int only_once; /* 1: later allocations succeed again */
    atomic_long calls, live;
    atomic_long fail_at; /* 0: never */
    atomic_int fired;
};

struct oom_function {
    const char *name;
    int (*setup)(struct oom *oom);
    int (*run)(struct oom *oom);
    void (*teardown)(struct oom *oom);
};

static void *oom_alloc(void *opaque, size_t bytes)
{
    struct oom *oom = opaque;
    const long call = atomic_fetch_add(&oom->calls, 1) + 1, fail_at = atomic_load(&oom->fail_at);
    if (fail_at > 0 && (call == fail_at || (call > fail_at && !oom->only_once))) {
        atomic_store(&oom->fired, 1);
        return NULL;
    }
    void *block = malloc(bytes);
    if (block)
        atomic_fetch_add(&oom->live, 1);
    return block;
}

static void oom_release(void *opaque, void *block)
{
    struct oom *oom = opaque;
    atomic_fetch_sub(&oom->live, 1);
    free(block);
}

/* One attempt with allocation number `fail_at` failing; 1 if none was reached. */
static int oom_attempt(struct oom *oom, const struct oom_function *function, long fail_at)
{
    const long live = atomic_load(&oom->live);
    atomic_store(&oom->calls, 0);
    atomic_store(&oom->fired, 0);
    atomic_store(&oom->fail_at, fail_at);
    const int status = function->run(oom);
    atomic_store(&oom->fail_at, 0);
    const int fired = atomic_load(&oom->fired);
    const int expected = fired ? DIFFC_ERR_NOMEM : DIFFC_OK;
    if (status != expected)
        fail_msg("%s: allocation %ld failing gives %s (%s), expected %s", function->name, fail_at,
                 diffc_status_name(status), diffc_message(), diffc_status_name(expected));
    if (atomic_load(&oom->live) != live)
        fail_msg("%s: allocation %ld failing leaks %ld blocks", function->name, fail_at,
                 atomic_load(&oom->live) - live);
    return !fired;
}

static long oom_torture(const struct oom_function *function, int only_once)
{
    struct oom oom = { .only_once = only_once };
    oom.allocator = (diffc_allocator) { oom_alloc, oom_release, &oom };
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    options.threads = 2;
    options.allocator = oom.allocator;
    assert_int_equal(diffc_context_create(&options, &oom.context), DIFFC_OK);
    if (function->setup && function->setup(&oom) != DIFFC_OK)
        fail_msg("%s: setup: %s", function->name, diffc_message());
    long points = 0;
    (void)oom_attempt(&oom, function, 0); /* what is made once and kept is made now */
    while (!oom_attempt(&oom, function, points + 1)) {
        points++;
        if (points % 16 == 1)
            (void)oom_attempt(&oom, function, 0);
    }
    (void)oom_attempt(&oom, function, 0);
    if (function->teardown)
        function->teardown(&oom);
    diffc_release(&oom.context);
    assert_int_equal(atomic_load(&oom.live), 0);
    return points;
}

/* Tortures `count` functions and prints how many points of failure there were. */
static inline void oom_run(const struct oom_function *functions, int count)
{
    long points = 0;
    for (int i = 0; i < count; i++) {
        const long once = oom_torture(&functions[i], 1);
        points += once;
        assert_int_equal(oom_torture(&functions[i], 0), once);
    }
    print_message("%ld points in %d functions, once and from there on\n", points, count);
}

#define OOM_RUN(table) oom_run(table, (int)(sizeof(table) / sizeof((table)[0])))

#endif
