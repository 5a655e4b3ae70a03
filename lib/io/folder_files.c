/* Which files of a folder hold its weights (names as diffusers and transformers write them). */

#include "io/folder_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX ".safetensors"
#define MAX_FILES 4096
#define CONVERTER "bindings/convert_checkpoint.py"

enum kind { NEITHER, WEIGHTS, INDEX, PICKLE };

/* A file name taken apart; the strings lie within `text`. */
struct parts {
    enum kind kind;
    char text[256];
    const char *stem, *variant; /* variant "": none */
    int shard, shards;          /* 0: not a shard */
};

static int ends_with(const char *text, const char *end)
{
    const size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Takes "-00001-of-00003" out of the name. */
static void take_shard(struct parts *parts)
{
    for (char *at = strchr(parts->text, '-'); at; at = strchr(at + 1, '-')) {
        int shard = 0, shards = 0, length = 0;
        if (sscanf(at, "-%5d-of-%5d%n", &shard, &shards, &length) == 2 && length == 15 && shard > 0) {
            parts->shard = shard;
            parts->shards = shards;
            memmove(at, at + length, strlen(at + length) + 1);
            return;
        }
    }
}

static void take_variant(struct parts *parts, char *from)
{
    char *dot = strchr(from, '.');
    parts->variant = dot ? dot + 1 : "";
    if (dot)
        *dot = '\0';
}

static void take_apart(const char *name, struct parts *parts)
{
    static const char index_mark[] = SUFFIX ".index";
    *parts = (struct parts) { .kind = NEITHER };
    if (strlen(name) >= sizeof(parts->text) || name[0] == '.')
        return;
    strcpy(parts->text, name);
    parts->stem = parts->text;
    char *mark = strstr(parts->text, index_mark);
    if (mark && ends_with(name, ".json")) {
        parts->kind = INDEX;
        parts->text[strlen(name) - 5] = '\0';
        *mark = '\0';
        take_variant(parts, mark + sizeof(index_mark) - 1);
    } else if (ends_with(name, SUFFIX)) {
        parts->kind = WEIGHTS;
        parts->text[strlen(name) - strlen(SUFFIX)] = '\0';
        take_shard(parts);
        take_variant(parts, parts->text);
    } else if (ends_with(name, ".bin") || ends_with(name, ".pth") || ends_with(name, ".pt") ||
               ends_with(name, ".ckpt")) {
        parts->kind = PICKLE;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_name(struct diffc_context *context, struct dfi_folder_files *files, const char *name)
{
    if (files->count == MAX_FILES)
        return dfi_fail(DIFFC_ERR_LIMIT, "a folder of more than %d files with weights", MAX_FILES);
    if (files->count == files->capacity) {
        const int more = files->capacity ? 2 * files->capacity : 16;
        char **grown = dfi_realloc(context, files->names, (size_t)files->capacity * sizeof(*grown),
                                   (size_t)more * sizeof(*grown));
        if (!grown)
            return DIFFC_ERR_NOMEM;
        files->names = grown;
        files->capacity = more;
    }
    files->names[files->count] = dfi_strdup(context, name);
    return files->names[files->count] ? (files->count++, DIFFC_OK) : DIFFC_ERR_NOMEM;
}

void dfi_folder_files_clear(struct diffc_context *context, struct dfi_folder_files *files)
{
    for (int i = 0; i < files->count; i++)
        dfi_free(context, files->names[i]);
    dfi_free(context, files->names);
    dfi_json_free(files->index);
    *files = (struct dfi_folder_files) { .names = NULL };
}

/* All files that weights may have to do with, sorted. */
static int list_files(struct diffc_context *context, const char *folder, struct dfi_folder_files *files)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;
    int status = DIFFC_OK;
    if (!stream)
        return dfi_fail(DIFFC_ERR_IO, "cannot read the folder \"%s\": %s", folder, strerror(errno));
    errno = 0;
    while (status == DIFFC_OK && (entry = readdir(stream))) {
        struct parts parts;
        take_apart(entry->d_name, &parts);
        if (parts.kind != NEITHER)
            status = add_name(context, files, entry->d_name);
        errno = 0;
    }
    if (status == DIFFC_OK && errno)
        status = dfi_fail(DIFFC_ERR_IO, "cannot read the folder \"%s\": %s", folder, strerror(errno));
    (void)closedir(stream);
    if (files->count)
        qsort(files->names, (size_t)files->count, sizeof(*files->names), by_name);
    return status;
}

/* Files of one stem and variant. */
struct choice {
    const char *stem, *variant;
};

static int is_chosen(const struct parts *parts, const struct choice *choice)
{
    return strcmp(parts->stem, choice->stem) == 0 && strcmp(parts->variant, choice->variant) == 0;
}

/* The stems that the two libraries write come before any other. */
static int stem_rank(const char *stem)
{
    static const char *const known[] = { "diffusion_pytorch_model", "model", "pytorch_model" };
    for (int i = 0; i < 3; i++)
        if (strcmp(stem, known[i]) == 0)
            return i;
    return 3;
}

static int rank_of(const struct parts *parts, const char *variant)
{
    const int other = strcmp(parts->variant, variant) == 0 ? 0 : parts->variant[0] ? 2 : 1;
    return 4 * other + stem_rank(parts->stem);
}

/* The best file among all decides which stem and variant is read; NULL if there are none. */
static const char *best_file(const struct dfi_folder_files *all, const char *variant)
{
    const char *best = NULL;
    int least = 0;
    for (int i = 0; i < all->count; i++) {
        struct parts parts;
        take_apart(all->names[i], &parts);
        if (parts.kind != WEIGHTS && parts.kind != INDEX)
            continue;
        const int rank = rank_of(&parts, variant);
        if (!best || rank < least) {
            best = all->names[i];
            least = rank;
        }
    }
    return best;
}

/* Names of shards come from a file: they may name nothing but a neighbour of it. */
static int check_shard_name(const char *folder, const char *index, const char *name)
{
    char shown[80];
    if (!name || !name[0])
        return dfi_fail(DIFFC_ERR_FORMAT, "%s/%s: weight_map has something else than file names", folder,
                        index);
    if (strchr(name, '/') || strchr(name, '\\') || name[0] == '.' || !ends_with(name, SUFFIX))
        return dfi_fail(DIFFC_ERR_FORMAT,
                        "%s/%s: weight_map names \"%s\", must be a safetensors file beside it", folder, index,
                        dfi_clip(name, shown, sizeof(shown)));
    return DIFFC_OK;
}

static int is_listed(const struct dfi_folder_files *files, const char *name)
{
    for (int i = 0; i < files->count; i++)
        if (strcmp(files->names[i], name) == 0)
            return 1;
    return 0;
}

static int files_of_index(struct diffc_context *context, const char *folder, const char *index,
                          struct dfi_folder_files *files)
{
    struct dfi_json_member member = { 0 };
    DFI_TRY(dfi_folder_index(context, folder, index, &files->index));
    struct json_t *weight_map = dfi_json_get(files->index, "weight_map");
    if (dfi_json_kind(weight_map) != DFI_JSON_OBJECT || dfi_json_size(weight_map) == 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s/%s: no object weight_map with members", folder, index);
    while (dfi_json_next(weight_map, &member)) {
        const char *name = dfi_json_string(member.value);
        DFI_TRY(check_shard_name(folder, index, name));
        if (!is_listed(files, name))
            DFI_TRY(add_name(context, files, name));
    }
    return DIFFC_OK;
}

static int check_shards(const char *folder, const struct choice *choice, const unsigned char *seen,
                        int shards)
{
    for (int i = 1; i <= shards; i++)
        if (!seen[i])
            return dfi_fail(DIFFC_ERR_IO, "%s: %s%s%s: shard %d of %d is missing", folder, choice->stem,
                            choice->variant[0] ? "." : "", choice->variant, i, shards);
    return DIFFC_OK;
}

/* Without an index: the single file, or else all shards. */
static int files_by_name(struct diffc_context *context, const char *folder,
                         const struct dfi_folder_files *all, const struct choice *choice,
                         struct dfi_folder_files *files)
{
    unsigned char seen[MAX_FILES + 1] = { 0 };
    int shards = 0;
    for (int i = 0; i < all->count; i++) {
        struct parts parts;
        take_apart(all->names[i], &parts);
        if (parts.kind == WEIGHTS && parts.shards == 0 && is_chosen(&parts, choice))
            return add_name(context, files, all->names[i]);
    }
    for (int i = 0; i < all->count; i++) {
        struct parts parts;
        take_apart(all->names[i], &parts);
        if (parts.kind != WEIGHTS || !is_chosen(&parts, choice))
            continue;
        if (parts.shards > MAX_FILES || parts.shard > parts.shards || (shards && parts.shards != shards))
            return dfi_fail(DIFFC_ERR_FORMAT, "%s/%s: its number does not fit that of the other shards",
                            folder, all->names[i]);
        shards = parts.shards;
        seen[parts.shard] = 1;
        DFI_TRY(add_name(context, files, all->names[i]));
    }
    return check_shards(folder, choice, seen, shards);
}

static int choose_files(struct diffc_context *context, const char *folder, const struct dfi_folder_files *all,
                        const char *variant, struct dfi_folder_files *files)
{
    const char *best = best_file(all, variant ? variant : "");
    if (!best && all->count)
        return dfi_fail(
            DIFFC_ERR_UNSUPPORTED,
            "%s: %s is a PyTorch pickle, which is never read because it can run code; turn it into "
            "safetensors with " CONVERTER,
            folder, all->names[0]);
    if (!best)
        return dfi_fail(DIFFC_ERR_IO, "%s: no weights (*" SUFFIX ")", folder);
    struct parts parts;
    take_apart(best, &parts);
    const struct choice choice = { parts.stem, parts.variant };
    if (variant && strcmp(variant, choice.variant) != 0)
        dfi_log(context, DIFFC_LOG_WARNING, "%s: no variant \"%s\", %s is read", folder, variant, best);
    for (int i = 0; i < all->count; i++) {
        struct parts other;
        take_apart(all->names[i], &other);
        if (other.kind == INDEX && is_chosen(&other, &choice))
            return files_of_index(context, folder, all->names[i], files);
    }
    return files_by_name(context, folder, all, &choice, files);
}

int dfi_folder_files_find(struct diffc_context *context, const char *folder, const char *variant,
                          struct dfi_folder_files *files)
{
    struct dfi_folder_files all = { .names = NULL };
    *files = (struct dfi_folder_files) { .names = NULL };
    int status = list_files(context, folder, &all);
    if (status == DIFFC_OK)
        status = choose_files(context, folder, &all, variant, files);
    dfi_folder_files_clear(context, &all);
    if (status < 0)
        dfi_folder_files_clear(context, files);
    return status;
}
