#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/file.h"
#include "tensor/tensor.h"

#include "io/npy.h"
#include "io/stream.h"

/* Format: "NEP 1, a simple file format for NumPy arrays", versions 1.0 to 3.0. The header is a Python
 * dictionary of three known keys, so a small grammar does in place of Python: header = "{" [pair {"," pair}
 * [","]] "}", blanks between tokens; pair = string ":" (string | "True" | "False" | tuple) */
enum { MAX_NPY_HEADER = 10000, PREFIX = 8 };

static const char magic[6] = "\x93NUMPY";

struct npy_header {
    int dtype, swap, fortran, ndim;
    int64_t shape[DIFFC_MAX_DIMS];
};

/* The header's text and the place in it; `base`: its byte position in the file, for messages. */
struct scanner {
    const char *name, *text;
    size_t size, at, base;
};

static int fail_at(const struct scanner *scanner, const char *what)
{
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: npy header: %s", scanner->name,
                    scanner->base + scanner->at, what);
}

static void skip_blanks(struct scanner *scanner)
{
    while (scanner->at < scanner->size && strchr(" \t\n", scanner->text[scanner->at]) &&
           scanner->text[scanner->at])
        scanner->at++;
}

/* Skips blanks; 1 if `text` follows, and then it is used up. */
static int accept(struct scanner *scanner, const char *text)
{
    const size_t length = strlen(text);
    skip_blanks(scanner);
    if (length > scanner->size - scanner->at || memcmp(scanner->text + scanner->at, text, length) != 0)
        return 0;
    scanner->at += length;
    return 1;
}

static int scan_string(struct scanner *scanner, char *out, size_t size)
{
    const char *const quote = accept(scanner, "'") ? "'" : accept(scanner, "\"") ? "\"" : NULL;
    if (!quote)
        return fail_at(scanner, "a string was expected");
    size_t length = 0;
    while (scanner->at < scanner->size && scanner->text[scanner->at] != *quote) {
        const char c = scanner->text[scanner->at];
        if (c < 0x20 || c == 0x7F || c == '\\' || length + 1 >= size)
            return fail_at(scanner, "a string is too long or has characters that do not belong there");
        out[length++] = c;
        scanner->at++;
    }
    if (scanner->at == scanner->size)
        return fail_at(scanner, "a string has no end");
    scanner->at++;
    out[length] = '\0';
    return DIFFC_OK;
}

static int scan_size(struct scanner *scanner, int64_t *value)
{
    const size_t start = scanner->at;
    *value = 0;
    while (scanner->at < scanner->size && scanner->text[scanner->at] >= '0' &&
           scanner->text[scanner->at] <= '9') {
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, scanner->text[scanner->at] - '0', value))
            return dfi_fail(DIFFC_ERR_LIMIT, "%s: byte %zu: npy header: a size is larger than 2^63 - 1",
                            scanner->name, scanner->base + start);
        scanner->at++;
    }
    if (scanner->at == start)
        return fail_at(scanner, "a size was expected (digits only)");
    return DIFFC_OK;
}

static int scan_shape(struct scanner *scanner, struct npy_header *header)
{
    int comma = 1;
    if (!accept(scanner, "("))
        return fail_at(scanner, "shape is not a tuple");
    header->ndim = 0;
    while (!accept(scanner, ")")) {
        if (!comma)
            return fail_at(scanner, "',' or ')' was expected");
        if (header->ndim == DIFFC_MAX_DIMS)
            return dfi_fail(DIFFC_ERR_LIMIT, "%s: npy array of more than %d dimensions", scanner->name,
                            DIFFC_MAX_DIMS);
        DFI_TRY(scan_size(scanner, &header->shape[header->ndim]));
        header->ndim++;
        comma = accept(scanner, ",");
    }
    if (header->ndim == 1 && !comma)
        return fail_at(scanner, "shape is not a tuple but a number in parentheses");
    return DIFFC_OK;
}

