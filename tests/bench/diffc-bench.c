/* Measures kernels and whole steps as shares of what the machine can do. See --help. */

#include <getopt.h>
#include <jansson.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "roof.h"

double bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void bench_check(int status)
{
    if (status < 0) {
        fprintf(stderr, "diffc-bench: %s\n", diffc_message());
        exit(1);
    }
}

void bench_reset_peak(void)
{
    malloc_trim(0); /* what the allocator kept from earlier rows would be taken for nothing by the next one */
    FILE *control = fopen("/proc/self/clear_refs", "w");
    if (control) {
        fputs("5", control);
        fclose(control);
    }
}

double bench_peak_memory(void)
{
    char line[256];
    double kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof(line), status))
        if (sscanf(line, "VmHWM: %lf kB", &kilobytes) == 1)
            break;
    if (status)
        fclose(status);
    return kilobytes * 1024;
}

void *bench_memory(size_t bytes)
{
    float *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        fprintf(stderr, "diffc-bench: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        memory[i] = (float)(i * 7919 % 2001) / 1000.0f - 1;
    return memory;
}

int bench_wants(const struct bench *bench, const char *name)
{
    if (bench->filter && !strstr(name, bench->filter))
        return 0;
    if (bench->list_only)
        puts(name);
    return !bench->list_only;
}

#define ROOF_ROUNDS 200000
#define MOST_THREADS 64
#define MOST_BATCH 4096

struct roof {
    double (*run)(int rounds);
    double operations[MOST_THREADS];
};

static void roof_piece(void *work, int index, int worker)
{
    struct roof *roof = work;
    (void)worker;
    roof->operations[index] = roof->run(ROOF_ROUNDS);
}

static double measure_roof(const struct bench *bench, int dots)
{
    struct roof roof = { .run = bench_roof_c };
    double operations = 0;
#if defined(__x86_64__)
    if (strcmp(bench->isa, "avx512") == 0)
        roof.run = bench_roof_avx512;
    else if (strcmp(bench->isa, "avx2") == 0)
        roof.run = bench_roof_avx2;
#endif
#if BENCH_HAVE_DOTS
    if (dots)
        roof.run = bench_roof_dots;
#else
    (void)dots;
#endif
    const double start = bench_now();
    dfi_parallel(bench->context, roof_piece, &roof, bench->threads);
    for (int i = 0; i < bench->threads; i++)
        operations += roof.operations[i];
    return operations / (bench_now() - start) * 1e-9;
}

void bench_report(struct bench *bench, const struct bench_row *row, double seconds, double roof)
{
    const double rate = seconds > 0 ? row->gflop / seconds : 0;
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:f}", "name", row->name, "shape", row->shape,
                               "dtype", row->dtype ? row->dtype : "f32", "isa", bench->isa, "threads",
                               bench->threads, "algorithm", row->algorithm ? row->algorithm : "", "seconds",
                               seconds);
    printf("%-28s %-26s %-12s %-4s %-7s x%d %10.3f ms", row->name, row->shape,
           row->numerics    ? row->numerics
           : row->algorithm ? row->algorithm
                            : "",
           row->dtype ? row->dtype : "f32", bench->isa, bench->threads, seconds * 1e3);
    if (row->gflop > 0) {
        json_object_set_new(object, "gflops", json_real(rate));
        json_object_set_new(object, "roof_gflops", json_real(roof));
        json_object_set_new(object, "ratio", json_real(rate / roof));
        printf("  %7.1f of %6.1f GFLOP/s = %.3f", rate, roof, rate / roof);
    }
    if (row->gigabytes > 0) {
        json_object_set_new(object, "gigabytes_per_second", json_real(row->gigabytes / seconds));
        printf("  %6.1f GB/s", row->gigabytes / seconds);
    }
    if (bench->precision)
        json_object_set_new(object, "precision", json_string(bench->precision));
    if (row->numerics)
        json_object_set_new(object, "numerics", json_string(row->numerics));
    if (row->images > 0 && seconds > 0) {
        json_object_set_new(object, "images_per_second", json_real(row->images / seconds));
        printf("  %7.1f images/s", row->images / seconds);
    }
    if (row->measured_bytes > 0) {
        json_object_set_new(object, "predicted_bytes", json_real(row->predicted_bytes));
        json_object_set_new(object, "measured_bytes", json_real(row->measured_bytes));
        printf("  %.1f MB predicted, %.1f MB measured", row->predicted_bytes / 1e6,
               row->measured_bytes / 1e6);
    }
    putchar('\n');
    fflush(stdout);
    json_array_append_new(bench->rows, object);
}

