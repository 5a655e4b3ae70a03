#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "tensor/tensor.h"

#include "io/archive.h"
#include "io/json.h"
#include "io/safetensors.h"

/* Format: https://github.com/huggingface/safetensors, "Format": 8 bytes length N, N bytes JSON, data. The
 * header is checked as a whole before memory for data is asked for. */
enum {
    PREFIX = 8,
    MAX_DEPTH = 3,          /* {"name": {"shape": [...]}} */
    MEMBERS_PER_TENSOR = 5, /* its own, its three, and one of metadata */
    VALUES_PER_TENSOR = 16,
    ALIGNMENT = 64
};

/* Where the data of an entry lies, in bytes from the start of the data section. */
struct span {
    size_t begin, end;
    int position;
};

struct load {
    struct dfi_reader *reader;
    struct diffc_context *context;
    struct diffc_archive *archive;
    char *header; /* JSON text, without the blanks at its end */
    size_t header_size, data_start, data_size;
    struct span *spans; /* of all tensors, sorted when they are checked */
    char shown[80];     /* name of the tensor at hand, for messages */
};

const char *dfi_safetensors_dtype(int dtype)
{
    switch (dtype) {
    case DIFFC_F32: return "F32";
    case DIFFC_F16: return "F16";
    case DIFFC_BF16: return "BF16";
    case DIFFC_F64: return "F64";
    case DIFFC_U8: return "U8";
    case DIFFC_I32: return "I32";
    case DIFFC_I64: return "I64";
    default: return NULL;
    }
}

static int find_dtype(const char *text)
{
    for (int dtype = DIFFC_F32; dtype <= DIFFC_I64; dtype++)
        if (strcmp(dfi_safetensors_dtype(dtype), text) == 0)
            return dtype;
    return 0;
}

/* A zip file (torch.save since 1.6) or a bare pickle of protocol 2 to 5. A valid length can begin with the
 * same bytes, so this is asked only of files that are something else than safetensors. */
static int is_pickle(const unsigned char *bytes)
{
    return memcmp(bytes, "PK\3\4", 4) == 0 || (bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5);
}

static int fail_start(const struct load *load, const unsigned char *prefix, int status, const char *what,
                      uint64_t value)
{
    if (is_pickle(prefix))
        return dfi_fail(DIFFC_ERR_UNSUPPORTED,
                        "%s: a PyTorch pickle, which is never read because it can run code; "
                        "turn it into safetensors with bindings/convert_checkpoint.py",
                        load->reader->name);
    return dfi_fail(status, "%s: byte 0: header of %" PRIu64 " bytes, %s", load->reader->name, value, what);
}

static int read_header(struct load *load)
{
    struct dfi_reader *const reader = load->reader;
    unsigned char prefix[PREFIX];
    DFI_TRY(dfi_reader_read(reader, prefix, PREFIX));
    const uint64_t size = dfi_load_le(prefix, PREFIX);
    if (size < 2)
        return fail_start(load, prefix, DIFFC_ERR_FORMAT, "the smallest has 2", size);
    if (size > (uint64_t)load->context->limits.archive_header)
        return fail_start(load, prefix, DIFFC_ERR_LIMIT,
                          "more than limits.archive_header: is this a safetensors file?", size);
    if (size > dfi_reader_left(reader))
        return fail_start(load, prefix, DIFFC_ERR_TRUNCATED, "the file ends before", size);
    load->header_size = (size_t)size;
    load->header = dfi_alloc(load->context, load->header_size);
    if (!load->header)
        return DIFFC_ERR_NOMEM;
    DFI_TRY(dfi_reader_read(reader, load->header, load->header_size));
    load->data_start = reader->position;
    load->data_size = dfi_reader_left(reader);
    if (load->header[0] != '{')
        return fail_start(load, prefix, DIFFC_ERR_FORMAT, "which does not begin with '{'", size);
    while (load->header[load->header_size - 1] == ' ')
        load->header_size--;
    if (load->header[load->header_size - 1] != '}')
        return dfi_fail(DIFFC_ERR_FORMAT,
                        "%s: byte %zu: the header ends with something else than '}' and spaces", reader->name,
                        PREFIX + load->header_size - 1);
    return DIFFC_OK;
}

