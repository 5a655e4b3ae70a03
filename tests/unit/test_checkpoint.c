/* Checkpoints: what is damaged is found out, what is refused says why, and no failure of a save harms an
 * earlier one. */

#include "train_case.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/file.h"
#include "io/archive.h"

struct lines {
    int count;
    char last[512];
};

static void take_line(void *opaque, int level, const char *line)
{
    struct lines *lines = opaque;
    (void)level;
    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", line);
}

/* One run in a directory of its own. */
struct fixture {
    struct lines lines;
    diffc_context *context;
    diffc_dataset *data;
    diffc_model *model;
    diffc_trainer *trainer;
    char directory[64];
};

static diffc_trainer_options the_options(void)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 6;
    options.epochs = 100;
    options.ema_decay = 0.9;
    options.seed = 21;
    return options;
}

static int setup_of(void **state, int classifier)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    diffc_context_options how = DIFFC_CONTEXT_OPTIONS;
    how.threads = 1;
    how.log = take_line;
    how.log_opaque = &f->lines;
    tc_ok(diffc_context_create(&how, &f->context));
    if (classifier) {
        tc_classifier(f->context, &f->data, &f->model);
    } else {
        f->data = tc_data(f->context, 12);
        f->model = tc_model(f->context, "denoise");
    }
    const diffc_trainer_options options = the_options();
    f->trainer = tc_trainer(f->model, f->data, &options);
    tc_directory(f->directory);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_of(state, 0);
}

static int setup_classifier(void **state)
{
    return setup_of(state, 1);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tc_remove(f->directory);
    diffc_release(&f->trainer);
    diffc_release(&f->model);
    diffc_release(&f->data);
    diffc_release(&f->context);
    free(f);
    return 0;
}

static void step_and_save(struct fixture *f, int times, int keep)
{
    for (int i = 0; i < times; i++) {
        tc_ok(diffc_trainer_step(f->trainer, NULL));
        tc_ok(diffc_trainer_save(f->trainer, f->directory, keep));
    }
}

static const char *path_of(const struct fixture *f, int step)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/ckpt-%09d.safetensors", f->directory, step);
    return path;
}

static unsigned char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*size);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static void write_file(const char *path, const unsigned char *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

/* Everything a checkpoint holds, as one block that the caller frees. */
static char *whole_state(const diffc_trainer *trainer, size_t *bytes)
{
    const struct dfi_params *params = &trainer->model->params;
    const size_t values = params->value_count * sizeof(float), stats = params->stat_count * sizeof(float);
    const void *const parts[6] = { params->values, trainer->m,    trainer->v,
                                   trainer->ema,   params->stats, trainer->ema_stats };
    char *block = malloc(4 * values + 2 * stats + 2 * sizeof(int64_t)), *at = block;
    assert_non_null(block);
    for (int i = 0; i < 6; i++) {
        memcpy(at, parts[i], i < 4 ? values : stats);
        at += i < 4 ? values : stats;
    }
    memcpy(at, &trainer->step, sizeof(trainer->step));
    memcpy(at + sizeof(int64_t), &trainer->skipped, sizeof(trainer->skipped));
    *bytes = (size_t)(at - block) + 2 * sizeof(int64_t);
    return block;
}

/* A second trainer of the same run, in a model of its own. */
static diffc_trainer *fresh_trainer(const struct fixture *f)
{
    const diffc_trainer_options options = the_options();
    diffc_model *model = tc_model(f->context, "denoise");
    diffc_trainer *trainer = tc_trainer(model, f->data, &options);
    diffc_release(&model);
    return trainer;
}

static void round_trip(void **state)
{
    struct fixture *f = *state;
    int64_t step = -1;
    size_t bytes, size, again;
    f->trainer->skipped = 0;
    step_and_save(f, 3, 5);
    tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 3), &step));
    assert_int_equal(step, 3);
    tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 1), NULL));
    diffc_trainer *other = fresh_trainer(f);
    tc_ok(diffc_trainer_resume(other, f->directory));
    char *saved = whole_state(f->trainer, &bytes), *read = whole_state(other, &bytes);
    assert_memory_equal(saved, read, bytes);
    diffc_train_report report = DIFFC_TRAIN_REPORT, wanted = DIFFC_TRAIN_REPORT;
    tc_ok(diffc_trainer_report(f->trainer, &wanted));
    tc_ok(diffc_trainer_report(other, &report));
    assert_memory_equal(&report, &wanted, sizeof(report));

    /* The same state makes the same file. */
    unsigned char *first = read_file(path_of(f, 3), &size);
    tc_ok(diffc_trainer_save(other, f->directory, 5));
    unsigned char *second = read_file(path_of(f, 3), &again);
    assert_int_equal(size, again);
    assert_memory_equal(first, second, size);
    assert_int_equal(f->lines.count, 0);

    /* A checkpoint is a model file as well, and what is made of it is no checkpoint. */
    diffc_model *model = NULL;
    char path[128];
    tc_ok(diffc_model_open(f->context, path_of(f, 3), NULL, &model));
    assert_memory_equal(model->params.values, f->model->params.values,
                        model->params.value_count * sizeof(float));
    assert_null(diffc_model_metadata(model, "crc32"));
    snprintf(path, sizeof(path), "%s/model.safetensors", f->directory);
    tc_ok(diffc_model_save(model, path, DIFFC_F32));
    tc_fails(diffc_checkpoint_verify(f->context, path, NULL), DIFFC_ERR_FORMAT, "not a checkpoint");
    diffc_release(&model);
    diffc_release(&other);
    free(first);
    free(second);
    free(saved);
    free(read);
}

