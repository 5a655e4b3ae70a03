#ifndef DFI_TEXT_REGEX_H
#define DFI_TEXT_REGEX_H

#include "text/prepare.h"

/* The part of Python's regular expressions that the pipelines clean captions with: characters, classes,
 * \d \D \w \W \s \S \b, groups, alternation, greedy ? * + {m,n} {m,}, ^ $, and (?!c) of one character. Text
 * and pattern are characters (uint32_t). Time is bounded by pattern times text: no position is tried twice.
 */

#define DFI_REGEX_SIZE 320 /* instructions */
#define DFI_REGEX_RANGES 64

struct dfi_instruction {
    unsigned char op, negated;
    short jump, other; /* relative */
    uint32_t argument; /* a character, a group */
    short first, last; /* ranges of a class */
    unsigned sets;     /* of a class: digits, words, ... */
};

struct dfi_regex {
    struct dfi_instruction code[DFI_REGEX_SIZE];
    int count;
    uint32_t ranges[DFI_REGEX_RANGES][2];
    int range_count;
};

/* Compiles a pattern of the library's own (UTF-8). -1 if it is not of the kind above. */
int dfi_regex_compile(const char *pattern, struct dfi_regex *regex);

/* re.sub(): `text` and `result` hold characters; \1 in the replacement is the first group. */
int dfi_regex_replace(struct diffc_context *context, const struct dfi_regex *regex, const char *replacement,
                      const struct dfi_bytes *text, struct dfi_bytes *result);

#endif