static int read_metadata(struct load *load, struct json_t *object)
{
    struct dfi_json_member member = { 0 };
    if (dfi_json_kind(object) != DFI_JSON_OBJECT)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: __metadata__ is not an object", load->reader->name);
    if (dfi_json_size(object) > (size_t)load->context->limits.archive_tensors)
        return dfi_fail(
            DIFFC_ERR_LIMIT, "%s: __metadata__ of %zu strings, more than limits.archive_tensors = %lld",
            load->reader->name, dfi_json_size(object), (long long)load->context->limits.archive_tensors);
    while (dfi_json_next(object, &member)) {
        const char *const value = dfi_json_string(member.value);
        if (!value)
            return dfi_fail(DIFFC_ERR_FORMAT, "%s: __metadata__.%s is not a string", load->reader->name,
                            dfi_clip(member.key, load->shown, sizeof(load->shown)));
        DFI_TRY(dfi_archive_append_metadata(load->archive, member.key, value));
    }
    return DIFFC_OK;
}

static int fail_tensor(const struct load *load, int status, const char *what)
{
    return dfi_fail(status, "%s: tensor \"%s\": %s", load->reader->name, load->shown, what);
}

static int read_dtype(const struct load *load, const struct json_t *value, struct dfi_archive_entry *entry)
{
    const char *const text = dfi_json_string(value);
    char shown[24];
    if (!text)
        return fail_tensor(load, DIFFC_ERR_FORMAT, "dtype is not a string");
    entry->dtype = find_dtype(text);
    if (!entry->dtype)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED,
                        "%s: tensor \"%s\": dtype \"%s\", known are F32, F16, BF16, F64, U8, I32 and I64",
                        load->reader->name, load->shown, dfi_clip(text, shown, sizeof(shown)));
    return DIFFC_OK;
}

static int read_shape(const struct load *load, const struct json_t *value, struct dfi_archive_entry *entry)
{
    if (dfi_json_kind(value) != DFI_JSON_ARRAY)
        return fail_tensor(load, DIFFC_ERR_FORMAT, "shape is not an array");
    if (dfi_json_size(value) > DIFFC_MAX_DIMS)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: tensor \"%s\": %zu dimensions, at most %d are read",
                        load->reader->name, load->shown, dfi_json_size(value), DIFFC_MAX_DIMS);
    entry->ndim = (int)dfi_json_size(value);
    for (int i = 0; i < entry->ndim; i++)
        if (dfi_json_integer(dfi_json_at(value, (size_t)i), &entry->shape[i]) || entry->shape[i] < 0)
            return fail_tensor(load, DIFFC_ERR_FORMAT, "shape has something else than whole numbers >= 0");
    if (dfi_ck_product(entry->shape, entry->ndim, &entry->bytes) ||
        dfi_ck_mul(entry->bytes, dfi_dtype_size(entry->dtype), &entry->bytes))
        return fail_tensor(load, DIFFC_ERR_FORMAT, "the product of its shape does not fit into 64 bits");
    return DIFFC_OK;
}

static int read_offsets(const struct load *load, const struct json_t *value,
                        const struct dfi_archive_entry *entry, struct span *span)
{
    int64_t begin, end;
    if (dfi_json_kind(value) != DFI_JSON_ARRAY || dfi_json_size(value) != 2 ||
        dfi_json_integer(dfi_json_at(value, 0), &begin) || dfi_json_integer(dfi_json_at(value, 1), &end))
        return fail_tensor(load, DIFFC_ERR_FORMAT, "data_offsets is not an array of two whole numbers");
    if (begin < 0 || end < begin || (uint64_t)(end - begin) != entry->bytes)
        return dfi_fail(DIFFC_ERR_FORMAT,
                        "%s: tensor \"%s\": data_offsets [%" PRId64 ", %" PRId64
                        "], its shape takes %zu bytes",
                        load->reader->name, load->shown, begin, end, entry->bytes);
    *span = (struct span) { (size_t)begin, (size_t)end, load->archive->count - 1 };
    return DIFFC_OK;
}

