#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/float_mode.h"
#include "base/pool.h"

#define STACK_SIZE ((size_t)2 << 20)
/* Some 20 to 50 microseconds: nodes of a graph follow each other faster than a thread wakes. */
#define SPINS 1000
#define REBUILDING (-1)

/* `left` counts the pieces not yet handed out; whoever brings it down by one owns the piece, and only then
 * looks at the job: it cannot change before the piece is finished. So a thread that wakes late finds either a
 * piece of the present job or nothing. */
struct dfi_pool {
    struct diffc_context *context;
    atomic_int pid; /* the process whose threads these are, or REBUILDING */
    int workers;    /* threads besides the caller; 0 if a child could not create them */
    int capacity;
    int spins;
    pthread_mutex_t turn; /* held by the thread whose job runs */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    atomic_int sleeping, caller_sleeping, stop;
    struct dfi_grid grid;
    atomic_int left, unfinished, left_out;
    struct worker {
        struct dfi_pool *pool;
        pthread_t thread;
        int number;
    } worker[];
};

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int take_piece(struct dfi_pool *pool)
{
    int left = atomic_load_explicit(&pool->left, memory_order_acquire);
    while (left > 0)
        if (atomic_compare_exchange_weak(&pool->left, &left, left - 1))
            return left;
    return 0;
}

static int stopped(const struct diffc_context *context, const struct dfi_grid *grid)
{
    return !grid->whole && dfi_cancelled(context);
}

static void run_pieces(struct dfi_pool *pool, int worker)
{
    int left;
    while ((left = take_piece(pool)) > 0) {
        if (stopped(pool->context, &pool->grid))
            atomic_store(&pool->left_out, 1);
        else
            pool->grid.task(pool->grid.work, pool->grid.count - left, worker);
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_sleeping)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

static int has_news(const struct dfi_pool *pool)
{
    return atomic_load(&pool->left) > 0 || atomic_load(&pool->stop);
}

static void await_news(struct dfi_pool *pool)
{
    for (int i = 0; i < pool->spins; i++) {
        if (has_news(pool))
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleeping, 1);
    while (!has_news(pool))
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *opaque)
{
    struct worker *worker = opaque;
    struct dfi_pool *pool = worker->pool;
    struct dfi_float_mode inherited;
    dfi_float_enter(&inherited, 1);
    for (;;) {
        await_news(pool);
        if (atomic_load(&pool->stop))
            return NULL;
        run_pieces(pool, worker->number);
    }
}

static void stop_threads(struct dfi_pool *pool, int count)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < count; i++)
        pthread_join(pool->worker[i].thread, NULL);
}

/* Signals belong to the caller's threads. */
static int create_threads(struct dfi_pool *pool)
{
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes))
        return -1;
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int created = 0;
    for (; created < pool->capacity; created++) {
        struct worker *worker = &pool->worker[created];
        worker->pool = pool;
        worker->number = created + 1;
        if (pthread_create(&worker->thread, &attributes, worker_main, worker))
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (created == pool->capacity)
        return 0;
    stop_threads(pool, created);
    return -1;
}

static int start(struct dfi_pool *pool)
{
    cpu_set_t set;
    const int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    pool->spins = pool->capacity < cpus ? SPINS : 0; /* who has no CPU of its own must not burn another's */
    pool->workers = 0;
    atomic_store(&pool->sleeping, 0);
    atomic_store(&pool->caller_sleeping, 0);
    atomic_store(&pool->stop, 0);
    atomic_store(&pool->left, 0);
    atomic_store(&pool->unfinished, 0);
    if (pthread_mutex_init(&pool->turn, NULL))
        return -1;
    if (pthread_mutex_init(&pool->mutex, NULL))
        goto fail_mutex;
    if (pthread_cond_init(&pool->wake, NULL))
        goto fail_wake;
    if (pthread_cond_init(&pool->done, NULL))
        goto fail_done;
    if (create_threads(pool))
        goto fail_threads;
    pool->workers = pool->capacity;
    return 0;
fail_threads:
    pthread_cond_destroy(&pool->done);
fail_done:
    pthread_cond_destroy(&pool->wake);
fail_wake:
    pthread_mutex_destroy(&pool->mutex);
fail_mutex:
    pthread_mutex_destroy(&pool->turn);
    return -1;
}

int dfi_pool_create(struct diffc_context *context, int threads, struct dfi_pool **result)
{
    size_t bytes;
    if (dfi_ck_mul((size_t)threads, sizeof(struct worker), &bytes) ||
        dfi_ck_add(bytes, sizeof(struct dfi_pool), &bytes))
        return dfi_fail(DIFFC_ERR_ARG, "%d threads are too many", threads);
    struct dfi_pool *pool = dfi_calloc(context, 1, bytes);
    if (!pool)
        return DIFFC_ERR_NOMEM;
    pool->context = context;
    pool->capacity = threads - 1;
    if (start(pool)) {
        dfi_free(context, pool);
        return dfi_fail(DIFFC_ERR_NOMEM, "cannot create %d threads", threads - 1);
    }
    atomic_store(&pool->pid, (int)getpid());
    *result = pool;
    return DIFFC_OK;
}

