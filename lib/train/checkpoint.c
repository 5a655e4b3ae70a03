/* A checkpoint is one safetensors file: the model as diffc_model_save() writes it, the state of the optimizer
 * beside it, and in the metadata the settings of the run, the position in it, a CRC-32 for the data of every
 * tensor and one for all the rest. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/archive.h"
#include "io/safetensors.h"
#include "model/weights.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

#define FORMAT_VERSION 1
#define KEY_BYTES (DFI_PARAM_NAME + 32)

/* ---- the archive of a trainer: tensors over its own memory, so that one list serves both directions ---- */

static int add_array(struct diffc_archive *archive, const struct diffc_trainer *trainer, const char *prefix,
                     const struct dfi_param *list, int count, float *values)
{
    char name[KEY_BYTES];
    for (int i = 0; i < count; i++) {
        const struct dfi_param *param = &list[i];
        struct diffc_tensor *view = NULL;
        (void)snprintf(name, sizeof(name), "%s%s", prefix, param->name);
        DFI_TRY(dfi_tensor_over(trainer->object.context, DIFFC_F32, param->ndim, param->shape,
                                values + param->offset, trainer, &view));
        const int status = dfi_archive_add(archive, name, view);
        dfi_release(view);
        DFI_TRY(status);
    }
    return DIFFC_OK;
}

static int add_state(struct diffc_archive *archive, const struct diffc_trainer *trainer)
{
    const struct dfi_params *params = &trainer->model->params;
    DFI_TRY(add_array(archive, trainer, "adam.m.", params->list, params->count, trainer->m));
    DFI_TRY(add_array(archive, trainer, "adam.v.", params->list, params->count, trainer->v));
    if (!trainer->ema)
        return DIFFC_OK;
    DFI_TRY(add_array(archive, trainer, "ema.", params->list, params->count, trainer->ema));
    return add_array(archive, trainer, "ema.", params->stat_list, params->stat_entries, trainer->ema_stats);
}

static int make_archive(const struct diffc_trainer *trainer, struct diffc_archive **archive)
{
    struct diffc_archive *made = NULL;
    DFI_TRY(dfi_model_store(trainer->model, DIFFC_F32, &made));
    const int status = add_state(made, trainer);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *archive = made;
    return DIFFC_OK;
}

/* ---- metadata ---- */

static int set_text(struct diffc_archive *archive, const char *name, const char *value)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof(key), "checkpoint.%s", name);
    return dfi_archive_set_metadata(archive, key, value);
}

static const char *get_text(const struct diffc_archive *archive, const char *name)
{
    char key[KEY_BYTES];
    (void)snprintf(key, sizeof(key), "checkpoint.%s", name);
    return dfi_archive_metadata(archive, key);
}

static int set_number(struct diffc_archive *archive, const char *name, int64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    return set_text(archive, name, text);
}

static int get_number(const struct diffc_archive *archive, const char *name, int64_t *value)
{
    const char *text = get_text(archive, name);
    char *end = NULL;
    errno = 0;
    const long long number = text ? strtoll(text, &end, 10) : -1;
    if (!text || errno || end == text || *end || number < 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "metadata checkpoint.%s is \"%.40s\", expected a number", name,
                        text ? text : "(none)");
    *value = number;
    return DIFFC_OK;
}

/* The bits of a double: NaN and infinity come back too, whatever the locale. */
static int set_double(struct diffc_archive *archive, const char *name, double value)
{
    char text[32];
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    (void)snprintf(text, sizeof(text), "%016" PRIx64, bits);
    return set_text(archive, name, text);
}