static int read_tensor(struct load *load, const char *name, const struct json_t *object)
{
    struct dfi_archive_entry *entry;
    dfi_clip(name, load->shown, sizeof(load->shown));
    if (strlen(name) > DFI_SAFETENSORS_NAME_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: tensor name of %zu bytes, at most %d are read",
                        load->reader->name, strlen(name), DFI_SAFETENSORS_NAME_MAX);
    if (dfi_json_kind(object) != DFI_JSON_OBJECT)
        return fail_tensor(load, DIFFC_ERR_FORMAT, "is not an object");
    DFI_TRY(dfi_archive_append(load->archive, name, &entry));
    DFI_TRY(read_dtype(load, dfi_json_get(object, "dtype"), entry));
    DFI_TRY(read_shape(load, dfi_json_get(object, "shape"), entry));
    return read_offsets(load, dfi_json_get(object, "data_offsets"), entry,
                        &load->spans[load->archive->count - 1]);
}

static int read_entries(struct load *load, struct json_t *root)
{
    struct dfi_json_member member = { 0 };
    load->spans = dfi_calloc(load->context, dfi_json_size(root), sizeof(*load->spans));
    if (!load->spans)
        return DIFFC_ERR_NOMEM;
    while (dfi_json_next(root, &member)) {
        if (strcmp(member.key, "__metadata__") == 0)
            DFI_TRY(read_metadata(load, member.value));
        else
            DFI_TRY(read_tensor(load, member.key, member.value));
    }
    return dfi_archive_sort(load->archive);
}

static int parse_header(struct load *load)
{
    const size_t tensors = (size_t)load->context->limits.archive_tensors;
    struct dfi_json_limits limits = { .depth = MAX_DEPTH };
    struct json_t *root = NULL;
    if (dfi_ck_mul(tensors, MEMBERS_PER_TENSOR, &limits.members) ||
        dfi_ck_add(limits.members, 1, &limits.members) ||
        dfi_ck_mul(tensors, VALUES_PER_TENSOR, &limits.values))
        limits.members = limits.values = SIZE_MAX;
    DFI_TRY(dfi_json_parse(load->reader->name, load->header, load->header_size, &limits, &root));
    const size_t count = dfi_json_size(root) - (dfi_json_get(root, "__metadata__") != NULL);
    int status;
    if (count > tensors)
        status = dfi_fail(DIFFC_ERR_LIMIT, "%s: %zu tensors, more than limits.archive_tensors = %zu",
                          load->reader->name, count, tensors);
    else
        status = read_entries(load, root);
    dfi_json_free(root);
    return status;
}

static int compare_spans(const void *first, const void *second)
{
    const struct span *const a = first, *const b = second;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

/* Without holes or overlaps, from the first byte of the data to the last. */
static int check_spans(struct load *load)
{
    const int count = load->archive->count;
    size_t at = 0;
    if (count > 0)
        qsort(load->spans, (size_t)count, sizeof(*load->spans), compare_spans);
    for (int i = 0; i < count; i++) {
        const struct span *const span = &load->spans[i];
        if (span->begin != at)
            return dfi_fail(
                DIFFC_ERR_FORMAT, "%s: tensor \"%s\": data begins at %zu, %s at %zu", load->reader->name,
                dfi_clip(load->archive->entries[span->position].name, load->shown, sizeof(load->shown)),
                span->begin, i ? "the one before ends" : "the first should begin", at);
        at = span->end;
    }
    if (at > load->data_size)
        return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: %zu bytes of data wanted at byte %zu, but it has %zu",
                        load->reader->name, at, load->data_start, load->data_size);
    if (at < load->data_size)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: %zu bytes behind the last tensor",
                        load->reader->name, load->data_start + at, load->data_size - at);
    return DIFFC_OK;
}

static void destroy_block(void *handle)
{
    struct dfi_archive_bytes *const block = handle;
    if (block->mapped)
        munmap(block->data, block->mapped);
    else
        dfi_free(block->object.context, block->data);
    dfi_object_free(block);
}

/* Whether every tensor is aligned for its dtype when the data section begins at `base`. */
static int is_aligned(const struct load *load, size_t base)
{
    for (int i = 0; i < load->archive->count; i++) {
        const struct span *const span = &load->spans[i];
        if ((base + span->begin) % dfi_dtype_size(load->archive->entries[span->position].dtype))
            return 0;
    }
    return 1;
}

