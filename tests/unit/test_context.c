#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <diffc/diffc.h>

#include "base/context.h"

struct counter {
    atomic_long allocations, live;
};

static void *count_alloc(void *opaque, size_t bytes)
{
    struct counter *counter = opaque;
    atomic_fetch_add(&counter->allocations, 1);
    atomic_fetch_add(&counter->live, 1);
    return malloc(bytes);
}

static void count_release(void *opaque, void *block)
{
    struct counter *counter = opaque;
    assert_non_null(block);
    atomic_fetch_sub(&counter->live, 1);
    free(block);
}

static void test_defaults(void **state)
{
    diffc_context *context = NULL;
    diffc_limits limits = DIFFC_LIMITS;
    (void)state;
    assert_int_equal(diffc_context_create(NULL, &context), DIFFC_OK);
    assert_in_range(diffc_context_threads(context), 1, 64);
    assert_true(strlen(diffc_context_kernel_set(context)) > 0);
    assert_int_equal(diffc_context_limits(context, &limits), DIFFC_OK);
    assert_int_equal(limits.struct_size, sizeof(limits));
    assert_int_equal(limits.image_width, 8192);
    assert_int_equal(limits.image_height, 8192);
    assert_int_equal(limits.image_bytes, 256 << 20);
    assert_int_equal(limits.idx_bytes, 1 << 30);
    assert_int_equal(limits.archive_header, 16 << 20);
    assert_int_equal(limits.archive_tensors, 65536);
    assert_true(limits.memory > 1 << 20);
    assert_int_equal(limits.steps, 10000);
    assert_int_equal(limits.batch, 4096);
    diffc_release(&context);
    assert_null(context);
    diffc_release(&context);
    diffc_release(NULL);
}

