#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fenv.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/context.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#define MAX_COUNT 64
#define MAX_THREADS 8

struct grid {
    atomic_int runs[MAX_COUNT];
    atomic_int busy[MAX_THREADS];
    atomic_int wrong;
    int threads;
};

static void mark(void *opaque, int index, int worker)
{
    struct grid *grid = opaque;
    if (worker < 0 || worker >= grid->threads || atomic_exchange(&grid->busy[worker], 1)) {
        atomic_fetch_add(&grid->wrong, 1);
        return;
    }
    atomic_fetch_add(&grid->runs[index], 1);
    atomic_store(&grid->busy[worker], 0);
}

static diffc_context *make_context(int threads)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    options.threads = threads;
    assert_int_equal(dfi_context_new(&options, &context), DIFFC_OK);
    return context;
}

static void check_grids(diffc_context *context, int threads, int rounds)
{
    struct grid grid;
    for (int round = 0; round < rounds; round++) {
        const int count = round % MAX_COUNT;
        memset(&grid, 0, sizeof(grid));
        grid.threads = threads;
        dfi_parallel(context, mark, &grid, count);
        assert_int_equal(atomic_load(&grid.wrong), 0);
        for (int i = 0; i < MAX_COUNT; i++)
            assert_int_equal(atomic_load(&grid.runs[i]), i < count);
    }
}

static void test_each_piece_runs_once(void **state)
{
    static const int threads[] = { 1, 2, 3, 5, 8 };
    (void)state;
    for (int i = 0; i < 5; i++) {
        diffc_context *context = make_context(threads[i]);
        check_grids(context, threads[i], 3000);
        diffc_release(&context);
    }
}

/* Sleeping threads must wake up for work, and for the end. */
static void test_parked_threads(void **state)
{
    (void)state;
    for (int i = 0; i < 30; i++) {
        diffc_context *context = make_context(3);
        if (i % 3)
            usleep(2000);
        check_grids(context, 3, i % 3 * 5);
        diffc_release(&context);
    }
}

struct heavy {
    atomic_int seen[2];
};

static void take_long(void *opaque, int index, int worker)
{
    struct heavy *heavy = opaque;
    (void)index;
    atomic_store(&heavy->seen[worker], 1);
    usleep(3000);
}

static void test_work_is_shared(void **state)
{
    diffc_context *context = make_context(2);
    struct heavy heavy = { 0 };
    (void)state;
    dfi_parallel(context, take_long, &heavy, 20);
    assert_true(atomic_load(&heavy.seen[0]) && atomic_load(&heavy.seen[1]));
    diffc_release(&context);
}

struct second {
    diffc_context *context;
    atomic_int failures;
};

static void nest(void *opaque, int index, int worker)
{
    struct second *second = opaque;
    struct grid grid;
    (void)index;
    (void)worker;
    memset(&grid, 0, sizeof(grid));
    grid.threads = 4;
    dfi_parallel(second->context, mark, &grid, 10);
    for (int i = 0; i < 10; i++)
        if (atomic_load(&grid.runs[i]) != 1)
            atomic_fetch_add(&second->failures, 1);
}

static void *run_many(void *opaque)
{
    for (int i = 0; i < 500; i++)
        nest(opaque, i, 0);
    return NULL;
}

/* Two tensors of one context on two threads are allowed, so two grids may meet. */
static void test_two_callers(void **state)
{
    struct second second = { .context = make_context(4) };
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, run_many, &second), 0);
    run_many(&second);
    pthread_join(thread, NULL);
    dfi_parallel(second.context, nest, &second, 20);
    assert_int_equal(atomic_load(&second.failures), 0);
    diffc_release(&second.context);
}

struct modes {
    volatile float tiny, one, third;
    float results[MAX_COUNT][2];
};

static void compute(void *opaque, int index, int worker)
{
    struct modes *modes = opaque;
    (void)worker;
    modes->results[index][0] = modes->tiny * 0.5f;
    modes->results[index][1] = modes->one / modes->third;
    usleep(100);
}

static void check_modes(struct modes *modes)
{
    for (int i = 0; i < MAX_COUNT; i++) {
        assert_memory_equal(modes->results[i], modes->results[0], sizeof(modes->results[0]));
        assert_true(modes->results[i][1] == 1.0f / 3.0f);
#if defined(__SSE2__)
        assert_true(modes->results[i][0] == 0.0f);
#endif
    }
}

/* The caller's rounding mode does not reach the work, and comes back untouched. */
static void test_floating_point_mode(void **state)
{
    static const int threads[] = { 1, 3 };
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct modes modes = { .tiny = 0x1p-126f, .one = 1.0f, .third = 3.0f };
        assert_int_equal(fesetround(FE_UPWARD), 0);
        feclearexcept(FE_ALL_EXCEPT);
        diffc_context *context = make_context(threads[i]);
        dfi_parallel(context, compute, &modes, MAX_COUNT);
        const int mode = fegetround(), exceptions = fetestexcept(FE_ALL_EXCEPT);
        volatile float tiny = modes.tiny;
        const int flushed = tiny * 0.5f == 0.0f;
        fesetround(FE_TONEAREST);
        assert_int_equal(mode, FE_UPWARD);
        assert_int_equal(exceptions, 0);
        assert_false(flushed);
        check_modes(&modes);
        diffc_release(&context);
    }
}

