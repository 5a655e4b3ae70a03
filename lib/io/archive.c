#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "io/archive.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/stream.h"

static void destroy(void *handle)
{
    struct diffc_archive *const archive = handle;
    struct diffc_context *const context = archive->object.context;
    for (int i = 0; i < archive->count; i++) {
        dfi_free(context, archive->entries[i].name);
        dfi_release(archive->entries[i].tensor);
    }
    for (int i = 0; i < archive->metadata_count; i++) {
        dfi_free(context, archive->metadata[i].key);
        dfi_free(context, archive->metadata[i].value);
    }
    dfi_free(context, archive->entries);
    dfi_free(context, archive->order);
    dfi_free(context, archive->metadata);
    dfi_release(archive->block);
    dfi_object_free(archive);
}

int dfi_archive_new(struct diffc_context *context, struct diffc_archive **archive)
{
    struct diffc_archive *const made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    *archive = made;
    return DIFFC_OK;
}

/* Doubles an array that is full. */
static int reserve(struct diffc_context *context, void **items, int count, int capacity, size_t size,
                   int *grown)
{
    *grown = capacity;
    if (count < capacity)
        return DIFFC_OK;
    if (capacity > INT_MAX / 2)
        return dfi_fail(DIFFC_ERR_LIMIT, "archive of more than %d entries", capacity);
    const int wanted = capacity ? 2 * capacity : 16;
    void *const bigger = dfi_realloc(context, *items, size * (size_t)count, size * (size_t)wanted);
    if (!bigger)
        return DIFFC_ERR_NOMEM;
    *items = bigger;
    *grown = wanted;
    return DIFFC_OK;
}

int dfi_archive_append(struct diffc_archive *archive, const char *name, struct dfi_archive_entry **entry)
{
    struct diffc_context *const context = archive->object.context;
    void *entries = archive->entries, *order = archive->order;
    int capacity;
    int status = reserve(context, &order, archive->count, archive->capacity, sizeof(*archive->order),
                         &capacity);
    archive->order = order;
    if (!status)
        status = reserve(context, &entries, archive->count, archive->capacity, sizeof(*archive->entries),
                         &capacity);
    archive->entries = entries;
    if (status)
        return status;
    archive->capacity = capacity;
    char *const copy = dfi_strdup(context, name);
    if (!copy)
        return DIFFC_ERR_NOMEM;
    archive->order[archive->count] = archive->count;
    *entry = &archive->entries[archive->count++];
    **entry = (struct dfi_archive_entry) { .name = copy };
    return DIFFC_OK;
}

int dfi_archive_append_metadata(struct diffc_archive *archive, const char *key, const char *value)
{
    struct diffc_context *const context = archive->object.context;
    const int64_t limit = context->limits.archive_tensors;
    void *items = archive->metadata;
    if (archive->metadata_count >= limit)
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "archive of more than limits.archive_tensors = %lld metadata strings",
                        (long long)limit);
    const int status = reserve(context, &items, archive->metadata_count, archive->metadata_capacity,
                               sizeof(*archive->metadata), &archive->metadata_capacity);
    archive->metadata = items;
    DFI_TRY(status);
    char *const key_copy = dfi_strdup(context, key);
    char *const value_copy = key_copy ? dfi_strdup(context, value) : NULL;
    if (!value_copy) {
        dfi_free(context, key_copy);
        return DIFFC_ERR_NOMEM;
    }
    archive->metadata[archive->metadata_count++] = (struct dfi_archive_pair) { key_copy, value_copy };
    return DIFFC_OK;
}

struct named {
    const char *name;
    int position;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

int dfi_archive_sort(struct diffc_archive *archive)
{
    struct named *const list = dfi_calloc(archive->object.context, (size_t)archive->count, sizeof(*list));
    if (!list)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < archive->count; i++)
        list[i] = (struct named) { archive->entries[i].name, i };
    qsort(list, (size_t)archive->count, sizeof(*list), compare_names);
    for (int i = 0; i < archive->count; i++)
        archive->order[i] = list[i].position;
    dfi_free(archive->object.context, list);
    return DIFFC_OK;
}