static int find_dtype(const char *text)
{
    static const struct {
        char text[4];
        int dtype;
    } known[] = {
        { "f4", DIFFC_F32 }, { "f2", DIFFC_F16 }, { "f8", DIFFC_F64 },
        { "u1", DIFFC_U8 },  { "i4", DIFFC_I32 }, { "i8", DIFFC_I64 },
    };
    for (int i = 0; i < DFI_COUNT(known); i++)
        if (strcmp(known[i].text, text) == 0)
            return known[i].dtype;
    return 0;
}

/* Whether it is a type that NumPy has and this library has not. */
static int is_other_dtype(const char *text)
{
    static const char *const other[] = {
        "b1", "i1", "i2", "u2", "u4", "u8", "f16", "f12", "c8", "c16", "c32",
    };
    for (int i = 0; i < DFI_COUNT(other); i++)
        if (strcmp(other[i], text) == 0)
            return 1;
    return (text[0] == 'S' || text[0] == 'U' || text[0] == 'V' || text[0] == 'M' || text[0] == 'm') &&
           text[1];
}

static int scan_dtype(struct scanner *scanner, struct npy_header *header)
{
    char text[32];
    if (accept(scanner, "["))
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: npy array of records, only plain numbers are read",
                        scanner->name);
    DFI_TRY(scan_string(scanner, text, sizeof(text)));
    const char order = text[0];
    if (order == '|' && text[1] == 'O')
        return dfi_fail(DIFFC_ERR_UNSUPPORTED,
                        "%s: npy array of Python objects (a pickle), which is never read because it "
                        "can run code",
                        scanner->name);
    if (order != '<' && order != '>' && order != '=' && order != '|')
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: npy descr '%s' does not begin with one of < > = |",
                        scanner->name, text);
    header->dtype = find_dtype(text + 1);
    if (!header->dtype)
        return dfi_fail(is_other_dtype(text + 1) ? DIFFC_ERR_UNSUPPORTED : DIFFC_ERR_FORMAT,
                        "%s: npy descr '%s', known are f2, f4, f8, u1, i4, i8", scanner->name, text);
    if (order == '|' && header->dtype != DIFFC_U8)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: npy descr '%s' has no byte order", scanner->name, text);
    header->swap = dfi_big_endian() ? order == '<' : order == '>';
    return DIFFC_OK;
}

static int scan_order(struct scanner *scanner, struct npy_header *header)
{
    header->fortran = accept(scanner, "True");
    if (!header->fortran && !accept(scanner, "False"))
        return fail_at(scanner, "fortran_order is neither True nor False");
    return DIFFC_OK;
}

static int scan_pair(struct scanner *scanner, struct npy_header *header, unsigned *seen)
{
    static const struct {
        const char *key;
        int (*scan)(struct scanner *scanner, struct npy_header *header);
    } keys[] = { { "descr", scan_dtype }, { "fortran_order", scan_order }, { "shape", scan_shape } };
    char key[32];
    DFI_TRY(scan_string(scanner, key, sizeof(key)));
    if (!accept(scanner, ":"))
        return fail_at(scanner, "':' was expected");
    skip_blanks(scanner);
    for (unsigned i = 0; i < DFI_COUNT(keys); i++) {
        if (strcmp(keys[i].key, key) != 0)
            continue;
        if (*seen & 1u << i)
            return dfi_fail(DIFFC_ERR_FORMAT, "%s: npy header: key '%s' stands there twice", scanner->name,
                            key);
        *seen |= 1u << i;
        return keys[i].scan(scanner, header);
    }
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: npy header: unknown key '%s'", scanner->name, key);
}

