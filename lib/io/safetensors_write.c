#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/file.h"

#include "io/archive.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/stream.h"

enum { PREFIX = 8 };

/* Text that is measured first (`out` NULL) and written in a second run. */
struct text {
    char *out;
    size_t size;
};

static void put(struct text *text, const char *part)
{
    const size_t length = strlen(part);
    if (text->out)
        memcpy(text->out + text->size, part, length);
    text->size += length;
}

static void put_quoted(struct text *text, const char *part)
{
    text->size += dfi_json_quote(part, text->out ? text->out + text->size : NULL);
}

static void put_number(struct text *text, uint64_t number)
{
    char digits[24];
    (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    put(text, digits);
}

static void put_metadata(struct text *text, const struct diffc_archive *archive)
{
    put(text, "\"__metadata__\":{");
    for (int i = 0; i < archive->metadata_count; i++) {
        put(text, i ? "," : "");
        put_quoted(text, archive->metadata[i].key);
        put(text, ":");
        put_quoted(text, archive->metadata[i].value);
    }
    put(text, "}");
}

static void put_entry(struct text *text, const struct dfi_archive_entry *entry, size_t begin)
{
    put_quoted(text, entry->name);
    put(text, ":{\"dtype\":\"");
    put(text, dfi_safetensors_dtype(entry->dtype));
    put(text, "\",\"shape\":[");
    for (int i = 0; i < entry->ndim; i++) {
        put(text, i ? "," : "");
        put_number(text, (uint64_t)entry->shape[i]);
    }
    put(text, "],\"data_offsets\":[");
    put_number(text, begin);
    put(text, ",");
    put_number(text, begin + entry->bytes);
    put(text, "]}");
}

/* The JSON, padded so that the data begins at a multiple of 8. */
static void put_header(struct text *text, const struct diffc_archive *archive)
{
    size_t begin = 0;
    put(text, "{");
    if (archive->metadata_count)
        put_metadata(text, archive);
    for (int i = 0; i < archive->count; i++) {
        put(text, i || archive->metadata_count ? "," : "");
        put_entry(text, &archive->entries[i], begin);
        begin += archive->entries[i].bytes;
    }
    put(text, "}");
    while (text->size % 8)
        put(text, " ");
}

static int measure_data(const struct diffc_archive *archive, size_t *size)
{
    *size = 0;
    for (int i = 0; i < archive->count; i++)
        if (dfi_ck_add(*size, archive->entries[i].bytes, size) || *size > INT64_MAX)
            return dfi_fail(DIFFC_ERR_LIMIT, "archive of more bytes than a file can have");
    return DIFFC_OK;
}

static int write_entry(struct dfi_atomic_file *file, const struct diffc_archive *archive, int position)
{
    struct diffc_tensor *tensor = NULL;
    DFI_TRY(dfi_archive_get(archive, position, &tensor));
    const int status = dfi_tensor_append(tensor, file);
    dfi_release(tensor);
    return status;
}

static int write_file(const struct diffc_archive *archive, const char *path, const struct text *header,
                      size_t size)
{
    struct dfi_atomic_file file;
    unsigned char prefix[PREFIX];
    for (int i = 0; i < PREFIX; i++)
        prefix[i] = (unsigned char)((uint64_t)header->size >> 8 * i & 0xFF);
    DFI_TRY(dfi_atomic_begin(archive->object.context, path, size, &file));
    int status = dfi_atomic_append(&file, prefix, PREFIX);
    if (!status)
        status = dfi_atomic_append(&file, header->out, header->size);
    for (int i = 0; i < archive->count && !status; i++)
        status = write_entry(&file, archive, i);
    if (!status)
        status = dfi_atomic_commit(&file);
    dfi_atomic_abort(&file);
    return status;
}

int dfi_archive_save(const struct diffc_archive *archive, const char *path)
{
    struct diffc_context *const context = archive->object.context;
    struct text header = { 0 };
    size_t size;
    DFI_TRY(measure_data(archive, &size));
    put_header(&header, archive);
    if (header.size > (size_t)context->limits.archive_header)
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "\"%s\" would have a header of %zu bytes, more than limits.archive_header = %lld",
                        path, header.size, (long long)context->limits.archive_header);
    if (dfi_ck_add(size, PREFIX + header.size, &size))
        return dfi_fail(DIFFC_ERR_LIMIT, "archive of more bytes than a file can have");
    header.out = dfi_alloc(context, header.size);
    if (!header.out)
        return DIFFC_ERR_NOMEM;
    header.size = 0;
    put_header(&header, archive);
    const int status = write_file(archive, path, &header, size);
    dfi_free(context, header.out);
    return status;
}
