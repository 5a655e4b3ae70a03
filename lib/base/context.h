#ifndef DFI_BASE_CONTEXT_H
#define DFI_BASE_CONTEXT_H

#include <diffc/context.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/attributes.h"
#include "base/object.h"
#include "base/status.h"

struct dfi_pool;

struct diffc_context {
    struct dfi_object object;
    diffc_allocator allocator;
    diffc_log_fn log;
    void *log_opaque;
    int log_level;
    pthread_mutex_t log_mutex; /* one line at a time */
    diffc_limits limits;       /* defaults filled in */
    uint32_t cpu_flags;        /* what the CPU has, under the mask */
    const char *kernel_set;    /* set by api/context.c */
    int threads;
    diffc_runner_fn runner; /* NULL: the pool */
    void *runner_opaque;
    struct dfi_pool *pool;
    atomic_int cancel;
};

/* base/context.c: everything of a context that needs no kernel. api/context.c adds the rest. */
int dfi_context_new(const diffc_context_options *options, struct diffc_context **context);

void dfi_log(struct diffc_context *context, int level, const char *format, ...) DFI_PRINTF(3, 4);

/* Copies the caller's option struct of any version into `options` (size bytes, zeroed first): fields that the
 * caller's version lacks stay zero; fields that this library does not know must be zero. `source` may be
 * NULL. */
int dfi_options_read(void *options, size_t size, const void *source, const char *name);

/* base/alloc.c: blocks aligned to 64 bytes from the context's allocator, not zeroed. On failure the message
 * is set and NULL returned. dfi_free(NULL) does nothing. */
void *dfi_alloc(struct diffc_context *context, size_t bytes);
void *dfi_calloc(struct diffc_context *context, size_t count, size_t size);
void *dfi_realloc(struct diffc_context *context, void *block, size_t old_bytes, size_t bytes);
char *dfi_strdup(struct diffc_context *context, const char *text);
void dfi_free(struct diffc_context *context, void *block);

/* base/pool.c: runs task(work, i, worker) for 0 <= i < count on the context's threads and waits. The grid
 * must depend on shapes only, never on the number of threads. Pieces not yet started are left out after a
 * cancel: then ERR_CANCELLED, also when another call in the context has taken the cancel meanwhile. */
int dfi_parallel(struct diffc_context *context, diffc_task_fn task, void *work, int count);

/* The same for work that must not stop halfway: a cancel waits for the next call. */
void dfi_parallel_whole(struct diffc_context *context, diffc_task_fn task, void *work, int count);

/* 1 once a cancel was asked for; dfi_cancel_take() is for whoever returns to the caller. */
int dfi_cancelled(const struct diffc_context *context);
int dfi_cancel_take(struct diffc_context *context); /* OK, or clears the flag and fails with ERR_CANCELLED */

#endif