void bench_see_roof(struct bench *bench, int dots, int times)
{
    for (int i = 0; i < times; i++) {
        const double roof = measure_roof(bench, dots);
        bench->roof[dots] = roof > bench->roof[dots] ? roof : bench->roof[dots];
    }
}

void bench_measure(struct bench *bench, const struct bench_row *row, void (*work)(void *), void *argument)
{
    double best = 1e30;
    const double start = bench_now();
    work(argument);
    if (row->gflop > 0)
        bench_see_roof(bench, row->dots, 5); /* the first ones wake the threads */
    for (int run = 0; run < 3 || bench_now() - start < bench->seconds; run++) {
        const double begin = bench_now();
        work(argument);
        const double seconds = bench_now() - begin;
        best = seconds < best ? seconds : best;
        if (row->gflop > 0)
            bench_see_roof(bench, row->dots, 1);
    }
    bench_report(bench, row, best, bench->roof[row->dots]);
}

static void usage(FILE *stream)
{
    fputs(
        "usage: diffc-bench [--json FILE] [--filter NAME] [--threads N] [--isa avx2|avx512|c]\n"
        "           [--seconds S] [--batch N] [--list]\n"
        "       diffc-bench --plan [--sampling] [--width D] [--batch N] [--numerics exact|default|fast]\n"
        "           [--precision fp32|bf16] [...]\n"
        "       diffc-bench [--plan] --models DIR [--precision fp32|bf16] [...]\n"
        "Runs every kernel and whole steps, best of many runs, beside the machine's register-only roof\n"
        "measured in between. --filter takes the rows whose name contains NAME; --threads 0, the default,\n"
        "measures with one thread and with all; --seconds is the time for a row, default 0.6; --batch is\n"
        "that of the convolutions, default 64. --plan prints what training the course's UNet (width 64,\n"
        "batch 128) does node by node, and the time that each took; with --sampling instead what a guided\n"
        "prediction does (batch 40, at most 256), like nodes together. --models takes instead the networks\n"
        "whose folders lie in DIR: I-M, I-L, I-XL, II-M, II-L, T5-XXL, as make_model writes them.\n",
        stream);
}

struct settings {
    const char *json, *filter, *isa, *models;
    const char *numerics;             /* with --plan */
    const char *precision;            /* with --plan and --models */
    int plan, sampling, width, batch; /* batch 0: as many as usual */
    int threads, list_only;
    double seconds;
};