static void retention(void **state)
{
    struct fixture *f = *state;
    step_and_save(f, 5, 2);
    assert_int_equal(tc_count_files(f->directory, "ckpt-"), 2);
    assert_int_equal(access(path_of(f, 4), F_OK), 0);
    assert_int_equal(access(path_of(f, 5), F_OK), 0);
    tc_fails(diffc_trainer_save(f->trainer, f->directory, 0), DIFFC_ERR_ARG, "keep is 0");
    /* A new run in an old directory: what was just written stays. */
    diffc_trainer *other = fresh_trainer(f);
    tc_ok(diffc_trainer_step(other, NULL));
    tc_ok(diffc_trainer_save(other, f->directory, 1));
    assert_int_equal(tc_count_files(f->directory, "ckpt-"), 1);
    assert_int_equal(access(path_of(f, 1), F_OK), 0);
    diffc_release(&other);
}

static int is_listed(int status)
{
    return status == DIFFC_ERR_FORMAT || status == DIFFC_ERR_TRUNCATED || status == DIFFC_ERR_CHECKSUM ||
           status == DIFFC_ERR_VERSION || status == DIFFC_ERR_LIMIT || status == DIFFC_ERR_UNSUPPORTED ||
           status == DIFFC_ERR_IO;
}

static void damage_is_found(void **state)
{
    struct fixture *f = *state;
    size_t size;
    int flips = 0, cuts = 0, harmless = 0;
    step_and_save(f, 1, 1);
    unsigned char *good = read_file(path_of(f, 1), &size), *bad = malloc(size);
    assert_non_null(bad);
    size_t header = 0;
    for (int i = 0; i < 8; i++)
        header |= (size_t)good[i] << 8 * i;
    header += 8;
    print_message("file of %zu bytes, header %zu\n", size, header);

    /* Any bit of the header, any byte of the data. */
    for (size_t at = 0; at < size; at += at < 64 ? 1 : at < header ? 37 : 997) {
        memcpy(bad, good, size);
        bad[at] ^= (unsigned char)(1 << at % 8);
        write_file(path_of(f, 1), bad, size);
        const int status = diffc_checkpoint_verify(f->context, path_of(f, 1), NULL);
        if (status != DIFFC_OK && !is_listed(status))
            print_error("byte %zu: %s: %s\n", at, diffc_status_name(status), diffc_message());
        assert_true(status == DIFFC_OK || is_listed(status));
        if (status ==
            DIFFC_OK) { /* only where the format does not care: blanks, or an escape spelled otherwise */
            assert_true(at < header);
            harmless++;
        }
        if (at >= header)
            assert_int_equal(status, DIFFC_ERR_CHECKSUM);
        flips++;
    }
    for (size_t length = 0; length < size; length += length < 64 ? 1 : length < header ? 211 : 4999) {
        write_file(path_of(f, 1), good, length);
        const int status = diffc_checkpoint_verify(f->context, path_of(f, 1), NULL);
        assert_true(is_listed(status));
        cuts++;
    }
    memcpy(bad, good, size);
    write_file(path_of(f, 1), good, size);
    tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 1), NULL));
    print_message("%d flips (%d harmless), %d cuts\n", flips, harmless, cuts);
    free(good);
    free(bad);
}