static double get_double(const struct diffc_archive *archive, const char *name)
{
    const char *text = get_text(archive, name);
    const uint64_t bits = text ? strtoull(text, NULL, 16) : 0;
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static int add_metadata(struct diffc_archive *archive, const struct diffc_trainer *trainer)
{
    const struct diffc_context *context = trainer->object.context;
    char value[DFI_SETTING_TEXT];
    const char *key;
    DFI_TRY(set_number(archive, "format", FORMAT_VERSION));
    DFI_TRY(set_number(archive, "step", trainer->step));
    DFI_TRY(set_number(archive, "skipped", trainer->skipped));
    DFI_TRY(set_double(archive, "loss_bits", trainer->loss));
    DFI_TRY(set_double(archive, "learning_rate_bits", trainer->learning_rate));
    DFI_TRY(set_double(archive, "gradient_norm_bits", trainer->gradient_norm));
    DFI_TRY(set_text(archive, "kernel_set", context->kernel_set));
    DFI_TRY(set_number(archive, "cpu_flags", context->cpu_flags));
    for (int i = 0; dfi_train_setting(&trainer->config, i, &key, value); i++)
        DFI_TRY(set_text(archive, key, value));
    return DIFFC_OK;
}

/* ---- checksums ---- */

static int by_key(const void *a, const void *b)
{
    const struct dfi_archive_pair *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static uint32_t add_text(uint32_t crc, const char *text)
{
    return dfi_crc32(crc, text, strlen(text) + 1);
}

static uint32_t add_shapes(uint32_t crc, const struct diffc_archive *archive)
{
    char text[32];
    for (int i = 0; i < archive->count; i++) {
        const struct dfi_archive_entry *entry = dfi_archive_entry(archive, archive->order[i]);
        crc = add_text(add_text(crc, entry->name), dfi_safetensors_dtype(entry->dtype));
        for (int d = 0; d < entry->ndim; d++) {
            (void)snprintf(text, sizeof(text), "%" PRId64, entry->shape[d]);
            crc = add_text(crc, text);
        }
    }
    return crc;
}

/* Of all that a file says besides the data: metadata by key, then names, dtypes and shapes by name. */
static int rest_crc(const struct diffc_archive *archive, uint32_t *crc)
{
    struct diffc_context *context = archive->object.context;
    const size_t count = (size_t)archive->metadata_count;
    const struct dfi_archive_pair **pairs = dfi_calloc(context, count + 1, sizeof(*pairs));
    if (!pairs)
        return DIFFC_ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        pairs[i] = &archive->metadata[i];
    qsort(pairs, count, sizeof(*pairs), by_key);
    *crc = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(pairs[i]->key, "crc32") != 0)
            *crc = add_text(add_text(*crc, pairs[i]->key), pairs[i]->value);
    *crc = add_shapes(*crc, archive);
    dfi_free(context, pairs);
    return DIFFC_OK;
}

static int add_checksums(struct diffc_archive *archive)
{
    char key[2 * KEY_BYTES], value[16];
    uint32_t crc;
    for (int i = 0; i < archive->count; i++) {
        (void)snprintf(key, sizeof(key), "crc32.%s", dfi_archive_entry(archive, i)->name);
        (void)snprintf(value, sizeof(value), "%08" PRIx32, dfi_archive_crc32(archive, i));
        DFI_TRY(dfi_archive_set_metadata(archive, key, value));
    }
    DFI_TRY(rest_crc(archive, &crc));
    (void)snprintf(value, sizeof(value), "%08" PRIx32, crc);
    return dfi_archive_set_metadata(archive, "crc32", value);
}

static int check_crc(const struct diffc_archive *archive, const char *key, const char *what, uint32_t crc)
{
    const char *stored = dfi_archive_metadata(archive, key);
    char value[16];
    (void)snprintf(value, sizeof(value), "%08" PRIx32, crc);
    if (!stored || strcmp(stored, value) != 0)
        return dfi_fail(DIFFC_ERR_CHECKSUM, "%s: CRC-32 is %s, the file says %.16s", what, value,
                        stored ? stored : "nothing");
    return DIFFC_OK;
}

static int check_checksums(const struct diffc_archive *archive)
{
    char key[2 * KEY_BYTES];
    uint32_t crc;
    DFI_TRY(rest_crc(archive, &crc));
    DFI_TRY(check_crc(archive, "crc32", "metadata and shapes", crc));
    for (int i = 0; i < archive->count; i++) {
        const char *name = dfi_archive_entry(archive, i)->name;
        if (strlen(name) >= sizeof(key) - 8)
            return dfi_fail(DIFFC_ERR_FORMAT, "tensor \"%.60s...\" is not of a checkpoint", name);
        (void)snprintf(key, sizeof(key), "crc32.%s", name);
        DFI_TRY(check_crc(archive, key, name, dfi_archive_crc32(archive, i)));
    }
    return DIFFC_OK;
}

/* ---- reading ---- */

static int check_archive(const struct diffc_archive *archive, const char *path, int64_t *step)
{
    int64_t format = 0;
    if (!get_text(archive, "format"))
        return dfi_fail(DIFFC_ERR_FORMAT, "not a checkpoint: no metadata checkpoint.format");
    DFI_TRY(get_number(archive, "format", &format));
    if (format != FORMAT_VERSION)
        return dfi_fail(DIFFC_ERR_VERSION, "checkpoint format %" PRId64 ", this library knows %d", format,
                        FORMAT_VERSION);
    DFI_TRY(check_checksums(archive));
    DFI_TRY(get_number(archive, "step", step));
    const int64_t named = dfi_checkpoint_step_of(path);
    if (named >= 0 && named != *step)
        return dfi_fail(DIFFC_ERR_FORMAT, "the name says step %" PRId64 ", the file step %" PRId64, named,
                        *step);
    return DIFFC_OK;
}

/* Reads a whole checkpoint and verifies it. */
static int open_checkpoint(struct diffc_context *context, const char *path, struct diffc_archive **archive,
                           int64_t *step)
{
    struct diffc_archive *made = NULL;
    DFI_TRY(dfi_safetensors_open(context, path, 0, &made));
    const int status = check_archive(made, path, step);
    if (status < 0) {
        dfi_release(made);
        return dfi_fail_in(status, "%s", path);
    }
    *archive = made;
    return DIFFC_OK;
}

int dfi_checkpoint_verify(struct diffc_context *context, const char *path, int64_t *step)
{
    struct diffc_archive *archive = NULL;
    int64_t found = 0;
    DFI_TRY(open_checkpoint(context, path, &archive, &found));
    dfi_release(archive);
    if (step)
        *step = found;
    return DIFFC_OK;
}

static int match_text(const char *key, const char *stored, const char *wanted)
{
    if (!stored || strcmp(stored, wanted) != 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "the checkpoint was made with %s = %.60s, this run has %s", key,
                        stored ? stored : "(nothing)", wanted);
    return DIFFC_OK;
}

static int match_settings(const struct diffc_trainer *trainer, const struct diffc_archive *mine,
                          const struct diffc_archive *file)
{
    static const char *const model_keys[] = { "architecture", "image_channels", "image_height",
                                              "image_width",  "width",          "classes",
                                              "train_steps",  "condition",      "time_mode" };
    char value[DFI_SETTING_TEXT];
    const char *key;
    for (int i = 0; i < DFI_COUNT(model_keys); i++) {
        const char *wanted = dfi_archive_metadata(mine, model_keys[i]);
        if (wanted)
            DFI_TRY(match_text(model_keys[i], dfi_archive_metadata(file, model_keys[i]), wanted));
    }
    const char *config = dfi_archive_metadata(mine, "config"), *stored = dfi_archive_metadata(file, "config");
    if (config && (!stored || strcmp(stored, config) != 0))
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "the checkpoint was made with another config (the text of config.json)");
    for (int i = 0; dfi_train_setting(&trainer->config, i, &key, value); i++)
        DFI_TRY(match_text(key, get_text(file, key), value));
    return DIFFC_OK;
}

