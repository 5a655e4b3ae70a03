/* Patterns to programs, by recursive descent. Jumps are relative, so that code can be moved and copied. */

#include <string.h>

#include "text/regex_code.h"
#include "base/utf8.h"

struct compiler {
    const unsigned char *at, *end;
    struct dfi_regex *regex;
    int groups, failed;
};

static void parse_alternatives(struct compiler *c);

static struct dfi_instruction *emit(struct compiler *c, int op)
{
    if (c->regex->count == DFI_REGEX_SIZE) {
        c->failed = 1;
        return &c->regex->code[DFI_REGEX_SIZE - 1];
    }
    struct dfi_instruction *instruction = &c->regex->code[c->regex->count++];
    memset(instruction, 0, sizeof(*instruction));
    instruction->op = (unsigned char)op;
    return instruction;
}

static void insert(struct compiler *c, int where, int op, int jump, int other)
{
    (void)emit(c, op);
    if (c->failed)
        return;
    struct dfi_instruction *code = c->regex->code;
    memmove(code + where + 1, code + where, (size_t)(c->regex->count - 1 - where) * sizeof(*code));
    code[where] = (struct dfi_instruction) { .op = (unsigned char)op,
                                             .jump = (short)jump,
                                             .other = (short)other };
}

static uint32_t next_character(struct compiler *c)
{
    uint32_t character = 0;
    const size_t size = dfi_utf8_decode(c->at, (size_t)(c->end - c->at), &character);
    c->failed |= size == 0;
    c->at += size;
    return character;
}

static unsigned set_of(uint32_t letter)
{
    switch (letter) {
    case 'd': return DFI_SET_DIGIT;
    case 'D': return DFI_SET_NO_DIGIT;
    case 'w': return DFI_SET_WORD;
    case 'W': return DFI_SET_NO_WORD;
    case 's': return DFI_SET_SPACE;
    case 'S': return DFI_SET_NO_SPACE;
    default: return 0;
    }
}

static void parse_class(struct compiler *c)
{
    struct dfi_instruction class = { .op = DFI_OP_CLASS, .first = (short)c->regex->range_count };
    if (c->at < c->end && *c->at == '^') {
        class.negated = 1;
        c->at++;
    }
    while (c->at < c->end && *c->at != ']' && !c->failed) {
        uint32_t low = next_character(c);
        if (low == '\\') {
            low = next_character(c);
            if (set_of(low)) {
                class.sets |= set_of(low);
                continue;
            }
        }
        uint32_t high = low;
        if (c->end - c->at > 1 && c->at[0] == '-' && c->at[1] != ']') {
            c->at++;
            high = next_character(c);
        }
        if (c->regex->range_count == DFI_REGEX_RANGES) {
            c->failed = 1;
            return;
        }
        c->regex->ranges[c->regex->range_count][0] = low;
        c->regex->ranges[c->regex->range_count++][1] = high;
    }
    c->failed |= c->at == c->end;
    c->at++;
    class.last = (short)c->regex->range_count;
    *emit(c, DFI_OP_CLASS) = class;
}

/* Behind the opening bracket. */
static void parse_group(struct compiler *c)
{
    int group = 0;
    if (c->end - c->at > 1 && c->at[0] == '?' && c->at[1] == '!') {
        c->at += 2;
        emit(c, DFI_OP_NOT_NEXT)->argument = next_character(c);
    } else {
        if (c->end - c->at > 1 && c->at[0] == '?' && c->at[1] == ':')
            c->at += 2;
        else
            group = ++c->groups;
        if (group == 1)
            emit(c, DFI_OP_SAVE)->argument = 0;
        parse_alternatives(c);
        if (group == 1)
            emit(c, DFI_OP_SAVE)->argument = 1;
    }
    c->failed |= c->at == c->end || *c->at != ')';
    c->at++;
}

