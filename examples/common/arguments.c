#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"

#define OPTIONS_MAX 48

enum { FIRST = 256, HELP = FIRST + OPTIONS_MAX, VERSION }; /* above all letters: numbers of options */

int ex_holds(const char *list, char divider, const char *word)
{
    size_t length = strlen(word);
    if (strchr(word, divider))
        return 0;
    for (const char *at = list; at && *at; at = strchr(at, divider), at = at ? at + 1 : NULL)
        if (!strncmp(at, word, length) && (at[length] == divider || at[length] == '\0'))
            return length > 0;
    return 0;
}

static int bad(const struct ex_option *option, const char *text, const char *expected)
{
    char what[128];
    snprintf(what, sizeof what, "--%s", option->name);
    return ex_error(EX_USAGE, what, "\"%s\" is not %s", text, expected);
}

static int out_of_range(const struct ex_option *option, const char *text)
{
    char expected[96];
    snprintf(expected, sizeof expected, "in %.15g .. %.15g", option->low, option->high);
    return bad(option, text, expected);
}

static int read_real(const struct ex_option *option, const char *text, char **end, double *value)
{
    *value = strtod(text, end);
    if (*end == text || isspace((unsigned char)*text) || !isfinite(*value))
        return bad(option, text, "a number");
    if (*value < option->low || *value > option->high)
        return out_of_range(option, text);
    return 0;
}

static int read_reals(const struct ex_option *option, const char *text)
{
    struct ex_reals list = { 0 };
    const char *at = text;
    for (;;) {
        char *end;
        if (list.count == EX_REALS_MAX)
            return bad(option, text, "a list of at most 32 numbers");
        int code = read_real(option, at, &end, &list.value[list.count++]);
        if (code)
            return code;
        if (*end == '\0')
            break;
        if (*end != ',')
            return bad(option, text, "a list of numbers such as 0,1,2.5");
        at = end + 1;
    }
    *(struct ex_reals *)option->target = list;
    return 0;
}

static int read_value(const struct ex_option *option, const char *text)
{
    char *end = NULL;
    double real;
    int code;
    errno = 0;
    switch (option->kind) {
    case EX_FLAG: *(int *)option->target = 1; return 0;
    case EX_INT: {
        long value = strtol(text, &end, 10);
        if (end == text || *end || isspace((unsigned char)*text))
            return bad(option, text, "a whole number");
        if (errno || (double)value < option->low || (double)value > option->high)
            return out_of_range(option, text);
        *(int *)option->target = (int)value;
        return 0;
    }
    case EX_SEED: {
        unsigned long long value = strtoull(text, &end, 10);
        /* JSON has no larger one. */
        if (end == text || *end || errno || !isdigit((unsigned char)*text) || value > INT64_MAX)
            return bad(option, text, "a whole number in 0 .. 2^63 - 1");
        *(uint64_t *)option->target = value;
        return 0;
    }
    case EX_REAL:
        code = read_real(option, text, &end, &real);
        if (!code && *end)
            code = bad(option, text, "a number");
        if (!code)
            *(double *)option->target = real;
        return code;
    case EX_REALS: return read_reals(option, text);
    case EX_CHOICE:
        if (!ex_holds(option->argument, '|', text))
            return bad(option, text, option->argument);
        *(const char **)option->target = text;
        return 0;
    case EX_STRING: *(const char **)option->target = text; return 0;
    case EX_STRINGS: {
        struct ex_strings *list = option->target;
        if (list->count == EX_STRINGS_MAX)
            return bad(option, text, "one of the first 64");
        list->value[list->count++] = text;
        return 0;
    }
    case EX_TEXT:
        if (!*text)
            return bad(option, text, "a name");
        *(const char **)option->target = text;
        return 0;
    }
    return 0;
}

int ex_check_whole(const char *option, const struct ex_reals *list)
{
    for (int i = 0; i < list->count; i++)
        if (list->value[i] != floor(list->value[i]))
            return ex_error(EX_USAGE, option, "%g is not a whole number", list->value[i]);
    return 0;
}

