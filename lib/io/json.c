#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "io/json.h"
#include "io/reader.h"

/* Depth and numbers without parsing: brackets, colons and commas outside strings. Malformed text may give any
 * counts; the parser sees it afterwards. */
static int check_size(const char *name, const char *text, size_t size, const struct dfi_json_limits *limits)
{
    size_t depth = 0, members = 0, values = 1;
    int quoted = 0;
    for (size_t i = 0; i < size; i++) {
        const char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = 0;
            continue;
        }
        quoted = c == '"';
        if (c == '{' || c == '[') {
            values++;
            if (++depth > limits->depth)
                return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: nested more than %zu deep", name, i,
                                limits->depth);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (c == ':' && ++members > limits->members) {
            return dfi_fail(DIFFC_ERR_LIMIT, "%s: more than %zu members of objects", name, limits->members);
        } else if (c == ',' && ++values > limits->values) {
            return dfi_fail(DIFFC_ERR_LIMIT, "%s: more than %zu values", name, limits->values);
        }
    }
    return DIFFC_OK;
}

/* jansson overlooks one right behind a number. */
static int check_nul(const char *name, const char *text, size_t size)
{
    const char *const nul = memchr(text, 0, size), *line = text;
    int lines = 1;
    if (!nul)
        return DIFFC_OK;
    for (const char *c = text; c < nul; c++)
        if (*c == '\n') {
            line = c + 1;
            lines++;
        }
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: line %d, column %zu: a byte 0", name, lines,
                    (size_t)(nul - line) + 1);
}

int dfi_json_parse(const char *name, const char *text, size_t size, const struct dfi_json_limits *limits,
                   struct json_t **root)
{
    DFI_TRY(check_nul(name, text, size));
    DFI_TRY(check_size(name, text, size, limits));
    json_error_t error;
    struct json_t *const parsed = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!parsed) {
        if (json_error_code(&error) == json_error_out_of_memory)
            return dfi_fail(DIFFC_ERR_NOMEM, "%s: no memory for a JSON document of %zu bytes", name, size);
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: line %d, column %d: %s", name, error.line, error.column,
                        error.text);
    }
    *root = parsed;
    return DIFFC_OK;
}

void dfi_json_free(struct json_t *root)
{
    json_decref(root);
}

enum dfi_json_kind dfi_json_kind(const struct json_t *value)
{
    if (!value)
        return DFI_JSON_NONE;
    switch (json_typeof(value)) {
    case JSON_OBJECT: return DFI_JSON_OBJECT;
    case JSON_ARRAY: return DFI_JSON_ARRAY;
    case JSON_STRING: return DFI_JSON_STRING;
    case JSON_INTEGER: return DFI_JSON_INTEGER;
    case JSON_REAL: return DFI_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE: return DFI_JSON_BOOLEAN;
    case JSON_NULL: break;
    }
    return DFI_JSON_NULL;
}

size_t dfi_json_size(const struct json_t *value)
{
    return json_is_object(value) ? json_object_size(value) : json_array_size(value);
}

struct json_t *dfi_json_get(const struct json_t *object, const char *key)
{
    return json_object_get(object, key);
}

struct json_t *dfi_json_at(const struct json_t *array, size_t position)
{
    return json_array_get(array, position);
}

int dfi_json_next(struct json_t *object, struct dfi_json_member *member)
{
    member->state = member->state ? json_object_iter_next(object, member->state) : json_object_iter(object);
    if (!member->state)
        return 0;
    member->key = json_object_iter_key(member->state);
    member->value = json_object_iter_value(member->state);
    return 1;
}

const char *dfi_json_string(const struct json_t *value)
{
    return json_string_value(value);
}

int dfi_json_integer(const struct json_t *value, int64_t *integer)
{
    if (!json_is_integer(value))
        return -1;
    *integer = json_integer_value(value);
    return 0;
}

int dfi_json_number(const struct json_t *value, double *number)
{
    if (!json_is_number(value))
        return -1;
    *number = json_number_value(value);
    return 0;
}

int dfi_json_boolean(const struct json_t *value, int *boolean)
{
    if (!json_is_boolean(value))
        return -1;
    *boolean = json_is_true(value);
    return 0;
}

const char *dfi_json_text(const struct json_t *value, char *text, size_t size)
{
    int64_t integer = 0;
    double number = 0;
    int truth = 0;
    char shown[44];
    switch (dfi_json_kind(value)) {
    case DFI_JSON_STRING:
        (void)snprintf(text, size, "\"%s\"", dfi_clip(dfi_json_string(value), shown, sizeof(shown)));
        break;
    case DFI_JSON_INTEGER:
        (void)dfi_json_integer(value, &integer);
        (void)snprintf(text, size, "%" PRId64, integer);
        break;
    case DFI_JSON_REAL:
        (void)dfi_json_number(value, &number);
        (void)snprintf(text, size, "%g", number);
        break;
    case DFI_JSON_BOOLEAN:
        (void)dfi_json_boolean(value, &truth);
        (void)snprintf(text, size, truth ? "true" : "false");
        break;
    case DFI_JSON_ARRAY: (void)snprintf(text, size, "a list of %zu", dfi_json_size(value)); break;
    case DFI_JSON_OBJECT: (void)snprintf(text, size, "an object"); break;
    case DFI_JSON_NULL: (void)snprintf(text, size, "null"); break;
    case DFI_JSON_NONE: (void)snprintf(text, size, "missing"); break;
    }
    return text;
}

static size_t put(char *out, size_t at, const char *bytes, size_t count)
{
    if (out)
        memcpy(out + at, bytes, count);
    return at + count;
}

size_t dfi_json_quote(const char *text, char *out)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = put(out, 0, "\"", 1);
    for (const char *c = text; *c; c++) {
        const unsigned char byte = (unsigned char)*c;
        if (byte == '"' || byte == '\\') {
            n = put(out, n, "\\", 1);
            n = put(out, n, c, 1);
        } else if (byte < 0x20) {
            const char escape[6] = { '\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15] };
            n = put(out, n, escape, 6);
        } else {
            n = put(out, n, c, 1);
        }
    }
    return put(out, n, "\"", 1);
}
