#ifndef EX_ARGUMENTS_H
#define EX_ARGUMENTS_H

#include "support.h"

#define EX_REALS_MAX 32

struct ex_reals { /* a list such as 0,1,2.5 */
    int count;
    double value[EX_REALS_MAX];
};

#define EX_UNUSED_MAX 4
#define EX_STRINGS_MAX 64

struct ex_strings { /* of an option that may be given several times */
    int count;
    const char *value[EX_STRINGS_MAX];
};

enum ex_kind { EX_FLAG, EX_INT, EX_SEED, EX_REAL, EX_REALS, EX_TEXT, EX_STRING, EX_STRINGS, EX_CHOICE };

/* One option. `target` is an int (FLAG, INT), uint64_t (SEED), double, struct ex_reals, struct ex_strings or
 * const char *; a STRING may be empty. */
struct ex_option {
    const char *name;
    enum ex_kind kind;
    void *target;
    double low, high;     /* of numbers, both allowed */
    const char *argument; /* as the help names it; of CHOICE: "one|two" */
    const char *help;
};

/* How a program is called. */
struct ex_program {
    const char *about;    /* first lines of the help */
    const char *commands; /* "train|sample", NULL if there are none; the first one is the default */
    const char *operand;  /* the help's name of an argument that must be there and is no option; NULL: none */
    const char **operand_target;
    const struct ex_option *own;
    int own_count;
    const char *unused; /* names of common options that have no effect in it: "width time" */
    /* The same of some commands: "show|test", "epochs sigma". */
    struct {
        const char *commands, *names;
    } unused_by[EX_UNUSED_MAX];
};

/* Reads the command line: the options that programs share and those of this one. Returns -1 to go on,
 * otherwise the exit code (0 after --help and --version). `command` may be NULL for a program without. */
int ex_arguments_read(const struct ex_program *program, const struct ex_option *common, int common_count,
                      const char **command, int argc, char **argv);

/* Refuses a list that is not of whole numbers. */
int ex_check_whole(const char *option, const struct ex_reals *list);

/* Is `word` one of the words of `list`, which `divider` stands between? */
int ex_holds(const char *list, char divider, const char *word);

#endif
