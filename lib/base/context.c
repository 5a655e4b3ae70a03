#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/context.h"
#include "base/cpu.h"
#include "base/pool.h"

#define MAX_THREADS 1024
#define MAX_OPTIONS 4096 /* bytes of any option struct: more is a struct_size that was never set */

int dfi_options_read(void *options, size_t size, const void *source, const char *name)
{
    memset(options, 0, size);
    memcpy(options, &size, sizeof(size));
    if (!source)
        return DIFFC_OK;
    size_t given;
    memcpy(&given, source, sizeof(given));
    /* every struct holds a size_t, so a size that cuts one (or a pointer) in half is that of none */
    if (given < sizeof(given) || given > MAX_OPTIONS || given % _Alignof(size_t))
        return dfi_fail(DIFFC_ERR_ARG, "%s.struct_size is %zu, must be the size of the struct", name, given);
    for (size_t i = size; i < given; i++)
        if (((const unsigned char *)source)[i])
            return dfi_fail(DIFFC_ERR_VERSION,
                            "%s is of a newer version: byte %zu is set, this library knows %zu bytes", name,
                            i, size);
    memcpy(options, source, given < size ? given : size);
    memcpy(options, &size, sizeof(size));
    return DIFFC_OK;
}

static void *system_alloc(void *opaque, size_t bytes)
{
    (void)opaque;
    return malloc(bytes);
}

static void system_release(void *opaque, void *block)
{
    (void)opaque;
    free(block);
}

static int usable_cpus(void)
{
    cpu_set_t set;
    int cpus = 0;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        cpus = CPU_COUNT(&set);
    if (cpus < 1)
        cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 1 ? 1 : cpus > 64 ? 64 : cpus;
}

static int64_t three_quarters_of_memory(void)
{
    const int64_t pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    if (pages < 4 || size < 1)
        return (int64_t)1 << 30;
    return pages / 4 * 3 * size;
}

static int default_limit(int64_t *limit, int64_t value, const char *name)
{
    if (*limit < 0)
        return dfi_fail(DIFFC_ERR_ARG, "limits.%s is %lld, must not be negative", name, (long long)*limit);
    if (*limit == 0)
        *limit = value;
    return DIFFC_OK;
}

static int read_limits(const diffc_limits *source, diffc_limits *limits)
{
    DFI_TRY(dfi_options_read(limits, sizeof(*limits), source, "limits"));
    limits->struct_size = sizeof(*limits);
    DFI_TRY(default_limit(&limits->image_width, 8192, "image_width"));
    DFI_TRY(default_limit(&limits->image_height, 8192, "image_height"));
    DFI_TRY(default_limit(&limits->image_bytes, (int64_t)256 << 20, "image_bytes"));
    DFI_TRY(default_limit(&limits->idx_bytes, (int64_t)1 << 30, "idx_bytes"));
    DFI_TRY(default_limit(&limits->archive_header, (int64_t)16 << 20, "archive_header"));
    DFI_TRY(default_limit(&limits->archive_tensors, 65536, "archive_tensors"));
    DFI_TRY(default_limit(&limits->memory, three_quarters_of_memory(), "memory"));
    DFI_TRY(default_limit(&limits->steps, 10000, "steps"));
    DFI_TRY(default_limit(&limits->batch, 4096, "batch"));
    DFI_TRY(default_limit(&limits->text_bytes, 1 << 16, "text_bytes"));
    return default_limit(&limits->tokenizer_pieces, 1000000, "tokenizer_pieces");
}

static int check_options(const diffc_context_options *options)
{
    const uint32_t known = DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512 | DIFFC_CPU_AVX512_BF16 | DIFFC_CPU_NONE;
    if (options->threads < 0 || options->threads > MAX_THREADS)
        return dfi_fail(DIFFC_ERR_ARG, "options.threads is %d, must be 1 to %d, or 0 for the default",
                        (int)options->threads, MAX_THREADS);
    if (options->cpu_mask & ~known)
        return dfi_fail(DIFFC_ERR_ARG, "options.cpu_mask is 0x%x, has bits that are no DIFFC_CPU_ flag",
                        (unsigned)options->cpu_mask);
    if (!options->allocator.alloc != !options->allocator.release)
        return dfi_fail(DIFFC_ERR_ARG,
                        "options.allocator has alloc without release, or release without alloc");
    if (options->log_level < 0 || options->log_level > DIFFC_LOG_DEBUG)
        return dfi_fail(DIFFC_ERR_ARG, "options.log_level is %d, must be 1 to %d, or 0 for the default",
                        (int)options->log_level, DIFFC_LOG_DEBUG);
    if (options->runner && options->threads == 0)
        return dfi_fail(DIFFC_ERR_ARG,
                        "options.runner is set but options.threads is 0: how many workers has it?");
    return DIFFC_OK;
}