struct stopping {
    diffc_context *context;
    atomic_int runs;
};

static void run_and_cancel(void *opaque, int index, int worker)
{
    struct stopping *stopping = opaque;
    (void)index;
    (void)worker;
    if (atomic_fetch_add(&stopping->runs, 1) == 4)
        diffc_context_cancel(stopping->context);
}

static void test_cancel_leaves_pieces_out(void **state)
{
    static const int threads[] = { 1, 2, 5 };
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct stopping stopping = { .context = make_context(threads[i]) };
        assert_int_equal(dfi_parallel(stopping.context, run_and_cancel, &stopping, 100000),
                         DIFFC_ERR_CANCELLED);
        assert_in_range(atomic_load(&stopping.runs), 5, 50000);
        assert_int_equal(dfi_cancel_take(stopping.context), DIFFC_OK);
        check_grids(stopping.context, threads[i], 64);
        diffc_release(&stopping.context);
    }
}

static void test_whole_grids_ignore_a_cancel(void **state)
{
    static const int threads[] = { 1, 2, 5 };
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct stopping stopping = { .context = make_context(threads[i]) };
        dfi_parallel_whole(stopping.context, run_and_cancel, &stopping, 1000);
        assert_int_equal(atomic_load(&stopping.runs), 1000);
        assert_int_equal(dfi_cancel_take(stopping.context), DIFFC_ERR_CANCELLED);
        diffc_release(&stopping.context);
    }
}

/* Half of the pieces come after a cancel, and another call of the context takes the cancel in between. */
static void run_while_another_call_is_cancelled(void *opaque, diffc_task_fn task, void *work, int count)
{
    struct stopping *stopping = opaque;
    for (int i = 0; i < count; i++) {
        if (i == count / 2)
            diffc_context_cancel(stopping->context);
        task(work, i, 0);
        if (i == count / 2)
            assert_int_equal(dfi_cancel_take(stopping->context), DIFFC_ERR_CANCELLED);
    }
}

static void count_run(void *opaque, int index, int worker)
{
    struct stopping *stopping = opaque;
    (void)index;
    (void)worker;
    atomic_fetch_add(&stopping->runs, 1);
}

/* Once such a call returned DIFFC_OK with a hole in its result. */
static void test_cancel_taken_by_another_call(void **state)
{
    struct stopping stopping = { .context = NULL };
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    (void)state;
    options.threads = 1;
    options.runner = run_while_another_call_is_cancelled;
    options.runner_opaque = &stopping;
    options.cpu_mask = DIFFC_CPU_NONE;
    assert_int_equal(diffc_context_create(&options, &stopping.context), DIFFC_OK);
    assert_int_equal(dfi_parallel(stopping.context, count_run, &stopping, 10), DIFFC_ERR_CANCELLED);
    assert_int_equal(atomic_load(&stopping.runs), 9);
    diffc_release(&stopping.context);
}

static int exit_code(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_threads_that_cannot_be_made(void **state)
{
    (void)state;
#ifdef SANITIZED
    skip();
#endif
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit little = { (rlim_t)64 << 20, (rlim_t)64 << 20 };
        diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
        diffc_context *context = NULL;
        options.threads = 1000;
        alarm(20);
        if (setrlimit(RLIMIT_AS, &little) || dfi_context_new(&options, &context) != DIFFC_ERR_NOMEM ||
            context)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(exit_code(child), 0);
}

static int grids_in_child(diffc_context *context, int threads)
{
    struct grid grid;
    for (int round = 0; round < 200; round++) {
        memset(&grid, 0, sizeof(grid));
        grid.threads = threads;
        dfi_parallel(context, mark, &grid, 40);
        for (int i = 0; i < 40; i++)
            if (atomic_load(&grid.runs[i]) != 1)
                return 1;
    }
    return atomic_load(&grid.wrong) != 0;
}

static void test_fork(void **state)
{
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip(); /* the thread sanitizer does not follow threads made after a fork */
#endif
    diffc_context *context = make_context(4);
    check_grids(context, 4, 50);
    for (int round = 0; round < 5; round++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(20);
            int failed = round == 4 ? 0 : grids_in_child(context, 4);
            diffc_release(&context);
            _exit(failed);
        }
        assert_int_equal(exit_code(child), 0);
        check_grids(context, 4, 50);
    }
    diffc_release(&context);
}

/* What a machine without room for threads does: the child runs everything itself. */
static void test_fork_without_threads(void **state)
{
    (void)state;
#ifdef SANITIZED
    skip();
#endif
    diffc_context *context = make_context(4);
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit little = { 1 << 20, 1 << 20 };
        alarm(20);
        if (setrlimit(RLIMIT_AS, &little))
            _exit(2);
        _exit(grids_in_child(context, 4));
    }
    assert_int_equal(exit_code(child), 0);
    diffc_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_piece_runs_once),
        cmocka_unit_test(test_parked_threads),
        cmocka_unit_test(test_work_is_shared),
        cmocka_unit_test(test_two_callers),
        cmocka_unit_test(test_floating_point_mode),
        cmocka_unit_test(test_cancel_leaves_pieces_out),
        cmocka_unit_test(test_whole_grids_ignore_a_cancel),
        cmocka_unit_test(test_cancel_taken_by_another_call),
        cmocka_unit_test(test_threads_that_cannot_be_made),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_fork_without_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