/* Replaces one piece of text of equal length. */
static void patch(const char *path, const char *from, const char *to)
{
    size_t size;
    unsigned char *data = read_file(path, &size);
    unsigned char *at = memmem(data, size, from, strlen(from));
    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    write_file(path, data, size);
    free(data);
}

static void falls_back(void **state)
{
    struct fixture *f = *state;
    char other_path[128];
    step_and_save(f, 4, 9);
    diffc_trainer *other = fresh_trainer(f);

    patch(path_of(f, 4), "\"checkpoint.format\":\"1\"", "\"checkpoint.format\":\"2\"");
    tc_fails(diffc_checkpoint_verify(f->context, path_of(f, 4), NULL), DIFFC_ERR_VERSION, "format 2");
    tc_ok(diffc_trainer_resume(other, f->directory));
    assert_int_equal(other->step, 3);
    assert_int_equal(f->lines.count, 1);
    assert_non_null(strstr(f->lines.last, "ckpt-000000004"));

    patch(path_of(f, 3), "\"checkpoint.seed\":\"21\"", "\"checkpoint.seed\":\"22\"");
    tc_fails(diffc_checkpoint_verify(f->context, path_of(f, 3), NULL), DIFFC_ERR_CHECKSUM, "metadata");
    tc_ok(diffc_trainer_resume(other, f->directory));
    assert_int_equal(other->step, 2);
    assert_int_equal(f->lines.count, 3);

    /* A valid file under the name of another step. */
    strcpy(other_path, path_of(f, 7));
    assert_int_equal(rename(path_of(f, 2), other_path), 0);
    tc_fails(diffc_checkpoint_verify(f->context, other_path, NULL), DIFFC_ERR_FORMAT, "step 7");
    tc_ok(diffc_trainer_resume(other, f->directory));
    assert_int_equal(other->step, 1);

    /* None left: the failure of the newest, and nothing has changed. */
    size_t bytes;
    char *before = whole_state(other, &bytes);
    assert_int_equal(truncate(path_of(f, 1), 100), 0);
    tc_fails(diffc_trainer_resume(other, f->directory), DIFFC_ERR_FORMAT, "none of 4");
    char *after = whole_state(other, &bytes);
    assert_memory_equal(before, after, bytes);
    free(before);
    free(after);
    diffc_release(&other);
}

/* Damage to a moment that no checksum sees makes another run: the comparison of the other tests is able to
 * fail. */
static void a_byte_of_a_moment_matters(void **state)
{
    struct fixture *f = *state;
    size_t bytes;
    step_and_save(f, 2, 1);
    diffc_trainer *other = fresh_trainer(f);
    ((unsigned char *)(f->trainer->m + 17))[1] ^= 1;
    tc_ok(diffc_trainer_save(f->trainer, f->directory, 1));
    ((unsigned char *)(f->trainer->m + 17))[1] ^= 1;
    tc_ok(diffc_trainer_resume(other, f->directory));
    tc_ok(diffc_trainer_step(f->trainer, NULL));
    tc_ok(diffc_trainer_step(other, NULL));
    char *one = whole_state(f->trainer, &bytes), *two = whole_state(other, &bytes);
    assert_memory_not_equal(one, two, bytes);
    free(one);
    free(two);

    /* In the file itself, the checksum sees it. */
    size_t size;
    tc_ok(diffc_trainer_save(f->trainer, f->directory, 1));
    unsigned char *data = read_file(path_of(f, 3), &size);
    unsigned char *at = memmem(data, size, f->trainer->v + 40, 16);
    assert_non_null(at);
    at[5] ^= 0x10;
    write_file(path_of(f, 3), data, size);
    tc_fails(diffc_checkpoint_verify(f->context, path_of(f, 3), NULL), DIFFC_ERR_CHECKSUM, "adam.v.");
    free(data);
    diffc_release(&other);
}

