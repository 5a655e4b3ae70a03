#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

#define OPTIONS_MAX 48

static int list_common(struct ex_options *o, struct ex_option *list)
{
    const struct ex_option common[] = {
        { "data", EX_TEXT, &o->data, 0, 0, "DIR",
          "folder with the IDX files (default: the 1,000 shipped images)" },
        { "out", EX_TEXT, &o->out, 0, 0, "DIR", "folder for all results (default: out/NAME-OF-THE-RUN)" },
        { "weights", EX_TEXT, &o->weights, 0, 0, "FILE", "weights, a safetensors file" },
        { "seed", EX_SEED, &o->seed, 0, 0, "N", "of all random numbers (default 180)" },
        { "threads", EX_INT, &o->threads, 1, 1024, "N", "default: the CPUs of this process" },
        { "precision", EX_CHOICE, &o->precision, 0, 0, "fp32|bf16", "default fp32" },
        { "numerics", EX_CHOICE, &o->numerics, 0, 0, "default|exact|fast",
          "how sums may be rearranged for speed" },
        { "epochs", EX_INT, &o->epochs, 1, 1000000, "N", "passes over the training images" },
        { "batch", EX_INT, &o->batch, 1, 4096, "N", "images per step" },
        { "lr", EX_REAL, &o->learning_rate, 1e-12, 1e3, "X", "learning rate of Adam" },
        { "width", EX_INT, &o->width, 1, 4096, "D", "channels of the first level of the UNet" },
        { "time", EX_CHOICE, &o->time, 0, 0, "add|mul", "how the UNet takes the time in" },
        { "timesteps", EX_INT, &o->timesteps, 1, 10000, "N",
          "steps of the noise schedule, or of the flow's solver" },
        { "guidance", EX_REALS, &o->guidance, -1000, 1000, "X[,X...]",
          "strength of classifier-free guidance" },
        { "resume", EX_FLAG, &o->resume, 0, 0, NULL, "go on from the newest checkpoint in DIR/checkpoints" },
        { "quiet", EX_FLAG, &o->quiet, 0, 0, NULL, "no progress, only results and errors" },
    };
    memcpy(list, common, sizeof common);
    return (int)(sizeof common / sizeof common[0]);
}

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
        if (end == text || *end || errno || !isdigit((unsigned char)*text))
            return bad(option, text, "a whole number in 0 .. 2^64 - 1");
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
    case EX_TEXT:
        if (!*text)
            return bad(option, text, "a name");
        *(const char **)option->target = text;
        return 0;
    }
    return 0;
}

static void print_help(const struct ex_program *program, const struct ex_option *list, int count)
{
    const char *command = program->commands ? " [COMMAND]" : "";
    printf("usage: %s%s [OPTIONS]\n%s\n", program_invocation_short_name, command, program->about);
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
static int read_command(struct ex_options *options, const struct ex_program *program, int *argc, char ***argv)
{
    static char first[64];
    if (!program->commands)
        return 0;
    if (*argc < 2 || (*argv)[1][0] == '-') {
        snprintf(first, sizeof first, "%.*s", (int)strcspn(program->commands, "|"), program->commands);
        options->command = first;
        return 0;
    }
    options->command = (*argv)[1];
    if (!ex_holds(program->commands, '|', options->command))
        return ex_error(EX_USAGE, "command", "\"%s\" is not %s", options->command, program->commands);
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
                                     NULL, 256 + i };
    table[count] = (struct option) { "help", no_argument, NULL, 'h' };
    table[count + 1] = (struct option) { "version", no_argument, NULL, 'v' };
    opterr = 0;
    for (;;) {
        int got = getopt_long(argc, argv, ":h", table, NULL);
        if (got == -1)
            break;
        if (got == 'h') {
            print_help(program, list, count);
            return ex_end(0, NULL);
        }
        if (got == 'v') {
            printf("%s (libdiffc) %s\n", program_invocation_short_name, diffc_version());
            return ex_end(0, NULL);
        }
        if (got == ':')
            return ex_error(EX_USAGE, argv[optind - 1], "needs a value");
        if (got == '?')
            return ex_error(EX_USAGE, argv[optind - 1],
                            optopt >= 256 ? "takes no value" : "unknown option (see --help)");
        const struct ex_option *option = &list[got - 256];
        int code = read_value(option, optarg);
        if (code)
            return code;
        given[got - 256] = 1;
    }
    if (optind < argc)
        return ex_error(EX_USAGE, argv[optind], "one argument too many (see --help)");
    return -1;
}

int ex_options_read(struct ex_options *options, const struct ex_program *program, int argc, char **argv)
{
    struct ex_option list[OPTIONS_MAX];
    char given[OPTIONS_MAX] = { 0 };
    *options = (struct ex_options) { .seed = 180, .precision = "fp32" };
    int count = list_common(options, list);
    for (int i = 0; i < program->own_count; i++)
        list[count++] = program->own[i];
    int code = read_command(options, program, &argc, &argv);
    if (!code)
        code = read_all(program, list, count, argc, argv, given);
    if (code >= 0)
        return code;
    if (strcmp(options->precision, "fp32"))
        return ex_error(EX_USAGE, "--precision", "%s is not in this version of the library (fp32 is)",
                        options->precision);
    for (int i = 0; i < count; i++)
        if (given[i] && ex_holds(program->unused, ' ', list[i].name))
            fprintf(stderr, "%s: note: --%s has no effect here\n", program_invocation_short_name,
                    list[i].name);
    return -1;
}

static void print_line(void *opaque, int level, const char *line)
{
    (void)opaque;
    (void)level;
    fprintf(stderr, "%s: note: %s\n", program_invocation_short_name, line);
}

int ex_context_open(const struct ex_options *options, diffc_context **context)
{
    diffc_context_options settings = DIFFC_CONTEXT_OPTIONS;
    settings.threads = options->threads;
    settings.log = print_line;
    int status = diffc_context_create(&settings, context);
    return status ? ex_failed("context", status) : 0;
}