static int match_tensors(const struct diffc_archive *mine, const struct diffc_archive *file)
{
    for (int i = 0; i < mine->count; i++) {
        const struct dfi_archive_entry *wanted = dfi_archive_entry(mine, i);
        const int position = dfi_archive_find(file, wanted->name);
        if (position < 0)
            return dfi_fail(DIFFC_ERR_CONFIG, "the checkpoint has no tensor %s", wanted->name);
        const struct dfi_archive_entry *entry = dfi_archive_entry(file, position);
        int differs = entry->dtype != wanted->dtype || entry->ndim != wanted->ndim;
        for (int d = 0; !differs && d < wanted->ndim; d++)
            differs = entry->shape[d] != wanted->shape[d];
        if (differs)
            return dfi_fail(DIFFC_ERR_CONFIG, "tensor %s of the checkpoint has another shape or dtype",
                            wanted->name);
    }
    return DIFFC_OK;
}

static void warn_of_other_kernels(struct diffc_context *context, const struct diffc_archive *file)
{
    const char *kernels = get_text(file, "kernel_set");
    int64_t flags = 0;
    if (get_number(file, "cpu_flags", &flags) == DIFFC_OK && flags == context->cpu_flags && kernels &&
        strcmp(kernels, context->kernel_set) == 0)
        return;
    dfi_log(context, DIFFC_LOG_WARNING,
            "the checkpoint was made with kernels %s (CPU flags %" PRId64 "), here run %s (%" PRIu32
            "): the run goes on, but not to the same bits",
            kernels ? kernels : "(unknown)", flags, context->kernel_set, context->cpu_flags);
}