static void test_null_arguments(void **state)
{
    diffc_limits limits = DIFFC_LIMITS;
    (void)state;
    assert_int_equal(diffc_context_create(NULL, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_context_threads(NULL), 0);
    assert_int_equal(diffc_context_cpu_flags(NULL), 0);
    assert_string_equal(diffc_context_kernel_set(NULL), "");
    assert_int_equal(diffc_context_limits(NULL, &limits), DIFFC_ERR_ARG);
    diffc_context_cancel(NULL);
    assert_null(diffc_retain(NULL));
}

static void expect_refused(const diffc_context_options *options, int status)
{
    diffc_context *context = NULL;
    assert_int_equal(diffc_context_create(options, &context), status);
    assert_null(context);
    assert_true(strlen(diffc_message()) > 0);
}

static void test_options_out_of_range(void **state)
{
    const diffc_context_options good = DIFFC_CONTEXT_OPTIONS;
    diffc_context_options options = good;
    diffc_limits limits = DIFFC_LIMITS;
    (void)state;
    options.threads = -1;
    expect_refused(&options, DIFFC_ERR_ARG);
    options.threads = 1025;
    expect_refused(&options, DIFFC_ERR_ARG);
    options = good;
    options.cpu_mask = 0x40;
    expect_refused(&options, DIFFC_ERR_ARG);
    options = good;
    options.log_level = 4;
    expect_refused(&options, DIFFC_ERR_ARG);
    options = good;
    options.allocator.alloc = count_alloc;
    expect_refused(&options, DIFFC_ERR_ARG);
    options = good;
    options.limits = &limits;
    limits.batch = -1;
    expect_refused(&options, DIFFC_ERR_ARG);
    assert_string_equal(diffc_message(), "limits.batch is -1, must not be negative");
    options = good;
    options.struct_size = 0;
    expect_refused(&options, DIFFC_ERR_ARG);
    options.struct_size = 1 << 20;
    expect_refused(&options, DIFFC_ERR_ARG);
}

/* Callers compiled against an older or newer header. */
static void test_struct_sizes(void **state)
{
    struct newer {
        diffc_context_options options;
        char added[16];
    } newer;
    diffc_context *context = NULL;
    (void)state;
    memset(&newer, 0, sizeof(newer));
    newer.options.struct_size = sizeof(newer);
    newer.options.threads = 3;
    assert_int_equal(diffc_context_create(&newer.options, &context), DIFFC_OK);
    assert_int_equal(diffc_context_threads(context), 3);
    diffc_release(&context);
    newer.added[15] = 1;
    expect_refused(&newer.options, DIFFC_ERR_VERSION);

    const diffc_context_options two = { .struct_size = offsetof(diffc_context_options, allocator),
                                        .threads = 2 };
    void *older = malloc(two.struct_size); /* ends behind cpu_mask */
    memcpy(older, &two, two.struct_size);
    assert_int_equal(diffc_context_create(older, &context), DIFFC_OK);
    assert_int_equal(diffc_context_threads(context), 2);
    newer.added[15] = 0;
    newer.options.struct_size = offsetof(diffc_context_options, log_opaque) + 4; /* half a pointer */
    expect_refused(&newer.options, DIFFC_ERR_ARG);

    diffc_limits limits;
    memset(&limits, 0x55, sizeof(limits));
    limits.struct_size = offsetof(diffc_limits, image_height);
    assert_int_equal(diffc_context_limits(context, &limits), DIFFC_OK);
    assert_int_equal(limits.image_width, 8192);
    assert_int_equal(limits.image_height, 0x5555555555555555);
    assert_int_equal(limits.struct_size, offsetof(diffc_limits, image_height));
    limits.struct_size = 1;
    assert_int_equal(diffc_context_limits(context, &limits), DIFFC_ERR_ARG);
    diffc_release(&context);
    free(older);
}

static void test_cpu_mask(void **state)
{
    static const uint32_t masks[] = { DIFFC_CPU_NONE, DIFFC_CPU_AVX2, DIFFC_CPU_AVX512,
                                      DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512 };
    static const uint32_t most[] = { 0, DIFFC_CPU_AVX2, 0, DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512 };
    (void)state;
    for (int i = 0; i < 4; i++) {
        diffc_context *context = NULL;
        diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
        options.cpu_mask = masks[i];
        assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
        assert_int_equal(diffc_context_cpu_flags(context) & ~most[i], 0);
        diffc_release(&context);
    }
}

static void test_allocator_serves_everything(void **state)
{
    static const int64_t shape[] = { 100, 100 };
    struct counter counter = { 0 };
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    diffc_tensor *tensor = NULL, *view = NULL;
    diffc_generator *generator = NULL;
    (void)state;
    options.allocator = (diffc_allocator) { count_alloc, count_release, &counter };
    options.threads = 2;
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    const long before = atomic_load(&counter.allocations);
    assert_in_range(before, 2, 100);
    assert_int_equal(diffc_tensor_create(context, DIFFC_F32, 2, shape, &tensor), DIFFC_OK);
    assert_int_equal((uintptr_t)diffc_tensor_data(tensor) % 64, 0);
    assert_int_equal(diffc_tensor_permute(tensor, (const int[]) { 1, 0 }, &view), DIFFC_OK);
    assert_int_equal(diffc_rng_normal(view, 1, 2, 3), DIFFC_OK);
    assert_int_equal(diffc_generator_create(context, 1, &generator), DIFFC_OK);
    assert_in_range(atomic_load(&counter.allocations), before + 5, before + 20);
    /* in any order */
    diffc_release(&context);
    diffc_release(&tensor);
    diffc_release(&generator);
    assert_int_not_equal(atomic_load(&counter.live), 0);
    diffc_release(&view);
    assert_int_equal(atomic_load(&counter.live), 0);
}

/* Blocks are aligned whatever the hook returns. */
static void *odd_alloc(void *opaque, size_t bytes)
{
    char *block = malloc(bytes + 8);
    (void)opaque;
    return block ? block + 8 : NULL;
}

static void odd_release(void *opaque, void *block)
{
    (void)opaque;
    free((char *)block - 8);
}

static void test_alignment(void **state)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    (void)state;
    options.threads = 1;
    options.allocator = (diffc_allocator) { odd_alloc, odd_release, NULL };
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    static const size_t sizes[] = { 0, 1, 63, 64, 65, 1000, (size_t)5 << 20, (size_t)9 << 20 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *block = dfi_alloc(context, sizes[i]);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 64, 0);
        memset(block, 1, sizes[i]);
        char *bigger = dfi_realloc(context, block, sizes[i], sizes[i] + 100);
        assert_non_null(bigger);
        assert_true(sizes[i] == 0 || (bigger[0] == 1 && bigger[sizes[i] - 1] == 1));
        dfi_free(context, bigger);
    }
    assert_null(dfi_alloc(context, SIZE_MAX - 10));
    assert_null(dfi_alloc(context, SIZE_MAX / 2));
    assert_null(dfi_calloc(context, SIZE_MAX / 2, 3));
    diffc_release(&context);
}