static void read_arguments(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        { "json", required_argument, NULL, 'j' },
        { "filter", required_argument, NULL, 'f' },
        { "threads", required_argument, NULL, 't' },
        { "isa", required_argument, NULL, 'i' },
        { "seconds", required_argument, NULL, 's' },
        { "list", no_argument, NULL, 'l' },
        { "plan", no_argument, NULL, 'p' },
        { "sampling", no_argument, NULL, 'g' },
        { "width", required_argument, NULL, 'w' },
        { "batch", required_argument, NULL, 'b' },
        { "numerics", required_argument, NULL, 'n' },
        { "precision", required_argument, NULL, 'r' },
        { "models", required_argument, NULL, 'm' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'j': settings->json = optarg; break;
        case 'f': settings->filter = optarg; break;
        case 't': settings->threads = atoi(optarg); break;
        case 'i': settings->isa = optarg; break;
        case 's': settings->seconds = atof(optarg); break;
        case 'p': settings->plan = 1; break;
        case 'g': settings->sampling = 1; break;
        case 'w': settings->width = atoi(optarg); break;
        case 'b': settings->batch = atoi(optarg); break;
        case 'n': settings->numerics = optarg; break;
        case 'r': settings->precision = optarg; break;
        case 'm': settings->models = optarg; break;
        case 'l': settings->list_only = 1; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (optind < argc || settings->threads < 0 || settings->threads > MOST_THREADS || settings->seconds < 0 ||
        settings->batch < 0 || settings->batch > MOST_BATCH ||
        (settings->sampling && (!settings->plan || settings->batch > 256))) {
        usage(stderr);
        exit(2);
    }
}

/* All rows for one instruction set and number of threads. */
static void run_all(const struct settings *settings, const char *isa, uint32_t mask, int threads,
                    json_t *rows)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    struct bench bench = { .isa = isa,
                           .filter = settings->filter,
                           .precision = settings->precision,
                           .threads = threads,
                           .batch = settings->batch,
                           .list_only = settings->list_only,
                           .seconds = settings->seconds,
                           .rows = rows };
    options.threads = threads;
    options.cpu_mask = mask;
    if (diffc_context_create(&options, &bench.context) < 0) {
        fprintf(stderr, "diffc-bench: %s\n", diffc_message());
        exit(1);
    }
    const uint32_t flags = diffc_context_cpu_flags(bench.context);
    const int have = strcmp(isa, "c") == 0 || (strcmp(isa, "avx2") == 0 && (flags & DIFFC_CPU_AVX2)) ||
                     (strcmp(isa, "avx512") == 0 && (flags & DIFFC_CPU_AVX512));
    if (have && settings->models && settings->plan) {
        bench_if_plan(&bench, settings->models, settings->numerics);
    } else if (have && settings->models) {
        bench_if(&bench, settings->models, settings->numerics);
    } else if (have && settings->sampling) {
        bench_sampling_plan(&bench, settings->width, settings->batch ? settings->batch : 40,
                            settings->numerics);
    } else if (have && settings->plan) {
        bench_plan(&bench, settings->width, settings->batch ? settings->batch : 128, settings->numerics);
    } else if (have) {
        bench_convolutions(&bench);
        bench_kernels(&bench);
        bench_steps(&bench);
    }
    diffc_release(&bench.context);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *isa;
        uint32_t mask;
    } sets[] = { { "avx512", DIFFC_CPU_AVX2 | DIFFC_CPU_AVX512 | DIFFC_CPU_AVX512_BF16 },
                 { "avx2", DIFFC_CPU_AVX2 },
                 { "c", DIFFC_CPU_NONE } };
    struct settings settings = { .seconds = 0.6, .width = 64 };
    read_arguments(argc, argv, &settings);
    diffc_context *probe = NULL;
    if (diffc_context_create(NULL, &probe) < 0)
        return 1;
    const int all = diffc_context_threads(probe);
    diffc_release(&probe);

    json_t *rows = json_array();
    for (int i = 0; i < DFI_COUNT(sets); i++) {
        /* Plain C is slow and of no interest unless asked for. */
        if (settings.isa ? strcmp(settings.isa, sets[i].isa) != 0 : strcmp(sets[i].isa, "c") == 0)
            continue;
        const int first = settings.threads ? settings.threads : settings.plan ? all : 1;
        const int last = settings.threads ? settings.threads : all;
        run_all(&settings, sets[i].isa, sets[i].mask, first, rows);
        if (last != first && !settings.list_only)
            run_all(&settings, sets[i].isa, sets[i].mask, last, rows);
    }
    if (settings.json && json_dump_file(rows, settings.json, JSON_INDENT(1)) != 0) {
        fprintf(stderr, "diffc-bench: %s: cannot write\n", settings.json);
        return 1;
    }
    json_decref(rows);
    return 0;
}