/* Nothing is changed before everything has been found to fit. */
static int restore(struct diffc_trainer *trainer, const struct diffc_archive *file, int64_t step)
{
    struct diffc_archive *mine = NULL;
    int64_t skipped = 0;
    DFI_TRY(make_archive(trainer, &mine));
    int status = match_settings(trainer, mine, file);
    if (status == DIFFC_OK)
        status = match_tensors(mine, file);
    if (status == DIFFC_OK)
        status = get_number(file, "skipped", &skipped);
    if (status == DIFFC_OK && skipped > step)
        status = dfi_fail(DIFFC_ERR_FORMAT, "%" PRId64 " of %" PRId64 " updates skipped", skipped, step);
    for (int i = 0; status == DIFFC_OK && i < mine->count; i++) {
        const struct dfi_archive_entry *to = dfi_archive_entry(mine, i);
        const struct dfi_archive_entry *from = dfi_archive_entry(file, dfi_archive_find(file, to->name));
        memcpy((void *)(uintptr_t)to->data, from->data, to->bytes);
    }
    dfi_release(mine);
    DFI_TRY(status);
    trainer->step = step;
    trainer->skipped = skipped;
    trainer->loss = get_double(file, "loss_bits");
    trainer->learning_rate = get_double(file, "learning_rate_bits");
    trainer->gradient_norm = get_double(file, "gradient_norm_bits");
    dfi_trainer_name_objective(trainer);
    trainer->has_gradients = trainer->has_statistics = 0;
    dfi_exec_refresh(trainer->exec);
    warn_of_other_kernels(trainer->object.context, file);
    return DIFFC_OK;
}

/* Opens the newest of `steps` that verifies. When none does, the newest one's failure is what is returned. */
static int open_newest(struct diffc_context *context, const char *directory, const int64_t *steps, int count,
                       struct diffc_archive **archive, int64_t *step)
{
    char reason[512] = "";
    int first = DIFFC_OK;
    for (int i = 0; i < count; i++) {
        char *path = dfi_checkpoint_path(context, directory, steps[i]);
        if (!path)
            return DIFFC_ERR_NOMEM;
        const int status = open_checkpoint(context, path, archive, step);
        dfi_free(context, path);
        if (status == DIFFC_OK || status == DIFFC_ERR_NOMEM)
            return status;
        if (first == DIFFC_OK)
            (void)snprintf(reason, sizeof(reason), "%s", dfi_message());
        first = first ? first : status;
        dfi_log(context, DIFFC_LOG_WARNING, "checkpoint passed over: %s", dfi_message());
    }
    return dfi_fail(first, "none of %d checkpoints can be used, the newest: %s", count, reason);
}