struct lines {
    int count, level;
    char last[600];
    diffc_context *context;
};

static void take_line(void *opaque, int level, const char *line)
{
    struct lines *lines = opaque;
    lines->count++;
    lines->level = level;
    strncpy(lines->last, line, sizeof(lines->last) - 1);
    if (lines->context)
        dfi_log(lines->context, DIFFC_LOG_WARNING, "a line about a line");
}

static void test_log(void **state)
{
    struct lines lines = { 0 };
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    (void)state;
    options.log = take_line;
    options.log_opaque = &lines;
    options.threads = 1;
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    lines.count = 0;
    dfi_log(context, DIFFC_LOG_INFO, "too much detail");
    assert_int_equal(lines.count, 0);
    dfi_log(context, DIFFC_LOG_WARNING, "two\nlines %d", 7);
    assert_int_equal(lines.count, 1);
    assert_int_equal(lines.level, DIFFC_LOG_WARNING);
    assert_string_equal(lines.last, "two lines 7");
    lines.context = context; /* a callback that logs does not hang */
    dfi_log(context, DIFFC_LOG_WARNING, "again");
    assert_int_equal(lines.count, 2);
    diffc_release(&context);
    assert_int_equal(diffc_context_create(NULL, &context), DIFFC_OK);
    dfi_log(context, DIFFC_LOG_WARNING, "nobody listens");
    diffc_release(&context);
}

/* A runner that goes backwards. */
static void run_backwards(void *opaque, diffc_task_fn task, void *work, int count)
{
    atomic_fetch_add((atomic_int *)opaque, 1);
    for (int i = count - 1; i >= 0; i--)
        task(work, i, i % 3);
}

static void fill_normals(const diffc_context_options *options, float *values, int64_t count)
{
    diffc_context *context = NULL;
    diffc_tensor *tensor = NULL;
    assert_int_equal(diffc_context_create(options, &context), DIFFC_OK);
    assert_int_equal(diffc_tensor_wrap(context, DIFFC_F32, 1, &count, NULL, values, NULL, NULL, &tensor),
                     DIFFC_OK);
    assert_int_equal(diffc_rng_normal(tensor, 180, 1, 12345), DIFFC_OK);
    diffc_release(&tensor);
    diffc_release(&context);
}

static void test_runner(void **state)
{
    enum { COUNT = 100001 };
    float *own = malloc(COUNT * sizeof(*own)), *theirs = malloc(COUNT * sizeof(*theirs));
    atomic_int calls = 0;
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    (void)state;
    options.runner = run_backwards;
    options.runner_opaque = &calls;
    expect_refused(&options, DIFFC_ERR_ARG); /* how many workers? */
    options.threads = 3;
    fill_normals(&options, theirs, COUNT);
    assert_in_range(atomic_load(&calls), 1, 100);
    for (int threads = 1; threads < 5; threads++) {
        diffc_context_options plain = DIFFC_CONTEXT_OPTIONS;
        plain.threads = threads;
        memset(own, 0, COUNT * sizeof(*own));
        fill_normals(&plain, own, COUNT);
        assert_memory_equal(own, theirs, COUNT * sizeof(*own));
    }
    free(own);
    free(theirs);
}