/* The wider sets build on AVX2: without it nothing is left of them. */
static uint32_t masked_flags(uint32_t mask)
{
    const uint32_t flags = dfi_cpu_detect() & (mask ? mask : ~0u);
    if (!(flags & DIFFC_CPU_AVX2))
        return 0;
    return flags & DIFFC_CPU_AVX512 ? flags : flags & ~DIFFC_CPU_AVX512_BF16;
}

static void destroy_context(void *handle)
{
    struct diffc_context *context = handle;
    dfi_pool_destroy(context, context->pool);
    pthread_mutex_destroy(&context->log_mutex);
    const diffc_allocator allocator = context->allocator;
    struct diffc_context last = { .allocator = allocator };
    dfi_free(&last, context);
}

/* A callback that logs in turn gets EDEADLK instead of hanging, and its line is dropped. */
static int make_mutex(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes))
        return -1;
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    const int failed = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return failed ? -1 : 0;
}

static void fill_context(struct diffc_context *context, const diffc_context_options *options,
                         const diffc_allocator *allocator, const diffc_limits *limits)
{
    atomic_init(&context->object.references, 1);
    context->object.destroy = destroy_context;
    context->allocator = *allocator;
    context->log = options->log;
    context->log_opaque = options->log_opaque;
    context->log_level = options->log_level ? options->log_level : DIFFC_LOG_WARNING;
    context->limits = *limits;
    context->cpu_flags = masked_flags(options->cpu_mask);
    context->kernel_set = "";
    context->threads = options->threads ? options->threads : usable_cpus();
    context->runner = options->runner;
    context->runner_opaque = options->runner_opaque;
    atomic_init(&context->cancel, 0);
}

int dfi_context_new(const diffc_context_options *source, struct diffc_context **result)
{
    diffc_context_options options;
    diffc_limits limits;
    DFI_TRY(dfi_options_read(&options, sizeof(options), source, "options"));
    DFI_TRY(check_options(&options));
    DFI_TRY(read_limits(options.limits, &limits));
    diffc_allocator allocator = { system_alloc, system_release, NULL };
    if (options.allocator.alloc)
        allocator = options.allocator;

    struct diffc_context first = { .allocator = allocator };
    struct diffc_context *context = dfi_calloc(&first, 1, sizeof(*context));
    if (!context)
        return DIFFC_ERR_NOMEM;
    if (make_mutex(&context->log_mutex)) {
        dfi_free(&first, context);
        return dfi_fail(DIFFC_ERR_NOMEM, "out of memory: cannot make a mutex");
    }
    fill_context(context, &options, &allocator, &limits);
    if (!context->runner && context->threads > 1) {
        const int status = dfi_pool_create(context, context->threads, &context->pool);
        if (status < 0) {
            dfi_release(context);
            return status;
        }
    }
    *result = context;
    return DIFFC_OK;
}

void dfi_log(struct diffc_context *context, int level, const char *format, ...)
{
    if (!context->log || level > context->log_level)
        return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    const int written = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (written < 0)
        return;
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    if (pthread_mutex_lock(&context->log_mutex))
        return;
    context->log(context->log_opaque, level, line);
    pthread_mutex_unlock(&context->log_mutex);
}

int dfi_cancelled(const struct diffc_context *context)
{
    return atomic_load_explicit(&context->cancel, memory_order_relaxed) != 0;
}

int dfi_cancel_take(struct diffc_context *context)
{
    if (!dfi_cancelled(context) || !atomic_exchange(&context->cancel, 0))
        return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_CANCELLED, "cancelled");
}