/* Tidies up where that is possible: a directory that is in use or read-only can be resumed from all the same.
 */
static int clean_directory(struct diffc_context *context, const char *directory)
{
    int lock;
    int status = dfi_checkpoint_lock(context, directory, &lock);
    if (status == DIFFC_OK) {
        status = dfi_checkpoint_clean(context, directory);
        dfi_checkpoint_unlock(lock);
    }
    return status == DIFFC_ERR_NOMEM ? status : DIFFC_OK;
}

static int read_checkpoint(struct diffc_trainer *trainer, const char *directory)
{
    struct diffc_context *context = trainer->object.context;
    struct diffc_archive *archive = NULL;
    int64_t *steps = NULL, step = 0;
    int count = 0;
    DFI_TRY(clean_directory(context, directory));
    DFI_TRY(dfi_checkpoint_list(context, directory, &steps, &count));
    int status = DIFFC_OK;
    if (count == 0)
        status = dfi_fail(DIFFC_ERR_ARG, "no checkpoint in \"%s\"", directory);
    else
        status = open_newest(context, directory, steps, count, &archive, &step);
    dfi_free(context, steps);
    if (status == DIFFC_OK)
        status = restore(trainer, archive, step);
    dfi_release(archive);
    return status;
}

/* Rank 0 reads: only its directory counts. */
int dfi_trainer_resume(struct diffc_trainer *trainer, const char *directory, int before)
{
    struct dfi_comm *comm = &trainer->config.comm;
    const int status = comm->rank != 0 ? DIFFC_OK : before < 0 ? before : read_checkpoint(trainer, directory);
    if (comm->size == 1)
        return status;
    DFI_TRY(dfi_comm_agree(comm, status));
    return dfi_ranks_share_state(trainer);
}

/* ---- writing ---- */

static int write_checkpoint(const struct diffc_trainer *trainer, const char *directory)
{
    struct diffc_context *context = trainer->object.context;
    struct diffc_archive *archive = NULL;
    char *path = dfi_checkpoint_path(context, directory, trainer->step);
    if (!path)
        return DIFFC_ERR_NOMEM;
    int status = make_archive(trainer, &archive);
    if (status == DIFFC_OK)
        status = add_metadata(archive, trainer);
    if (status == DIFFC_OK)
        status = add_checksums(archive);
    if (status == DIFFC_OK)
        status = dfi_archive_save(archive, path);
    dfi_release(archive);
    dfi_free(context, path);
    return status;
}

static int save_locked(const struct diffc_trainer *trainer, const char *directory, int keep)
{
    struct diffc_context *context = trainer->object.context;
    struct dfi_checkpoint_old old;
    DFI_TRY(dfi_checkpoint_clean(context, directory));
    DFI_TRY(dfi_checkpoint_find_old(context, directory, trainer->step, keep, &old));
    const int status = write_checkpoint(trainer, directory);
    if (status == DIFFC_OK)
        dfi_checkpoint_remove_old(context, directory, &old);
    dfi_checkpoint_free_old(context, &old);
    return status;
}

int dfi_trainer_save(const struct diffc_trainer *trainer, const char *directory, int keep)
{
    int lock;
    if (trainer->config.comm.rank != 0)
        return DIFFC_OK;
    DFI_TRY(dfi_checkpoint_directory(directory));
    DFI_TRY(dfi_checkpoint_lock(trainer->object.context, directory, &lock));
    const int status = save_locked(trainer, directory, keep);
    dfi_checkpoint_unlock(lock);
    return status;
}