static int scan_header(struct scanner *scanner, struct npy_header *header)
{
    unsigned seen = 0;
    int comma = 1;
    if (scanner->size == 0 || scanner->text[scanner->size - 1] != '\n')
        return fail_at(scanner, "it does not end with a newline");
    if (!accept(scanner, "{"))
        return fail_at(scanner, "'{' was expected");
    while (!accept(scanner, "}")) {
        if (!comma)
            return fail_at(scanner, "',' or '}' was expected");
        DFI_TRY(scan_pair(scanner, header, &seen));
        comma = accept(scanner, ",");
    }
    skip_blanks(scanner);
    if (scanner->at != scanner->size)
        return fail_at(scanner, "text behind '}'");
    if (seen != 7)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: npy header: descr, fortran_order or shape is missing",
                        scanner->name);
    return DIFFC_OK;
}

/* Everything before the header's text: says how long that is. */
static int read_prefix(struct dfi_reader *reader, size_t *length)
{
    unsigned char prefix[PREFIX], bytes[4];
    size_t got;
    DFI_TRY(dfi_reader_peek(reader, prefix, sizeof(magic), &got));
    if (memcmp(prefix, magic, got) != 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: not an npy file (byte 0)", reader->name);
    DFI_TRY(dfi_reader_read(reader, prefix, PREFIX));
    if (prefix[6] < 1 || prefix[6] > 3 || prefix[7] != 0)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: npy version %d.%d, known are 1.0, 2.0 and 3.0",
                        reader->name, prefix[6], prefix[7]);
    const int width = prefix[6] == 1 ? 2 : 4;
    DFI_TRY(dfi_reader_read(reader, bytes, (size_t)width));
    *length = (size_t)dfi_load_le(bytes, width);
    if (*length > MAX_NPY_HEADER)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: npy header of %zu bytes, at most %d are read", reader->name,
                        *length, MAX_NPY_HEADER);
    return DIFFC_OK;
}

static int read_header(struct dfi_reader *reader, struct npy_header *header)
{
    char text[MAX_NPY_HEADER];
    size_t length = 0;
    DFI_TRY(read_prefix(reader, &length));
    struct scanner scanner = { .name = reader->name, .text = text, .size = length, .base = reader->position };
    DFI_TRY(dfi_reader_read(reader, text, length));
    return scan_header(&scanner, header);
}

static int check_size(const struct dfi_reader *reader, const struct npy_header *header)
{
    size_t bytes;
    if (dfi_ck_product(header->shape, header->ndim, &bytes) ||
        dfi_ck_mul(bytes, dfi_dtype_size(header->dtype), &bytes))
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: npy array of more bytes than can be counted", reader->name);
    const size_t left = dfi_reader_left(reader);
    if (bytes > left)
        return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: %zu bytes of data wanted at byte %zu, but it has %zu",
                        reader->name, bytes, reader->position, left);
    if (bytes < left)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: %zu bytes behind the data", reader->name,
                        reader->position + bytes, left - bytes);
    return DIFFC_OK;
}

/* The data as it lies in the file: for Fortran order the axes stand in reverse. */
static int read_data(struct dfi_reader *reader, const struct npy_header *header, struct diffc_tensor **tensor)
{
    int64_t shape[DIFFC_MAX_DIMS] = { 0 };
    for (int i = 0; i < header->ndim; i++)
        shape[i] = header->shape[header->fortran ? header->ndim - 1 - i : i];
    struct diffc_tensor *made = NULL;
    DFI_TRY(dfi_tensor_create(reader->context, header->dtype, header->ndim, shape, &made));
    const size_t width = dfi_dtype_size(header->dtype), bytes = dfi_tensor_bytes(made);
    const int status = dfi_reader_read(reader, made->data, bytes);
    if (status) {
        dfi_release(made);
        return status;
    }
    if (header->swap)
        dfi_swap_bytes(made->data, bytes / width, width);
    *tensor = made;
    return DIFFC_OK;
}

static int append_to_memory(void *opaque, const void *data, size_t size)
{
    unsigned char **const at = opaque;
    memcpy(*at, data, size);
    *at += size;
    return DIFFC_OK;
}