static void print_help(const struct ex_program *program, const struct ex_option *list, int count)
{
    const char *command = program->commands ? " [COMMAND]" : "", *operand = program->operand;
    printf("usage: %s%s [OPTIONS]%s%s\n%s\n", program_invocation_short_name, command, operand ? " " : "",
           operand ? operand : "", program->about);
    if (program->commands)
        printf("\ncommands: %s (the first one is the default)\n", program->commands);
    printf("\noptions:\n");
    for (int i = 0; i < count; i++) {
        if (ex_holds(program->unused, ' ', list[i].name))
            continue;
        char head[96];
        snprintf(head, sizeof head, "--%s%s%s", list[i].name, list[i].argument ? " " : "",
                 list[i].argument ? list[i].argument : "");
        printf("  %-34s %s\n", head, list[i].help);
    }
    printf("  %-34s %s\n  %-34s %s\n", "--help", "this text", "--version", "version of the program");
}

/* The command is a first argument that is no option. */
static int read_command(const char **command, const struct ex_program *program, int *argc, char ***argv)
{
    static char first[64];
    if (!program->commands)
        return 0;
    if (*argc < 2 || (*argv)[1][0] == '-') {
        snprintf(first, sizeof first, "%.*s", (int)strcspn(program->commands, "|"), program->commands);
        *command = first;
        return 0;
    }
    *command = (*argv)[1];
    if (!ex_holds(program->commands, '|', *command))
        return ex_error(EX_USAGE, "command", "\"%s\" is not %s", *command, program->commands);
    ++*argv;
    --*argc;
    return 0;
}

/* `given` gets a 1 for each option that was there. */
static int read_all(const struct ex_program *program, const struct ex_option *list, int count, int argc,
                    char **argv, char *given)
{
    struct option table[OPTIONS_MAX + 3] = { { 0 } };
    for (int i = 0; i < count; i++)
        table[i] = (struct option) { list[i].name, list[i].kind == EX_FLAG ? no_argument : required_argument,
                                     NULL, FIRST + i };
    table[count] = (struct option) { "help", no_argument, NULL, HELP };
    table[count + 1] = (struct option) { "version", no_argument, NULL, VERSION };
    opterr = 0;
    for (;;) {
        int got = getopt_long(argc, argv, ":h", table, NULL);
        if (got == -1)
            break;
        if (got == HELP || got == 'h') {
            print_help(program, list, count);
            return ex_end(0, NULL);
        }
        if (got == VERSION) {
            printf("%s (libdiffc) %s\n", program_invocation_short_name, diffc_version());
            return ex_end(0, NULL);
        }
        if (got == ':')
            return ex_error(EX_USAGE, argv[optind - 1], "needs a value");
        if (got == '?') { /* optopt: of a long option that takes no value, or a single letter */
            const char letter[3] = { '-', (char)optopt, '\0' };
            return ex_error(EX_USAGE, optopt > 0 && optopt < FIRST ? letter : argv[optind - 1],
                            optopt >= FIRST ? "takes no value" : "unknown option (see --help)");
        }
        const struct ex_option *option = &list[got - FIRST];
        int code = read_value(option, optarg);
        if (code)
            return code;
        given[got - FIRST] = 1;
    }
    if (program->operand && optind == argc)
        return ex_error(EX_USAGE, program->operand, "must be given (see --help)");
    if (program->operand)
        *program->operand_target = argv[optind++];
    if (optind < argc)
        return ex_error(EX_USAGE, argv[optind], "one argument too many (see --help)");
    return -1;
}

static int is_unused(const struct ex_program *program, const char *command, const char *name)
{
    int unused = ex_holds(program->unused, ' ', name);
    for (int i = 0; command && i < EX_UNUSED_MAX; i++)
        unused |= ex_holds(program->unused_by[i].commands, '|', command) &&
                  ex_holds(program->unused_by[i].names, ' ', name);
    return unused;
}

int ex_arguments_read(const struct ex_program *program, const struct ex_option *common, int common_count,
                      const char **command, int argc, char **argv)
{
    struct ex_option list[OPTIONS_MAX];
    char given[OPTIONS_MAX] = { 0 };
    int count = common_count + program->own_count;
    memcpy(list, common, (size_t)common_count * sizeof *list);
    if (program->own_count)
        memcpy(list + common_count, program->own, (size_t)program->own_count * sizeof *list);
    int code = read_command(command, program, &argc, &argv);
    if (!code)
        code = read_all(program, list, count, argc, argv, given);
    for (int i = 0; i < count && code < 0; i++)
        if (given[i] && is_unused(program, command ? *command : NULL, list[i].name))
            fprintf(stderr, "%s: note: --%s has no effect here\n", program_invocation_short_name,
                    list[i].name);
    return code;
}
