#ifndef DIFFC_CONTEXT_H
#define DIFFC_CONTEXT_H

#include <diffc/common.h>

DIFFC_BEGIN

/* Memory. Both functions or neither; called from any thread of the context. `alloc` returns a block aligned
 * for any basic type, or NULL; `release` gets what alloc returned. */
typedef struct diffc_allocator {
    void *(*alloc)(void *opaque, size_t bytes);
    void (*release)(void *opaque, void *block);
    void *opaque;
} diffc_allocator;

typedef enum diffc_log_level {
    DIFFC_LOG_WARNING = 1, /* the result is right, but something is not as it should be */
    DIFFC_LOG_INFO = 2,
    DIFFC_LOG_DEBUG = 3,
    DIFFC_LOG_LEVEL_MAX = 2147483647
} diffc_log_level;

/* Receives one line without a newline. May be called from any thread of the context, one call at a time. */
typedef void (*diffc_log_fn)(void *opaque, int level, const char *line);

/* One piece of work: piece `index`, run by worker `worker` (0 <= worker < threads of the context). */
typedef void (*diffc_task_fn)(void *work, int index, int worker);

/* A thread pool of the caller's: must call task(work, i, worker) once for every 0 <= i < count, in any order
 * and on any threads, no two at once with the same worker number, and return when all are done. The results
 * of the library do not depend on who runs what. */
typedef void (*diffc_runner_fn)(void *opaque, diffc_task_fn task, void *work, int count);

/* Instruction sets, for diffc_context_options.cpu_mask and diffc_context_cpu_flags(). */
#define DIFFC_CPU_AVX2 1u          /* AVX2, FMA and F16C */
#define DIFFC_CPU_AVX512 2u        /* AVX-512 F, BW, DQ and VL */
#define DIFFC_CPU_AVX512_BF16 4u   /* AVX-512 BF16 */
#define DIFFC_CPU_NONE 0x80000000u /* as a mask: plain C only */

/* What files and requests may ask for. A zero field means the default. */
typedef struct diffc_limits {
    size_t struct_size;
    int64_t image_width;     /* pixels, default 8192 */
    int64_t image_height;    /* pixels, default 8192 */
    int64_t image_bytes;     /* of a decoded image, default 256 MiB */
    int64_t idx_bytes;       /* of the unpacked data of an IDX file, default 1 GiB */
    int64_t archive_header;  /* bytes of a safetensors header, default 16 MiB */
    int64_t archive_tensors; /* default 65536 */
    int64_t memory;     /* bytes that one model, session or trainer may plan, default 3/4 of the machine's */
    int64_t steps;      /* of a sampler, default 10000 */
    int64_t batch;      /* samples of a session, of a training batch or a sampling call; default 4096 */
    int64_t text_bytes; /* of a text to tokenise, default 64 KiB */
    int64_t tokenizer_pieces; /* of a spiece.model, default 1000000 */
} diffc_limits;

typedef struct diffc_context_options {
    size_t struct_size;
    int32_t threads; /* workers, the calling thread included, at most 1024; default: the usable CPUs, at most
                        64 */
    uint32_t cpu_mask; /* instruction sets that may be used, DIFFC_CPU_...; default: all that the CPU has */
    diffc_allocator allocator; /* default: malloc and free */
    diffc_log_fn log;          /* default: silence */
    void *log_opaque;
    int32_t log_level;      /* lines up to this diffc_log_level; default DIFFC_LOG_WARNING */
    diffc_runner_fn runner; /* default: a thread pool of the context's own; set `threads` with it */
    void *runner_opaque;
    const diffc_limits *limits; /* copied */
} diffc_context_options;

#define DIFFC_CONTEXT_OPTIONS DIFFC_OPTIONS_OF(diffc_context_options)
#define DIFFC_LIMITS DIFFC_OPTIONS_OF(diffc_limits)

/* Creates a context. ERR_ARG for an option out of range, ERR_NOMEM, ERR_VERSION for a struct of a newer
 * version with fields set that this one does not know. Thread-safe. Since 0.1. */
DIFFC_API int diffc_context_create(const diffc_context_options *options, diffc_context **context);

/* Asks the call that now runs in this context, or else the next one, to stop: it returns DIFFC_ERR_CANCELLED
 * as soon as the pieces of work in flight are done, and leaves its handles usable. Of several calls that run
 * in one context at the same time at least one stops, and none returns an incomplete result as a success. One
 * atomic store: may be called from any thread and from a signal handler. Since 0.1. */
DIFFC_API void diffc_context_cancel(diffc_context *context);

/* Number of workers; instruction sets in use (DIFFC_CPU_...); name of the kernel set that matrix products
 * use, e.g. "blis-skx", "blis+diffc-avx512" (recorded in checkpoints: the same name means the same bits).
 * Since 0.1. */
DIFFC_API int diffc_context_threads(const diffc_context *context);
DIFFC_API uint32_t diffc_context_cpu_flags(const diffc_context *context);
DIFFC_API const char *diffc_context_kernel_set(const diffc_context *context);

/* The limits in force, defaults filled in; fills at most limits->struct_size bytes. Since 0.1. */
DIFFC_API int diffc_context_limits(const diffc_context *context, diffc_limits *limits);

DIFFC_END

#endif
