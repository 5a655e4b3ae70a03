#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include "base/context.h"

/* One measurement. Rates are best of many runs; the roof is the best seen so far, measured before and between
 * them. */
struct bench_row {
    const char *name;
    char shape[64];
    const char *algorithm; /* NULL: none to name */
    const char *numerics;  /* of a whole step; NULL: does not matter */
    const char *dtype;     /* of weights in a file, of values in a step; NULL: f32 */
    double gflop;          /* of one run, counted as a direct computation; 0: no arithmetic to speak of */
    double gigabytes;      /* moved by one run; 0: not counted */
    double images;         /* of one run; 0: none */
    double predicted_bytes, measured_bytes; /* memory rows */
    int dots;                               /* 1: the roof is that of products of bfloat16 */
};

struct bench {
    struct diffc_context *context;
    const char *isa; /* "c", "avx2", "avx512" */
    const char *filter;
    const char *precision; /* of full-size networks and plans; NULL: fp32 */
    int threads, list_only;
    int batch;      /* of a convolution; 0: 64 */
    double seconds; /* time for a row */
    double roof[2]; /* best seen so far: of float, of products of bfloat16 */
    struct json_t *rows;
};

/* Whether a row of that name is wanted; lists it when only names are. */
int bench_wants(const struct bench *bench, const char *name);

/* Runs `work` again and again between measurements of the roof, prints the row and keeps it. */
void bench_measure(struct bench *bench, const struct bench_row *row, void (*work)(void *), void *argument);

/* From diffc_context_cancel() to the end of the work, asked for at times spread over it: the row's time is
 * the 99th percentile. */
void bench_cancel(struct bench *bench, const struct bench_row *row, int (*work)(void *argument),
                  void *argument);

/* A row without a run of its own. */
void bench_report(struct bench *bench, const struct bench_row *row, double seconds, double roof);

/* Measures some times, for bench->roof, the GFLOP/s of multiply-adds on registers alone, all threads of the
 * context at once, in the instruction set of the row; `dots`: of pairs of bfloat16. */
void bench_see_roof(struct bench *bench, int dots, int times);

double bench_now(void);
void bench_check(int status);     /* ends the program with the library's message if status is negative */
void bench_reset_peak(void);      /* makes the peak resident set what is resident now */
double bench_peak_memory(void);   /* peak resident set, bytes */
void *bench_memory(size_t bytes); /* touched, filled with small numbers; for free() */

void bench_convolutions(struct bench *bench);
void bench_kernels(struct bench *bench);
void bench_steps(struct bench *bench);

/* The course's UNet for DDPM with classes, random weights. */
struct diffc_model *bench_unet(struct bench *bench, int width);

/* Prints the training plan of this UNet: for each node its algorithms, work, bytes, the time that the roof
 * predicts, and the time it took. */
void bench_plan(struct bench *bench, int width, int batch, const char *numerics);

/* The profile of a guided prediction by this UNet. */
void bench_sampling_plan(struct bench *bench, int width, int batch, const char *numerics);

/* Work of the forward pass of a node in a run of the present size, counted as a direct computation. */
struct dfi_exec;
double bench_node_gflop(const struct dfi_exec *exec, int number);

/* Runs the forward pass node by node and prints the time of each kind of node. */
void bench_profile(struct bench *bench, struct dfi_exec *exec, const char *title);

/* Rows and plans of the networks in folders; `numerics` NULL: all that there are. */
void bench_if(struct bench *bench, const char *folders, const char *numerics);
void bench_if_plan(struct bench *bench, const char *folders, const char *numerics);

#endif