static void parse_escape(struct compiler *c)
{
    const uint32_t letter = next_character(c);
    if (letter == 'b')
        (void)emit(c, DFI_OP_BOUNDARY);
    else if (set_of(letter))
        *emit(c, DFI_OP_CLASS) = (struct dfi_instruction) { .op = DFI_OP_CLASS, .sets = set_of(letter) };
    else
        emit(c, DFI_OP_CHARACTER)->argument = letter;
}

static void parse_atom(struct compiler *c)
{
    const uint32_t character = next_character(c);
    switch (character) {
    case '(': parse_group(c); break;
    case '[': parse_class(c); break;
    case '\\': parse_escape(c); break;
    case '^': (void)emit(c, DFI_OP_START); break;
    case '$': (void)emit(c, DFI_OP_END); break;
    default: emit(c, DFI_OP_CHARACTER)->argument = character; break;
    }
}

static int parse_number(struct compiler *c)
{
    int number = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && number < 1000)
        number = 10 * number + (*c->at++ - '0');
    return number;
}

static void copy(struct compiler *c, int start, int size)
{
    for (int i = 0; i < size && !c->failed; i++)
        *emit(c, DFI_OP_CHARACTER) = c->regex->code[start + i];
}

static void star(struct compiler *c, int start)
{
    const int size = c->regex->count - start;
    insert(c, start, DFI_OP_SPLIT, 1, size + 2);
    struct dfi_instruction *back = emit(c, DFI_OP_JUMP);
    back->jump = (short)(-size - 1);
}

/* {m,n} and {m,}: the atom is there once. */
static void parse_counts(struct compiler *c, int start)
{
    const int size = c->regex->count - start, least = parse_number(c);
    int most = least;
    if (c->at < c->end && *c->at == ',') {
        c->at++;
        most = *c->at == '}' ? -1 : parse_number(c);
    }
    c->failed |= c->at == c->end || *c->at != '}' || least < 1;
    c->at++;
    for (int i = 1; i < least; i++)
        copy(c, start, size);
    if (most < 0) {
        const int last = c->regex->count;
        copy(c, start, size);
        star(c, last);
    }
    for (int i = least; i < most; i++) {
        const int last = c->regex->count;
        copy(c, start, size);
        insert(c, last, DFI_OP_SPLIT, 1, size + 1);
    }
}

static void parse_repeat(struct compiler *c)
{
    const int start = c->regex->count;
    parse_atom(c);
    if (c->at >= c->end || c->failed)
        return;
    const int size = c->regex->count - start;
    switch (*c->at) {
    case '?':
        c->at++;
        insert(c, start, DFI_OP_SPLIT, 1, size + 1);
        break;
    case '*':
        c->at++;
        star(c, start);
        break;
    case '+': {
        c->at++;
        struct dfi_instruction *split = emit(c, DFI_OP_SPLIT);
        split->jump = (short)-size;
        split->other = 1;
        break;
    }
    case '{':
        c->at++;
        parse_counts(c, start);
        break;
    default: break;
    }
}

static void parse_alternatives(struct compiler *c)
{
    const int start = c->regex->count;
    while (c->at < c->end && *c->at != '|' && *c->at != ')' && !c->failed)
        parse_repeat(c);
    if (c->failed || c->at >= c->end || *c->at != '|')
        return;
    c->at++;
    const int size = c->regex->count - start;
    insert(c, start, DFI_OP_SPLIT, 1, size + 2);
    (void)emit(c, DFI_OP_JUMP);
    const int jump = c->regex->count - 1;
    parse_alternatives(c);
    c->regex->code[jump].jump = (short)(c->regex->count - jump);
}

int dfi_regex_compile(const char *pattern, struct dfi_regex *regex)
{
    struct compiler c = { .at = (const unsigned char *)pattern, .regex = regex };
    c.end = c.at + strlen(pattern);
    regex->count = regex->range_count = 0;
    parse_alternatives(&c);
    (void)emit(&c, DFI_OP_MATCH);
    return c.failed || c.at != c.end ? -1 : 0;
}
