/* Writing weights in the layout that dfi_folder_weights() reads. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "io/folder.h"

/* Tensors first .. last - 1 go into one file. */
struct span {
    int first, last;
};

static struct span next_span(const struct diffc_archive *archive, int first, uint64_t shard)
{
    uint64_t bytes = 0;
    int last = first;
    while (last < archive->count &&
           (!shard || last == first || bytes + archive->entries[last].bytes <= shard))
        bytes += archive->entries[last++].bytes;
    return (struct span) { first, last };
}

static int count_shards(const struct diffc_archive *archive, uint64_t shard)
{
    int count = 0;
    for (struct span span = { 0, 0 }; span.last < archive->count; count++)
        span = next_span(archive, span.last, shard);
    return count;
}

struct names {
    const char *stem, *dot, *variant;
    int shards;
};

static void file_name(const struct names *names, int number, char *out, size_t size)
{
    if (names->shards <= 1)
        (void)snprintf(out, size, "%.80s%s%.80s.safetensors", names->stem, names->dot, names->variant);
    else
        (void)snprintf(out, size, "%.80s%s%.80s-%05d-of-%05d.safetensors", names->stem, names->dot,
                       names->variant, number, names->shards);
}

static int save_span(const struct diffc_archive *archive, const struct span *span, const char *path)
{
    struct diffc_archive *part = NULL;
    DFI_TRY(dfi_archive_new(archive->object.context, &part));
    int status = dfi_archive_set_metadata(part, "format", "pt"); /* the libraries ask for it */
    for (int i = span->first; i < span->last && status == DIFFC_OK; i++) {
        struct diffc_tensor *tensor = NULL;
        status = dfi_archive_get(archive, i, &tensor);
        if (status == DIFFC_OK)
            status = dfi_archive_add(part, archive->entries[i].name, tensor);
        dfi_release(tensor);
    }
    if (status == DIFFC_OK)
        status = dfi_archive_save(part, path);
    dfi_release(part);
    return status;
}

static int append_text(struct dfi_atomic_file *file, const char *text)
{
    return dfi_atomic_append(file, text, strlen(text));
}

static int append_quoted(struct dfi_atomic_file *file, const char *text)
{
    struct diffc_context *context = file->context;
    const size_t size = dfi_json_quote(text, NULL);
    char *quoted = dfi_alloc(context, size);
    if (!quoted)
        return DIFFC_ERR_NOMEM;
    (void)dfi_json_quote(text, quoted);
    const int status = dfi_atomic_append(file, quoted, size);
    dfi_free(context, quoted);
    return status;
}

static int append_index(const struct diffc_archive *archive, const struct names *names, uint64_t shard,
                        struct dfi_atomic_file *file)
{
    char text[256];
    uint64_t total = 0;
    for (int i = 0; i < archive->count; i++)
        total += archive->entries[i].bytes;
    (void)snprintf(text, sizeof(text),
                   "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n"
                   "  \"weight_map\": {",
                   total);
    DFI_TRY(append_text(file, text));
    struct span span = { 0, 0 };
    for (int number = 1; number <= names->shards; number++) {
        span = next_span(archive, span.last, shard);
        file_name(names, number, text, sizeof(text));
        for (int i = span.first; i < span.last; i++) {
            DFI_TRY(append_text(file, i ? ",\n    " : "\n    "));
            DFI_TRY(append_quoted(file, archive->entries[i].name));
            DFI_TRY(append_text(file, ": "));
            DFI_TRY(append_quoted(file, text));
        }
    }
    return append_text(file, "\n  }\n}\n");
}

static char *index_path(struct diffc_context *context, const char *folder, const struct names *names)
{
    char name[256];
    (void)snprintf(name, sizeof(name), "%.80s.safetensors.index%s%.80s.json", names->stem, names->dot,
                   names->variant);
    return dfi_folder_path(context, folder, name);
}

/* An index of an earlier save would lead past the one file. */
static int remove_index(struct diffc_context *context, const char *folder, const struct names *names)
{
    char *path = index_path(context, folder, names);
    int status = path ? DIFFC_OK : DIFFC_ERR_NOMEM;
    if (path && dfi_file_calls()->unlink(path) != 0 && errno != ENOENT)
        status = dfi_fail(DIFFC_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
    dfi_free(context, path);
    return status;
}

static int save_index(const struct diffc_archive *archive, const char *folder, const struct names *names,
                      uint64_t shard)
{
    struct diffc_context *context = archive->object.context;
    struct dfi_atomic_file file;
    char *path = index_path(context, folder, names);
    if (!path)
        return DIFFC_ERR_NOMEM;
    int status = dfi_atomic_begin(context, path, 0, &file);
    if (status == DIFFC_OK)
        status = append_index(archive, names, shard, &file);
    if (status == DIFFC_OK)
        status = dfi_atomic_commit(&file);
    dfi_atomic_abort(&file);
    dfi_free(context, path);
    return status;
}

int dfi_folder_save(const struct diffc_archive *archive, const char *folder, const char *stem,
                    const char *variant, uint64_t shard)
{
    struct diffc_context *context = archive->object.context;
    const struct names names = { stem, variant && variant[0] ? "." : "", variant ? variant : "",
                                 count_shards(archive, shard) };
    struct span span = { 0, 0 };
    if (names.shards > 99999)
        return dfi_fail(DIFFC_ERR_LIMIT, "%d shards of %" PRIu64 " bytes, at most 99999", names.shards,
                        shard);
    for (int number = 1; number <= (names.shards ? names.shards : 1); number++) {
        char name[256];
        span = next_span(archive, span.last, shard);
        file_name(&names, number, name, sizeof(name));
        char *path = dfi_folder_path(context, folder, name);
        if (!path)
            return DIFFC_ERR_NOMEM;
        const int status = save_span(archive, &span, path);
        dfi_free(context, path);
        DFI_TRY(status);
    }
    return names.shards > 1 ? save_index(archive, folder, &names, shard)
                            : remove_index(context, folder, &names);
}