/* A C-order copy with the axes in reverse. */
static int reverse_axes(const struct diffc_tensor *source, struct diffc_tensor **tensor)
{
    int axes[DIFFC_MAX_DIMS] = { 0 };
    struct diffc_tensor *view = NULL, *made = NULL;
    for (int i = 0; i < source->ndim; i++)
        axes[i] = source->ndim - 1 - i;
    DFI_TRY(dfi_tensor_permute(source, axes, &view));
    int status = dfi_tensor_create(view->object.context, view->dtype, view->ndim, view->shape, &made);
    if (!status) {
        unsigned char *at = made->data;
        status = dfi_tensor_stream(view, 0, append_to_memory, &at);
    }
    dfi_release(view);
    *tensor = made;
    return status;
}

int dfi_npy_read(struct dfi_reader *reader, struct diffc_tensor **tensor)
{
    struct npy_header header = { 0 };
    struct diffc_tensor *stored = NULL;
    DFI_TRY(read_header(reader, &header));
    DFI_TRY(check_size(reader, &header));
    DFI_TRY(read_data(reader, &header, &stored));
    if (!header.fortran || header.ndim < 2) {
        *tensor = stored;
        return DIFFC_OK;
    }
    struct diffc_tensor *ordered = NULL;
    const int status = reverse_axes(stored, &ordered);
    dfi_release(stored);
    if (!status)
        *tensor = ordered;
    return status;
}

int dfi_npy_decode(struct diffc_context *context, const void *data, size_t size, struct diffc_tensor **tensor)
{
    struct dfi_reader reader;
    dfi_reader_memory(&reader, context, "memory", data, size);
    return dfi_npy_read(&reader, tensor);
}

static const char *dtype_text(int dtype)
{
    switch (dtype) {
    case DIFFC_F32: return "<f4";
    case DIFFC_F16: return "<f2";
    case DIFFC_F64: return "<f8";
    case DIFFC_U8: return "|u1";
    case DIFFC_I32: return "<i4";
    case DIFFC_I64: return "<i8";
    default: return NULL;
    }
}

/* Version 1.0, padded so that the data begins at a multiple of 64 bytes as NumPy's own files do. */
static size_t make_header(const struct diffc_tensor *tensor, const char *descr, char *out, size_t size)
{
    char shape[DIFFC_MAX_DIMS * 22 + 1] = "";
    for (int i = 0, used = 0; i < tensor->ndim; i++)
        used += snprintf(shape + used, sizeof(shape) - (size_t)used, "%s%" PRId64 "%s", i ? " " : "",
                         tensor->shape[i], i + 1 < tensor->ndim || tensor->ndim == 1 ? "," : "");
    memcpy(out, magic, sizeof(magic));
    size_t used = PREFIX + 2;
    used += (size_t)snprintf(out + used, size - used,
                             "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    while ((used + 1) % 64)
        out[used++] = ' ';
    out[used++] = '\n';
    const size_t length = used - PREFIX - 2;
    const unsigned char rest[4] = { 1, 0, (unsigned char)(length & 0xFF), (unsigned char)(length >> 8) };
    memcpy(out + sizeof(magic), rest, sizeof(rest));
    return used;
}

int dfi_npy_write(const struct diffc_tensor *tensor, const char *path)
{
    const char *const descr = dtype_text(tensor->dtype);
    if (!descr)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "npy files have no dtype %s", dfi_dtype_name(tensor->dtype));
    char header[512];
    const size_t length = make_header(tensor, descr, header, sizeof(header));
    struct dfi_atomic_file file;
    DFI_TRY(dfi_atomic_begin(tensor->object.context, path, length + dfi_tensor_bytes(tensor), &file));
    int status = dfi_atomic_append(&file, header, length);
    if (!status)
        status = dfi_tensor_append(tensor, &file);
    if (!status)
        status = dfi_atomic_commit(&file);
    dfi_atomic_abort(&file);
    return status;
}