static void other_settings_are_refused(void **state)
{
    struct fixture *f = *state;
    step_and_save(f, 1, 1);
    diffc_trainer_options options;
    diffc_trainer *other = NULL;
    diffc_model *model = tc_model(f->context, "denoise"), *wide = NULL;
#define OTHER(field, value, part) \
    do { \
        options = the_options(); \
        options.field = value; \
        other = tc_trainer(model, f->data, &options); \
        tc_fails(diffc_trainer_resume(other, f->directory), DIFFC_ERR_CONFIG, part); \
        assert_int_equal(other->step, 0); \
        diffc_release(&other); \
    } while (0)
    OTHER(batch, 5, "batch = 6, this run has 5");
    OTHER(seed, 22, "seed = 21");
    OTHER(sigma, 0.6, "sigma");
    OTHER(epochs, 7, "epochs");
    OTHER(accumulate, 2, "accumulate");
    OTHER(learning_rate, 0.5, "learning_rate");
    OTHER(optimizer, "adamw", "optimizer");
    OTHER(decay, "cosine", "decay");
    OTHER(clip_norm, 1, "clip_norm");
    OTHER(ema_decay, 0.8, "ema_decay");
    OTHER(ema_decay, 0, "ema_decay");
    OTHER(weight_decay, 0.1, "weight_decay");
    OTHER(beta2, 0.99, "beta2");
    OTHER(nonfinite, "skip", "nonfinite");
    OTHER(precision, "bf16", "precision");
    OTHER(objective, "noise", "objective");
    int64_t bytes = 0;
    options = the_options();
    options.memory = 1;
    tc_fails(diffc_trainer_bytes(model, f->data, &options, &bytes), DIFFC_ERR_LIMIT, "at least");
    const int64_t least = strtoll(strstr(diffc_message(), "at least") + 8, NULL, 10);
    OTHER(memory, least, "tiles = 0, this run has");
    diffc_dataset *more = tc_data(f->context, 13);
    options = the_options();
    other = tc_trainer(model, more, &options);
    tc_fails(diffc_trainer_resume(other, f->directory), DIFFC_ERR_CONFIG, "samples");
    diffc_release(&other);
    diffc_release(&more);

    diffc_model_options shape = DIFFC_MODEL_OPTIONS;
    shape.image_height = TC_SIDE;
    shape.width = 5;
    shape.objective = "denoise";
    tc_ok(diffc_model_create(f->context, "cs180_unet", &shape, &wide));
    other = tc_trainer(wide, f->data, &options);
    tc_fails(diffc_trainer_resume(other, f->directory), DIFFC_ERR_CONFIG, "width = 4, this run has 5");
    diffc_release(&other);

    /* Other kernels: a warning, no more. */
    const char *kernels = f->context->kernel_set;
    other = fresh_trainer(f);
    f->context->kernel_set = "abacus";
    f->lines.count = 0;
    tc_ok(diffc_trainer_resume(other, f->directory));
    f->context->kernel_set = kernels;
    assert_int_equal(f->lines.count, 1);
    assert_non_null(strstr(f->lines.last, "abacus"));
    diffc_release(&other);
    diffc_release(&wide);
    diffc_release(&model);
}