static void place_entries(const struct load *load, const unsigned char *data)
{
    for (int i = 0; i < load->archive->count; i++)
        load->archive->entries[load->spans[i].position].data = data + load->spans[i].begin;
}

/* A private map: writes to the tensors are possible and do not reach the file. */
static int map_data(struct load *load)
{
    const size_t size = load->reader->size;
    void *const data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, load->reader->fd,
                            0);
    if (data == MAP_FAILED)
        return dfi_fail(DIFFC_ERR_IO, "%s: cannot map %zu bytes", load->reader->name, size);
    load->archive->block->data = data;
    load->archive->block->mapped = size;
    place_entries(load, (const unsigned char *)data + load->data_start);
    return DIFFC_OK;
}

static int read_aligned(struct load *load)
{
    unsigned char *const data = dfi_alloc(load->context, load->data_size);
    if (!data)
        return DIFFC_ERR_NOMEM;
    load->archive->block->data = data;
    place_entries(load, data);
    return dfi_reader_read(load->reader, data, load->data_size);
}

/* Tensors that a file holds unaligned (the format allows it) get a place of their own each. */
static int read_apart(struct load *load)
{
    size_t total = 0;
    for (int i = 0; i < load->archive->count; i++) {
        const struct span *const span = &load->spans[i];
        if (dfi_ck_add(total, span->end - span->begin, &total) || dfi_ck_add(total, ALIGNMENT - 1, &total))
            return dfi_fail(DIFFC_ERR_LIMIT, "%s: more data than can be addressed", load->reader->name);
        total -= total % ALIGNMENT;
    }
    unsigned char *data = dfi_alloc(load->context, total);
    if (!data)
        return DIFFC_ERR_NOMEM;
    load->archive->block->data = data;
    for (int i = 0; i < load->archive->count; i++) {
        const struct span *const span = &load->spans[i];
        const size_t bytes = span->end - span->begin;
        load->archive->entries[span->position].data = data;
        DFI_TRY(dfi_reader_read(load->reader, data, bytes));
        data += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    return DIFFC_OK;
}

static void swap_entries(const struct load *load)
{
    for (int i = 0; i < load->archive->count; i++) {
        const struct dfi_archive_entry *const entry = &load->archive->entries[i];
        const size_t width = dfi_dtype_size(entry->dtype);
        dfi_swap_bytes((void *)(uintptr_t)entry->data, entry->bytes / width, width);
    }
}

static int load_data(struct load *load, int map)
{
    load->archive->block = dfi_object_new(load->context, sizeof(struct dfi_archive_bytes), destroy_block);
    if (!load->archive->block)
        return DIFFC_ERR_NOMEM;
    if (map && load->reader->fd >= 0 && !dfi_big_endian() && is_aligned(load, load->data_start))
        return map_data(load);
    DFI_TRY(is_aligned(load, 0) ? read_aligned(load) : read_apart(load));
    if (dfi_big_endian())
        swap_entries(load);
    return DIFFC_OK;
}

static int read_all(struct dfi_reader *reader, int map, struct diffc_archive **archive)
{
    struct load load = { .reader = reader, .context = reader->context };
    DFI_TRY(dfi_archive_new(load.context, &load.archive));
    int status = read_header(&load);
    if (!status)
        status = parse_header(&load);
    dfi_free(load.context, load.header);
    if (!status)
        status = check_spans(&load);
    if (!status)
        status = load_data(&load, map);
    dfi_free(load.context, load.spans);
    if (status)
        dfi_release(load.archive);
    else
        *archive = load.archive;
    return status;
}

int dfi_safetensors_parse(struct diffc_context *context, const char *name, const void *data, size_t size,
                          struct diffc_archive **archive)
{
    struct dfi_reader reader;
    dfi_reader_memory(&reader, context, name, data, size);
    return read_all(&reader, 0, archive);
}

int dfi_safetensors_open(struct diffc_context *context, const char *path, int map,
                         struct diffc_archive **archive)
{
    struct dfi_reader reader;
    DFI_TRY(dfi_reader_open(&reader, context, path));
    const int status = read_all(&reader, map, archive);
    dfi_reader_close(&reader);
    return status;
}
