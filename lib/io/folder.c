#include "io/folder.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "io/folder_files.h"
#include "io/safetensors.h"

enum { CONFIG_BYTES = 1 << 20, CONFIG_DEPTH = 16, CONFIG_VALUES = 65536 };

int dfi_is_folder(const char *path)
{
    struct stat information;
    return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

char *dfi_folder_path(struct diffc_context *context, const char *folder, const char *name)
{
    const size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = dfi_alloc(context, bytes);
    if (path)
        (void)snprintf(path, bytes, "%s/%s", folder, name);
    return path;
}

int dfi_folder_has(const char *folder, const char *name)
{
    char path[4096];
    struct stat information;
    const int length = snprintf(path, sizeof(path), "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof(path) && stat(path, &information) == 0;
}

static int parse_object(const char *path, const char *text, size_t size, size_t values, struct json_t **root)
{
    const struct dfi_json_limits limits = { CONFIG_DEPTH, values, values };
    DFI_TRY(dfi_json_parse(path, text, size, &limits, root));
    if (dfi_json_kind(*root) == DFI_JSON_OBJECT)
        return DIFFC_OK;
    dfi_json_free(*root);
    *root = NULL;
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: not a JSON object", path);
}

int dfi_folder_text(struct diffc_context *context, const char *folder, const char *name, char **text)
{
    void *data = NULL;
    size_t size = 0;
    char *path = dfi_folder_path(context, folder, name), *copy = NULL;
    int status = path ? dfi_file_load(context, path, CONFIG_BYTES, &data, &size) : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK && memchr(data, 0, size))
        status = dfi_fail(DIFFC_ERR_FORMAT, "%s: has a byte 0", path);
    if (status == DIFFC_OK && !(copy = dfi_calloc(context, size + 1, 1)))
        status = DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK)
        memcpy(copy, data, size);
    dfi_free(context, data);
    dfi_free(context, path);
    *text = copy;
    return status;
}

int dfi_folder_parse(struct diffc_context *context, const char *folder, const char *name, const char *text,
                     struct json_t **root)
{
    char *path = dfi_folder_path(context, folder, name);
    const int status = path ? parse_object(path, text, strlen(text), CONFIG_VALUES, root) : DIFFC_ERR_NOMEM;
    dfi_free(context, path);
    return status;
}

int dfi_folder_json(struct diffc_context *context, const char *folder, const char *name, struct json_t **root)
{
    char *text = NULL;
    DFI_TRY(dfi_folder_text(context, folder, name, &text));
    const int status = dfi_folder_parse(context, folder, name, text, root);
    dfi_free(context, text);
    return status;
}

static int open_file(struct diffc_context *context, const char *folder, const char *name, int map,
                     struct diffc_archive **archive)
{
    char *path = dfi_folder_path(context, folder, name);
    if (!path)
        return DIFFC_ERR_NOMEM;
    const int status = dfi_safetensors_open(context, path, map, archive);
    dfi_free(context, path);
    return status;
}

/* By the index, in another file than this one? */
static int lies_elsewhere(struct json_t *weight_map, const char *name, const char *file)
{
    const char *home = weight_map ? dfi_json_string(dfi_json_get(weight_map, name)) : NULL;
    return home && strcmp(home, file) != 0;
}

/* Adds the tensors of a file, which keep its memory. Of one that lies in several files, and in none of them
 * by an index, the first stays. */
static int add_tensors(struct json_t *weight_map, const char *file, const struct diffc_archive *from,
                       struct diffc_archive *to)
{
    for (int i = 0; i < from->count; i++) {
        struct diffc_tensor *tensor = NULL;
        const char *name = from->entries[i].name;
        if (lies_elsewhere(weight_map, name, file) || dfi_archive_find(to, name) >= 0)
            continue;
        DFI_TRY(dfi_archive_get(from, i, &tensor));
        const int status = dfi_archive_add(to, name, tensor);
        dfi_release(tensor);
        DFI_TRY(status);
    }
    return DIFFC_OK;
}

/* What the index says lies in this file must be there. */
static int check_index(struct json_t *weight_map, const char *folder, const char *file,
                       const struct diffc_archive *archive)
{
    struct dfi_json_member member = { 0 };
    char shown[80];
    while (weight_map && dfi_json_next(weight_map, &member))
        if (strcmp(dfi_json_string(member.value), file) == 0 && dfi_archive_find(archive, member.key) < 0)
            return dfi_fail(DIFFC_ERR_FORMAT, "%s: weight_map puts tensor \"%s\" into %s, which lacks it",
                            folder, dfi_clip(member.key, shown, sizeof(shown)), file);
    return DIFFC_OK;
}

static int open_files(struct diffc_context *context, const char *folder, const struct dfi_folder_files *files,
                      int map, struct diffc_archive *whole)
{
    struct json_t *weight_map = dfi_json_get(files->index, "weight_map");
    for (int i = 0; i < files->count; i++) {
        struct diffc_archive *part = NULL;
        DFI_TRY(open_file(context, folder, files->names[i], map, &part));
        int status = check_index(weight_map, folder, files->names[i], part);
        if (status == DIFFC_OK)
            status = add_tensors(weight_map, files->names[i], part, whole);
        dfi_release(part);
        DFI_TRY(status);
    }
    return DIFFC_OK;
}

int dfi_folder_weights(struct diffc_context *context, const char *folder, const char *variant, int map,
                       struct diffc_archive **archive)
{
    struct dfi_folder_files files;
    struct diffc_archive *whole = NULL;
    DFI_TRY(dfi_folder_files_find(context, folder, variant, &files));
    int status;
    if (files.count == 1 && !files.index) {
        status = open_file(context, folder, files.names[0], map, &whole);
    } else {
        status = dfi_archive_new(context, &whole);
        if (status == DIFFC_OK)
            status = open_files(context, folder, &files, map, whole);
    }
    dfi_folder_files_clear(context, &files);
    if (status < 0)
        dfi_release(whole);
    else
        *archive = whole;
    return status;
}

int dfi_folder_weight_bytes(struct diffc_context *context, const char *folder, const char *variant,
                            uint64_t *bytes)
{
    struct dfi_folder_files files;
    uint64_t total = 0;
    int status = DIFFC_OK;
    DFI_TRY(dfi_folder_files_find(context, folder, variant, &files));
    for (int i = 0; i < files.count && status == DIFFC_OK; i++) {
        struct stat information = { .st_size = 0 };
        char *path = dfi_folder_path(context, folder, files.names[i]);
        if (!path)
            status = DIFFC_ERR_NOMEM;
        else if (stat(path, &information) != 0)
            status = dfi_fail(DIFFC_ERR_IO, "cannot open \"%s\": %s", path, strerror(errno));
        total += (uint64_t)information.st_size;
        dfi_free(context, path);
    }
    dfi_folder_files_clear(context, &files);
    if (status == DIFFC_OK)
        *bytes = total;
    return status;
}

int dfi_folder_index(struct diffc_context *context, const char *folder, const char *name,
                     struct json_t **index)
{
    const struct diffc_limits *limits = &context->limits;
    char *path = dfi_folder_path(context, folder, name);
    if (!path)
        return DIFFC_ERR_NOMEM;
    void *text = NULL;
    size_t size = 0;
    int status = dfi_file_load(context, path, (size_t)limits->archive_header, &text, &size);
    if (status == DIFFC_OK)
        status = parse_object(path, text, size, 2 * (size_t)limits->archive_tensors + 64, index);
    dfi_free(context, text);
    dfi_free(context, path);
    return status;
}