/* In a child of fork() there are no threads to join, and the mutexes may be in any state. */
void dfi_pool_destroy(struct diffc_context *context, struct dfi_pool *pool)
{
    if (!pool)
        return;
    if (pool->workers > 0 && atomic_load(&pool->pid) == (int)getpid()) {
        stop_threads(pool, pool->workers);
        pthread_cond_destroy(&pool->done);
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->mutex);
        pthread_mutex_destroy(&pool->turn);
    }
    dfi_free(context, pool);
}

static int run_alone(const struct diffc_context *context, const struct dfi_grid *grid)
{
    for (int i = 0; i < grid->count; i++) {
        if (stopped(context, grid))
            return 1;
        grid->task(grid->work, i, 0);
    }
    return 0;
}

static void wake_workers(struct dfi_pool *pool, int wanted)
{
    const int sleeping = atomic_load(&pool->sleeping);
    if (sleeping == 0)
        return;
    pthread_mutex_lock(&pool->mutex);
    if (wanted >= sleeping)
        pthread_cond_broadcast(&pool->wake);
    else
        for (int i = 0; i < wanted; i++)
            pthread_cond_signal(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

static void await_end(struct dfi_pool *pool)
{
    for (int i = 0; i < pool->spins; i++) {
        if (atomic_load(&pool->unfinished) == 0)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeping, 1);
    while (atomic_load(&pool->unfinished) > 0)
        pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->caller_sleeping, 0);
    pthread_mutex_unlock(&pool->mutex);
}

static int run_together(struct dfi_pool *pool, const struct dfi_grid *grid)
{
    pool->grid = *grid;
    atomic_store(&pool->left_out, 0);
    atomic_store(&pool->unfinished, grid->count);
    atomic_store(&pool->left, grid->count);
    wake_workers(pool, grid->count - 1);
    run_pieces(pool, 0);
    await_end(pool);
    return atomic_load(&pool->left_out);
}

/* Whether the pool's threads are in this process; in a new child the first caller makes them. */
static int have_threads(struct dfi_pool *pool)
{
    const int here = (int)getpid();
    int pid = atomic_load(&pool->pid);
    if (pid != here && pid != REBUILDING && atomic_compare_exchange_strong(&pool->pid, &pid, REBUILDING)) {
        (void)start(pool); /* without threads the caller runs everything */
        atomic_store(&pool->pid, here);
        pid = here;
    }
    return pid == here && pool->workers > 0;
}

int dfi_pool_run(struct dfi_pool *pool, const struct dfi_grid *grid)
{
    if (grid->count == 1 || !have_threads(pool) || pthread_mutex_trylock(&pool->turn) != 0)
        return run_alone(pool->context, grid);
    const int left_out = run_together(pool, grid);
    pthread_mutex_unlock(&pool->turn);
    return left_out;
}

struct guest { /* what a caller's runner is given */
    struct diffc_context *context;
    const struct dfi_grid *grid;
    atomic_int left_out;
};

static void run_guest(void *opaque, int index, int worker)
{
    struct guest *guest = opaque;
    struct dfi_float_mode saved;
    if (stopped(guest->context, guest->grid)) {
        atomic_store(&guest->left_out, 1);
        return;
    }
    dfi_float_enter(&saved, 1);
    guest->grid->task(guest->grid->work, index, worker);
    dfi_float_leave(&saved);
}

/* 1 if pieces were left out. */
static int run_grid(struct diffc_context *context, const struct dfi_grid *grid)
{
    if (grid->count <= 0)
        return 0;
    if (context->runner) {
        struct guest guest = { .context = context, .grid = grid };
        context->runner(context->runner_opaque, run_guest, &guest, grid->count);
        return atomic_load(&guest.left_out);
    }
    struct dfi_float_mode saved;
    dfi_float_enter(&saved, 1);
    const int left_out = context->pool ? dfi_pool_run(context->pool, grid) : run_alone(context, grid);
    dfi_float_leave(&saved);
    return left_out;
}

int dfi_parallel(struct diffc_context *context, diffc_task_fn task, void *work, int count)
{
    const struct dfi_grid grid = { task, work, count, 0 };
    if (!run_grid(context, &grid))
        return DIFFC_OK;
    (void)dfi_cancel_take(context);
    return dfi_fail(DIFFC_ERR_CANCELLED, "cancelled");
}

void dfi_parallel_whole(struct diffc_context *context, diffc_task_fn task, void *work, int count)
{
    const struct dfi_grid grid = { task, work, count, 1 };
    (void)run_grid(context, &grid);
}