/* First place in `order` whose name is not less; `found` says whether it is the name itself. */
static int search(const struct diffc_archive *archive, const char *name, int *found)
{
    int low = 0, high = archive->count;
    *found = 0;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const int order = strcmp(archive->entries[archive->order[middle]].name, name);
        if (order == 0)
            *found = 1;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int dfi_archive_find(const struct diffc_archive *archive, const char *name)
{
    int found;
    const int place = search(archive, name, &found);
    return found ? archive->order[place] : -1;
}

const struct dfi_archive_entry *dfi_archive_entry(const struct diffc_archive *archive, int position)
{
    return &archive->entries[position];
}

int dfi_archive_get(const struct diffc_archive *archive, int position, struct diffc_tensor **tensor)
{
    const struct dfi_archive_entry *const entry = &archive->entries[position];
    if (entry->tensor) {
        *tensor = dfi_retain(entry->tensor);
        return DIFFC_OK;
    }
    return dfi_tensor_over(archive->object.context, entry->dtype, entry->ndim, entry->shape,
                           (void *)(uintptr_t)entry->data, archive->block, tensor);
}

static int check_name(const char *name)
{
    const size_t length = strlen(name);
    char text[80];
    if (length < 1 || length > DFI_SAFETENSORS_NAME_MAX)
        return dfi_fail(DIFFC_ERR_ARG, "tensor name of %zu bytes, must be 1 to %d", length,
                        DFI_SAFETENSORS_NAME_MAX);
    if (!dfi_utf8_valid(name, length))
        return dfi_fail(DIFFC_ERR_ARG, "tensor name \"%s\" is not UTF-8", dfi_clip(name, text, sizeof(text)));
    if (strcmp(name, "__metadata__") == 0)
        return dfi_fail(DIFFC_ERR_ARG, "tensor name \"__metadata__\" is taken by the format");
    return DIFFC_OK;
}

int dfi_archive_add(struct diffc_archive *archive, const char *name, const struct diffc_tensor *tensor)
{
    const int64_t limit = archive->object.context->limits.archive_tensors;
    char text[80];
    int found;
    DFI_TRY(check_name(name));
    const int place = search(archive, name, &found);
    if (found)
        return dfi_fail(DIFFC_ERR_ARG, "the archive has a tensor \"%s\" already",
                        dfi_clip(name, text, sizeof(text)));
    if (archive->count >= limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "archive of more than limits.archive_tensors = %lld tensors",
                        (long long)limit);
    struct dfi_archive_entry *entry;
    DFI_TRY(dfi_archive_append(archive, name, &entry));
    const int position = archive->count - 1;
    memmove(archive->order + place + 1, archive->order + place, sizeof(int) * (size_t)(position - place));
    archive->order[place] = position;
    entry->dtype = tensor->dtype;
    entry->ndim = tensor->ndim;
    memcpy(entry->shape, tensor->shape, sizeof(entry->shape));
    entry->bytes = dfi_tensor_bytes(tensor);
    entry->data = dfi_tensor_is_contiguous(tensor) ? tensor->data : NULL;
    entry->tensor = dfi_retain(tensor);
    return DIFFC_OK;
}

void dfi_archive_undo_add(struct diffc_archive *archive)
{
    const int last = --archive->count;
    int place = 0;
    while (archive->order[place] != last)
        place++;
    memmove(archive->order + place, archive->order + place + 1, sizeof(int) * (size_t)(last - place));
    dfi_free(archive->object.context, archive->entries[last].name);
    dfi_release(archive->entries[last].tensor);
}

static struct dfi_archive_pair *find_metadata(const struct diffc_archive *archive, const char *key)
{
    for (int i = 0; i < archive->metadata_count; i++)
        if (strcmp(archive->metadata[i].key, key) == 0)
            return &archive->metadata[i];
    return NULL;
}

const char *dfi_archive_metadata(const struct diffc_archive *archive, const char *key)
{
    const struct dfi_archive_pair *const pair = find_metadata(archive, key);
    return pair ? pair->value : NULL;
}

int dfi_archive_set_metadata(struct diffc_archive *archive, const char *key, const char *value)
{
    struct dfi_archive_pair *const pair = find_metadata(archive, key);
    char text[80];
    if (!dfi_utf8_valid(key, strlen(key)) || !dfi_utf8_valid(value, strlen(value)))
        return dfi_fail(DIFFC_ERR_ARG, "metadata \"%s\" is not UTF-8", dfi_clip(key, text, sizeof(text)));
    if (!pair)
        return dfi_archive_append_metadata(archive, key, value);
    char *const copy = dfi_strdup(archive->object.context, value);
    if (!copy)
        return DIFFC_ERR_NOMEM;
    dfi_free(archive->object.context, pair->value);
    pair->value = copy;
    return DIFFC_OK;
}

static int add_to_crc(void *opaque, const void *data, size_t size)
{
    uint32_t *const crc = opaque;
    *crc = dfi_crc32(*crc, data, size);
    return DIFFC_OK;
}

uint32_t dfi_archive_crc32(const struct diffc_archive *archive, int position)
{
    const struct dfi_archive_entry *const entry = &archive->entries[position];
    uint32_t crc = 0;
    if (entry->tensor)
        dfi_tensor_stream(entry->tensor, 1, add_to_crc, &crc);
    else
        crc = dfi_crc32(0, entry->data, entry->bytes);
    return crc;
}

/* Bits of the exponent, all of which are set in NaN and infinity; 0: whole numbers. */
static uint64_t exponent_bits(int dtype)
{
    switch (dtype) {
    case DIFFC_F16: return 0x7C00;
    case DIFFC_BF16: return 0x7F80;
    case DIFFC_F32: return 0x7F800000;
    case DIFFC_F64: return 0x7FF0000000000000;
    default: return 0;
    }
}

/* Position of the first value that is not finite, or their number. */
static size_t find_nonfinite(const struct dfi_archive_entry *entry, uint64_t mask)
{
    const size_t width = dfi_dtype_size(entry->dtype), count = entry->bytes / width;
    for (size_t i = 0; i < count; i++) {
        const uint64_t bits = width == 2   ? ((const uint16_t *)entry->data)[i]
                              : width == 4 ? ((const uint32_t *)entry->data)[i]
                                           : ((const uint64_t *)entry->data)[i];
        if ((bits & mask) == mask)
            return i;
    }
    return count;
}

int dfi_archive_check_finite(const struct diffc_archive *archive)
{
    char text[80];
    for (int i = 0; i < archive->count; i++) {
        const struct dfi_archive_entry *const entry = &archive->entries[i];
        const uint64_t mask = exponent_bits(entry->dtype);
        const size_t at = mask ? find_nonfinite(entry, mask) : 0;
        if (mask && at < entry->bytes / dfi_dtype_size(entry->dtype))
            return dfi_fail(DIFFC_ERR_NONFINITE, "tensor \"%s\": value %zu is NaN or infinite",
                            dfi_clip(entry->name, text, sizeof(text)), at);
    }
    return DIFFC_OK;
}
