#ifndef DFI_IO_JSON_H
#define DFI_IO_JSON_H

#include "base/context.h"

/* What the library needs of jansson, which no other file includes. A value is a borrowed pointer into the
 * document. */
struct json_t;

enum dfi_json_kind {
    DFI_JSON_NONE, /* no value */
    DFI_JSON_OBJECT,
    DFI_JSON_ARRAY,
    DFI_JSON_STRING,
    DFI_JSON_INTEGER,
    DFI_JSON_REAL,
    DFI_JSON_BOOLEAN,
    DFI_JSON_NULL
};

/* What is counted before memory is asked for: a document takes up to 43 bytes per byte of text. */
struct dfi_json_limits {
    size_t depth;
    size_t members; /* of all objects together */
    size_t values;
};

/* Parses a whole document, an object or an array. Strict: UTF-8, no duplicate keys, no NUL in strings,
 * integers of 64 bits. ERR_FORMAT with line and column, ERR_LIMIT, ERR_NOMEM. `name` begins the messages. */
int dfi_json_parse(const char *name, const char *text, size_t size, const struct dfi_json_limits *limits,
                   struct json_t **root);
void dfi_json_free(struct json_t *root);

enum dfi_json_kind dfi_json_kind(const struct json_t *value); /* NULL: DFI_JSON_NONE */
size_t dfi_json_size(const struct json_t *value);             /* members of an object or array; else 0 */

struct json_t *dfi_json_get(const struct json_t *object, const char *key); /* NULL if there is none */
struct json_t *dfi_json_at(const struct json_t *array, size_t position);   /* NULL past the end */

/* Members in the order of the text: start with a zeroed member; 0 after the last. */
struct dfi_json_member {
    const char *key;
    struct json_t *value;
    void *state;
};
int dfi_json_next(struct json_t *object, struct dfi_json_member *member);

/* Values; each returns -1 (or NULL) if the value is of another kind. number: an integer or a real. */
const char *dfi_json_string(const struct json_t *value);
int dfi_json_integer(const struct json_t *value, int64_t *integer);
int dfi_json_number(const struct json_t *value, double *number);
int dfi_json_boolean(const struct json_t *value, int *boolean);

/* A value as it stands in the document, for messages: strings cut, lists and objects told by kind. Gives
 * `text`. */
const char *dfi_json_text(const struct json_t *value, char *text, size_t size);

/* Writes `text` (valid UTF-8) as a JSON string with its quotes, without a final NUL; returns the bytes. `out`
 * NULL counts only. */
size_t dfi_json_quote(const char *text, char *out);

#endif
