#ifndef EX_OPTIONS_H
#define EX_OPTIONS_H

#include "support.h"

#define EX_REALS_MAX 32

struct ex_reals { /* a list such as 0,1,2.5 */
    int count;
    double value[EX_REALS_MAX];
};

enum ex_kind { EX_FLAG, EX_INT, EX_SEED, EX_REAL, EX_REALS, EX_TEXT, EX_STRING, EX_CHOICE };

/* One option. `target` is an int (FLAG, INT), uint64_t (SEED), double, struct ex_reals or const char *;
 * a STRING may be empty. */
struct ex_option {
    const char *name;
    enum ex_kind kind;
    void *target;
    double low, high;     /* of numbers, both allowed */
    const char *argument; /* as the help names it; of CHOICE: "one|two" */
    const char *help;
};

/* The options that all programs have. Zero and NULL mean that the option was not given. */
struct ex_options {
    const char *command; /* the word before the options, if the program has commands */
    const char *data, *out, *weights;
    uint64_t seed; /* default 180 */
    int threads;
    const char *precision, *numerics;
    int epochs, batch;
    double learning_rate;
    int width;
    const char *time;
    int timesteps;
    struct ex_reals guidance;
    int resume, quiet;
};

/* How a program is called. */
struct ex_program {
    const char *about;    /* first lines of the help */
    const char *commands; /* "train|sample", NULL if there are none; the first one is the default */
    const struct ex_option *own;
    int own_count;
    const char *unused; /* names of common options that have no effect in it: "width time" */
};

/* Reads the command line. Returns -1 to go on, otherwise the exit code (0 after --help and --version). */
int ex_options_read(struct ex_options *options, const struct ex_program *program, int argc, char **argv);

/* Is `word` one of the words of `list`, which `divider` stands between? */
int ex_holds(const char *list, char divider, const char *word);

/* A context with the chosen number of threads; its warnings go to stderr. */
int ex_context_open(const struct ex_options *options, diffc_context **context);

#endif
