#ifndef DFI_BASE_POOL_H
#define DFI_BASE_POOL_H

#include "base/context.h"

/* A pool of threads - 1 workers besides the caller. It remembers its process and is built anew in a forked
 * child. Workers flush denormals to zero (in their own threads only, the caller's state is set and restored).
 * While one thread runs a grid, a second one that comes with another runs it alone, as worker 0. */
int dfi_pool_create(struct diffc_context *context, int threads, struct dfi_pool **pool);
void dfi_pool_destroy(struct diffc_context *context, struct dfi_pool *pool);

struct dfi_grid {
    diffc_task_fn task;
    void *work;
    int count;
    int whole; /* 1: a cancel leaves no piece out */
};
int dfi_pool_run(struct dfi_pool *pool, const struct dfi_grid *grid); /* 1 if pieces were left out, else 0 */

#endif
