#ifndef EX_OPTIONS_H
#define EX_OPTIONS_H

#include "arguments.h"

/* The options that the programs on MNIST have. Zero and NULL mean that the option was not given. */
struct ex_options {
    const char *command; /* the word before the options, if the program has commands */
    const char *data, *out, *weights;
    uint64_t seed;       /* default 180 */
    int threads, memory; /* MiB */
    const char *precision, *numerics;
    int epochs, batch;
    double learning_rate;
    int width;
    const char *time;
    int timesteps;
    struct ex_reals guidance;
    int resume, quiet;
};

/* Reads the command line; returns as ex_arguments_read(). */
int ex_options_read(struct ex_options *options, const struct ex_program *program, int argc, char **argv);

/* A context with the chosen number of threads and memory; its warnings go to stderr. */
int ex_context_open(const struct ex_options *options, diffc_context **context);

#endif