static void directories(void **state)
{
    struct fixture *f = *state;
    char path[256];
    snprintf(path, sizeof(path), "%s/none", f->directory);
    tc_fails(diffc_trainer_resume(f->trainer, path), DIFFC_ERR_ARG, "none");
    tc_fails(diffc_trainer_resume(f->trainer, f->directory), DIFFC_ERR_ARG, "no checkpoint in");
    tc_fails(diffc_trainer_resume(f->trainer, ""), DIFFC_ERR_ARG, "empty");
    tc_ok(diffc_trainer_save(f->trainer, path, 1)); /* made when it is missing */
    tc_ok(diffc_trainer_resume(f->trainer, path));
    tc_remove(path);
    snprintf(path, sizeof(path), "%s/none/deep", f->directory);
    tc_fails(diffc_trainer_save(f->trainer, path, 1), DIFFC_ERR_IO, "deep");
    snprintf(path, sizeof(path), "%s/file", f->directory);
    write_file(path, (const unsigned char *)"x", 1);
    tc_fails(diffc_trainer_save(f->trainer, path, 1), DIFFC_ERR_IO, "it is a file");

    /* Somebody else has it: the lock belongs to an open file, so a second one stands for a second process. */
    step_and_save(f, 1, 1);
    snprintf(path, sizeof(path), "%s/.lock", f->directory);
    const int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    tc_fails(diffc_trainer_save(f->trainer, f->directory, 1), DIFFC_ERR_BUSY, f->directory);
    tc_ok(diffc_trainer_resume(f->trainer, f->directory));
    close(fd);
    tc_ok(diffc_trainer_save(f->trainer, f->directory, 1));

    /* What a killed save has left goes at the next save or resume; other files stay. */
    snprintf(path, sizeof(path), "%s/.ckpt-000000009.safetensors.99999.tmp", f->directory);
    write_file(path, (const unsigned char *)"x", 1);
    tc_ok(diffc_trainer_resume(f->trainer, f->directory));
    assert_int_equal(access(path, F_OK), -1);
    write_file(path, (const unsigned char *)"x", 1);
    tc_ok(diffc_trainer_save(f->trainer, f->directory, 1));
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/file", f->directory);
    assert_int_equal(access(path, F_OK), 0);

    if (geteuid() != 0) { /* root may write anywhere */
        assert_int_equal(chmod(f->directory, 0555), 0);
        tc_ok(diffc_trainer_resume(f->trainer, f->directory));
        unlink(path);
        tc_ok(diffc_trainer_step(f->trainer, NULL));
        tc_fails(diffc_trainer_save(f->trainer, f->directory, 1), DIFFC_ERR_IO, NULL);
        assert_int_equal(chmod(f->directory, 0755), 0);
    }
}

/* ---- failing system calls ---- */

static struct {
    int calls, fail_from, fail_count, error;
    int cut; /* writes: half of what was asked for */
} faults;

static int failing(void)
{
    const int call = ++faults.calls;
    if (!faults.fail_from || call < faults.fail_from || call >= faults.fail_from + faults.fail_count)
        return 0;
    errno = faults.error;
    return 1;
}

static const struct dfi_file_calls *real_calls;

static int open_fault(const char *path, int flags, mode_t mode)
{
    return failing() ? -1 : real_calls->open(path, flags, mode);
}

static ssize_t read_fault(int fd, void *data, size_t size)
{
    return failing() ? -1 : real_calls->read(fd, data, size);
}

static ssize_t write_fault(int fd, const void *data, size_t size)
{
    return failing() ? -1 : real_calls->write(fd, data, faults.cut && size > 1 ? size / 2 : size);
}

static int reserve_fault(int fd, size_t size)
{
    return failing() ? -1 : real_calls->reserve(fd, size);
}

static int fsync_fault(int fd)
{
    return failing() ? -1 : real_calls->fsync(fd);
}

/* As in Linux, the descriptor is gone even when close fails. */
static int close_fault(int fd)
{
    const int failed = failing(), error = errno;
    const int result = real_calls->close(fd);
    if (failed)
        errno = error;
    return failed ? -1 : result;
}

static int rename_fault(const char *from, const char *to)
{
    return failing() ? -1 : real_calls->rename(from, to);
}

static int unlink_fault(const char *path)
{
    return failing() ? -1 : real_calls->unlink(path);
}

static const struct dfi_file_calls fault_calls = { open_fault,  read_fault,  write_fault,  reserve_fault,
                                                   fsync_fault, close_fault, rename_fault, unlink_fault };

static int open_descriptors(void)
{
    return tc_count_files("/proc/self/fd", "") - 1;
}