static void test_cancel_stops_the_next_call(void **state)
{
    static const int64_t shape[] = { 1000 };
    diffc_context *context = NULL;
    diffc_tensor *tensor = NULL;
    (void)state;
    assert_int_equal(diffc_context_create(NULL, &context), DIFFC_OK);
    assert_int_equal(diffc_tensor_create(context, DIFFC_F32, 1, shape, &tensor), DIFFC_OK);
    diffc_context_cancel(context);
    assert_int_equal(diffc_rng_normal(tensor, 1, 2, 3), DIFFC_ERR_CANCELLED);
    assert_int_equal(diffc_rng_normal(tensor, 1, 2, 3), DIFFC_OK);
    diffc_release(&tensor);
    diffc_release(&context);
}

static void test_fork_gives_equal_bits(void **state)
{
    enum { COUNT = 50000 };
    static const int64_t count = COUNT;
    static float values[COUNT], again[COUNT];
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    diffc_tensor *tensor = NULL;
    int status = 0;
    (void)state;
#if defined(__SANITIZE_THREAD__)
    skip();
#endif
    options.threads = 3;
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    assert_int_equal(diffc_tensor_wrap(context, DIFFC_F32, 1, &count, NULL, values, NULL, NULL, &tensor),
                     DIFFC_OK);
    assert_int_equal(diffc_rng_normal(tensor, 5, 6, 7), DIFFC_OK);
    memcpy(again, values, sizeof(values));
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        memset(values, 0, sizeof(values));
        const int failed = diffc_rng_normal(tensor, 5, 6, 7) != DIFFC_OK ||
                           memcmp(values, again, sizeof(values)) != 0;
        diffc_release(&tensor);
        diffc_release(&context);
        _exit(failed);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    diffc_release(&tensor);
    diffc_release(&context);
}

static void test_process_state_is_left_alone(void **state)
{
    sigset_t before, after;
    diffc_context *context = NULL;
    diffc_context_options bad = DIFFC_CONTEXT_OPTIONS;
    (void)state;
    bad.threads = -1;
    sigprocmask(SIG_SETMASK, NULL, &before);
    errno = 77;
    assert_int_equal(diffc_context_create(&bad, &context), DIFFC_ERR_ARG);
    assert_int_equal(errno, 77);
    assert_int_equal(diffc_context_create(NULL, &context), DIFFC_OK);
    sigprocmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < 32; signal++)
        assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
    diffc_release(&context);
}

static void *fail_elsewhere(void *opaque)
{
    diffc_context *context = NULL;
    assert_string_equal(diffc_message(), "");
    (void)diffc_context_create(opaque, &context);
    assert_true(strlen(diffc_message()) > 0);
    return NULL;
}

static void test_message_is_per_thread(void **state)
{
    diffc_context_options bad = DIFFC_CONTEXT_OPTIONS;
    pthread_t thread;
    (void)state;
    assert_int_equal(diffc_context_create(NULL, NULL), DIFFC_ERR_ARG);
    char mine[100];
    strcpy(mine, diffc_message());
    bad.threads = -5;
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &bad), 0);
    pthread_join(thread, NULL);
    assert_string_equal(diffc_message(), mine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_null_arguments),
        cmocka_unit_test(test_options_out_of_range),
        cmocka_unit_test(test_struct_sizes),
        cmocka_unit_test(test_cpu_mask),
        cmocka_unit_test(test_allocator_serves_everything),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_runner),
        cmocka_unit_test(test_cancel_stops_the_next_call),
        cmocka_unit_test(test_fork_gives_equal_bits),
        cmocka_unit_test(test_process_state_is_left_alone),
        cmocka_unit_test(test_message_is_per_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
