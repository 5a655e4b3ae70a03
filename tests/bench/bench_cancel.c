/* How soon work ends that is cancelled. */

#include <diffc/diffc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench.h"

#define CANCELS 100
#define CANCELS_OF_LONG 20 /* of what takes more than half a second */

struct run {
    int (*work)(void *argument);
    void *argument;
    double ended; /* -1: it was not cancelled */
};

static void *run_apart(void *argument)
{
    struct run *run = argument;
    run->ended = run->work(run->argument) == DIFFC_ERR_CANCELLED ? bench_now() : -1;
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double cancel_at(const struct bench *bench, struct run *run, double seconds)
{
    const struct timespec wait = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    pthread_t thread;
    if (pthread_create(&thread, NULL, run_apart, run))
        exit(1);
    nanosleep(&wait, NULL);
    const double asked = bench_now();
    diffc_context_cancel(bench->context);
    pthread_join(thread, NULL);
    return run->ended < 0 ? 0 : run->ended - asked;
}

void bench_cancel(struct bench *bench, const struct bench_row *row, int (*work)(void *argument),
                  void *argument)
{
    struct run run = { work, argument, 0 };
    struct bench_row told = *row;
    double latency[CANCELS];
    bench_check(work(argument));
    const double begin = bench_now();
    bench_check(work(argument));
    const double step = bench_now() - begin;
    const int count = step > 0.5 ? CANCELS_OF_LONG : CANCELS;
    for (int i = 0; i < count; i++)
        latency[i] = cancel_at(bench, &run, step * 0.95 * i / count);
    qsort(latency, (size_t)count, sizeof(*latency), by_value);
    snprintf(told.shape, sizeof(told.shape), "p99; median %.1f ms", latency[count / 2] * 1e3);
    bench_report(bench, &told, latency[count - 1 - count / 100], 0);
}