static void failing_saves(void **state)
{
    static const int errors[] = { ENOSPC, EIO, EDQUOT, EFBIG, EROFS, EINTR };
    struct fixture *f = *state;
    int points = 0;
    step_and_save(f, 2, 2);
    tc_ok(diffc_trainer_step(f->trainer, NULL));
    const int descriptors = open_descriptors();
    real_calls = dfi_file_calls();
    for (int forever = 0; forever < 2; forever++) {
        for (int e = 0; e < DFI_COUNT(errors); e++) {
            if (forever && errors[e] == EINTR)
                continue; /* a call that is interrupted for ever may be tried for ever */
            for (int at = 1, reached = 1; reached; at++) {
                faults.calls = 0;
                faults.fail_from = at;
                faults.fail_count = forever ? 1 << 30 : 1;
                faults.error = errors[e];
                dfi_file_calls_set(&fault_calls);
                const int status = diffc_trainer_save(f->trainer, f->directory, 2);
                dfi_file_calls_set(NULL);
                reached = faults.calls >= at;
                if (status != DIFFC_OK && status != DIFFC_ERR_IO)
                    print_error("call %d: %s\n", at, diffc_message());
                assert_true(status == DIFFC_OK || status == DIFFC_ERR_IO);
                assert_int_equal(open_descriptors(), descriptors);
                /* The earlier one is whole, and a name that exists is a whole file. */
                tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 2), NULL));
                if (status == DIFFC_OK || access(path_of(f, 3), F_OK) == 0)
                    tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 3), NULL));
                else
                    tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 1),
                                                  NULL)); /* nothing was thrown away */
                unlink(path_of(f, 3));
                const char *first = path_of(f, 1);
                if (access(first, F_OK) != 0) { /* retention: bring it back for the next round */
                    const int64_t step = f->trainer->step;
                    f->trainer->step = 1;
                    tc_ok(diffc_trainer_save(f->trainer, f->directory, 3));
                    f->trainer->step = step;
                }
                points += reached;
            }
        }
    }
    faults.fail_from = 0;
    faults.cut = 1;
    dfi_file_calls_set(&fault_calls);
    tc_ok(diffc_trainer_save(f->trainer, f->directory, 2));
    dfi_file_calls_set(NULL);
    faults.cut = 0;
    tc_ok(diffc_checkpoint_verify(f->context, path_of(f, 3), NULL));
    assert_int_equal(tc_count_files(f->directory, ".ckpt-"), 0);
    print_message("%d failing calls\n", points);
}

static void failing_resumes(void **state)
{
    struct fixture *f = *state;
    size_t bytes;
    int refused = 0, passed = 0;
    step_and_save(f, 2, 1);
    diffc_trainer *other = fresh_trainer(f);
    char *fresh = whole_state(other, &bytes), *saved = whole_state(f->trainer, &bytes);
    const int descriptors = open_descriptors();
    real_calls = dfi_file_calls();
    for (int at = 1, reached = 1; reached; at++) {
        faults.calls = 0;
        faults.fail_from = at;
        faults.fail_count = 1;
        faults.error = EIO;
        dfi_file_calls_set(&fault_calls);
        const int status = diffc_trainer_resume(other, f->directory);
        dfi_file_calls_set(NULL);
        reached = faults.calls >= at;
        char *now = whole_state(other, &bytes);
        assert_int_equal(open_descriptors(), descriptors);
        if (status < 0) {
            assert_int_equal(status, DIFFC_ERR_IO);
            assert_memory_equal(now, fresh, bytes);
            refused++;
        } else {
            assert_memory_equal(now, saved, bytes);
            diffc_release(&other);
            other = fresh_trainer(f);
            passed++;
        }
        free(now);
    }
    print_message("resume: %d failures refused, %d without harm\n", refused, passed);
    assert_true(refused >= 2);
    free(fresh);
    free(saved);
    diffc_release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(retention, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(falls_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_of_a_moment_matters, setup, teardown),
        cmocka_unit_test_setup_teardown(other_settings_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(directories, setup, teardown),
        cmocka_unit_test_setup_teardown(failing_saves, setup_classifier, teardown),
        cmocka_unit_test_setup_teardown(failing_resumes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
