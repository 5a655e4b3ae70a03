/* Runs a program by backtracking. A place of the program at a place of the text that has failed once fails
 * again, so each is tried once (the bit-state search of RE2). */

#include <string.h>

#include "text/regex_code.h"

struct job { /* go on there, or (at < 0) put a group's border back */
    int at;
    int group;
    size_t position;
};

struct search {
    struct diffc_context *context;
    const struct dfi_regex *regex;
    const uint32_t *text;
    size_t count, row; /* bytes per position in `tried` */
    unsigned char *tried;
    struct job *jobs;
    size_t job_count, job_capacity;
    size_t group[2]; /* of the first group */
    int status;
};

static void push(struct search *search, int at, int group, size_t position)
{
    if (search->job_count == search->job_capacity) {
        const size_t old = search->job_capacity, more = old ? 2 * old : 256;
        struct job *bigger = dfi_realloc(search->context, search->jobs, old * sizeof(*bigger),
                                         more * sizeof(*bigger));
        if (!bigger) {
            search->status = DIFFC_ERR_NOMEM;
            return;
        }
        search->jobs = bigger;
        search->job_capacity = more;
    }
    search->jobs[search->job_count++] = (struct job) { at, group, position };
}

static int is_word(const struct search *search, size_t position)
{
    return position < search->count && dfi_character_is_word(search->text[position]);
}

static int in_class(const struct dfi_regex *regex, const struct dfi_instruction *class, uint32_t c)
{
    int found = 0;
    for (int i = class->first; i < class->last && !found; i++)
        found = c >= regex->ranges[i][0] && c <= regex->ranges[i][1];
    if (!found && class->sets)
        found = ((class->sets & DFI_SET_DIGIT) && dfi_character_is_digit(c)) ||
                ((class->sets & DFI_SET_NO_DIGIT) && !dfi_character_is_digit(c)) ||
                ((class->sets & DFI_SET_WORD) && dfi_character_is_word(c)) ||
                ((class->sets & DFI_SET_NO_WORD) && !dfi_character_is_word(c)) ||
                ((class->sets & DFI_SET_SPACE) && dfi_character_is_space(c)) ||
                ((class->sets & DFI_SET_NO_SPACE) && !dfi_character_is_space(c));
    return found != class->negated;
}

/* Of an instruction that only looks: whether it lets the search pass; `step`: characters it takes. */
static int passes(const struct search *search, const struct dfi_instruction *i, size_t position, size_t *step)
{
    const int more = position < search->count;
    *step = i->op == DFI_OP_CHARACTER || i->op == DFI_OP_CLASS;
    switch (i->op) {
    case DFI_OP_CHARACTER: return more && search->text[position] == i->argument;
    case DFI_OP_CLASS: return more && in_class(search->regex, i, search->text[position]);
    case DFI_OP_BOUNDARY: return (position > 0 && is_word(search, position - 1)) != is_word(search, position);
    case DFI_OP_START: return position == 0;
    case DFI_OP_END: /* Python's: a line feed may follow */
        return !more || (position + 1 == search->count && search->text[position] == '\n');
    case DFI_OP_NOT_NEXT: return !more || search->text[position] != i->argument;
    default: return 1;
    }
}

/* From one job until it fails or the program ends: 1 and the end of the match. */
static int follow(struct search *search, int at, size_t position, size_t *end)
{
    for (;;) {
        unsigned char *tried = &search->tried[position * search->row + (size_t)at / 8];
        const struct dfi_instruction *i = &search->regex->code[at];
        size_t step;
        if (*tried >> at % 8 & 1)
            return 0;
        *tried |= (unsigned char)(1 << at % 8);
        if (i->op == DFI_OP_MATCH) {
            *end = position;
            return 1;
        }
        if (!passes(search, i, position, &step))
            return 0;
        position += step;
        if (i->op == DFI_OP_SPLIT)
            push(search, at + i->other, 0, position);
        if (i->op == DFI_OP_SAVE) {
            push(search, -1, (int)i->argument, search->group[i->argument]);
            search->group[i->argument] = position;
        }
        if (search->status)
            return 0;
        at += i->op == DFI_OP_SPLIT || i->op == DFI_OP_JUMP ? i->jump : 1;
    }
}

static int match_at(struct search *search, size_t start, size_t *end)
{
    search->job_count = 0;
    push(search, 0, 0, start);
    while (search->job_count > 0 && !search->status) {
        const struct job job = search->jobs[--search->job_count];
        if (job.at < 0)
            search->group[job.group] = job.position;
        else if (follow(search, job.at, job.position, end))
            return 1;
    }
    return 0;
}

static void put(struct dfi_bytes *result, const uint32_t *text, size_t count)
{
    dfi_bytes_put(result, text, count * sizeof(*text));
}

static void put_replacement(const struct search *search, const char *replacement, struct dfi_bytes *result)
{
    for (const char *p = replacement; *p; p++) {
        const uint32_t character = (unsigned char)*p;
        if (*p == '\\') {
            put(result, search->text + search->group[0], search->group[1] - search->group[0]);
            p++;
        } else {
            put(result, &character, 1);
        }
    }
}

static void replace_all(struct search *search, const char *replacement, struct dfi_bytes *result)
{
    size_t at = 0, end = 0;
    while (at < search->count && !search->status && !result->status) {
        search->group[0] = search->group[1] = at;
        if (match_at(search, at, &end) && end > at) {
            put_replacement(search, replacement, result);
            at = end;
            /* What has been tried there led to a match, and may again. */
            memset(search->tried + at * search->row, 0, search->row);
        } else {
            put(result, search->text + at, 1);
            at++;
        }
    }
}

int dfi_regex_replace(struct diffc_context *context, const struct dfi_regex *regex, const char *replacement,
                      const struct dfi_bytes *text, struct dfi_bytes *result)
{
    struct search search = { .context = context, .regex = regex };
    search.text = (const uint32_t *)(const void *)text->data;
    search.count = text->size / sizeof(uint32_t);
    search.row = ((size_t)regex->count + 7) / 8;
    search.tried = dfi_calloc(context, search.count + 1, search.row);
    if (!search.tried)
        return DIFFC_ERR_NOMEM;
    replace_all(&search, replacement, result);
    dfi_free(context, search.jobs);
    dfi_free(context, search.tried);
    return search.status ? search.status : result->status;
}
