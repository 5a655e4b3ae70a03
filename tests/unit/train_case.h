#ifndef TESTS_TRAIN_CASE_H
#define TESTS_TRAIN_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>

#include <cmocka.h>

#include <diffc/diffc.h>

#include "train/trainer.h"

/* What the training tests share: a small model, a small data set, directories that vanish. */

#define TC_SIDE 8

static inline void tc_ok(int status)
{
    if (status < 0)
        print_error("%s: %s\n", diffc_status_name(status), diffc_message());
    assert_int_equal(status, DIFFC_OK);
}

static inline void tc_fails(int status, int expected, const char *part)
{
    if (status != expected || (part && !strstr(diffc_message(), part)))
        print_error("%s: %s (expected %s: %s)\n", diffc_status_name(status), diffc_message(),
                    diffc_status_name(expected), part ? part : "");
    assert_int_equal(status, expected);
    if (part)
        assert_non_null(strstr(diffc_message(), part));
}

static inline diffc_context *tc_context(int threads)
{
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    options.threads = threads;
    tc_ok(diffc_context_create(&options, &context));
    return context;
}

/* A bar whose place is the label, on a gradient that differs from sample to sample. */
static inline void tc_picture(int64_t index, unsigned char pixels[TC_SIDE * TC_SIDE], unsigned char *label)
{
    const int kind = (int)(index * 7 % 10), place = kind % 5 + 1;
    for (int y = 0; y < TC_SIDE; y++)
        for (int x = 0; x < TC_SIDE; x++)
            pixels[y * TC_SIDE + x] = (unsigned char)((kind < 5 ? x : y) == place
                                                          ? 240 - (int)(index % 16)
                                                          : (int)(index % 5) * (x + y));
    *label = (unsigned char)kind;
}

static inline diffc_dataset *tc_data(diffc_context *context, int64_t count)
{
    const int64_t shape[3] = { count, TC_SIDE, TC_SIDE };
    diffc_tensor *images = NULL, *labels = NULL;
    diffc_dataset *dataset = NULL;
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 3, shape, &images));
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 1, shape, &labels));
    for (int64_t i = 0; i < count; i++)
        tc_picture(i, (unsigned char *)diffc_tensor_data(images) + i * TC_SIDE * TC_SIDE,
                   (unsigned char *)diffc_tensor_data(labels) + i);
    tc_ok(diffc_dataset_create(images, labels, &dataset));
    diffc_release(&images);
    diffc_release(&labels);
    return dataset;
}

static inline diffc_model *tc_model_of_width(diffc_context *context, const char *objective, int width)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_model *model = NULL;
    const int ddpm = strcmp(objective, "ddpm") == 0, timed = ddpm || strcmp(objective, "flow") == 0;
    options.image_height = TC_SIDE;
    options.width = width;
    options.condition = timed ? "class" : "none";
    options.train_steps = ddpm ? 50 : 0;
    options.objective = objective;
    options.seed = 3;
    tc_ok(diffc_model_create(context, "cs180_unet", &options, &model));
    return model;
}

static inline diffc_model *tc_model(diffc_context *context, const char *objective)
{
    return tc_model_of_width(context, objective, 4);
}

/* A model of few tensors, and data for it: where every call of a save is made to fail. */
static inline int tc_read_large(void *opaque, int64_t index, float *image, int32_t *label)
{
    (void)opaque;
    for (int i = 0; i < 16 * 16; i++)
        image[i] = (float)((i * 29 + index * 13) % 23) / 22.0f;
    *label = (int32_t)(index % 10);
    return 0;
}

static inline void tc_classifier(diffc_context *context, diffc_dataset **data, diffc_model **model)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    options.image_height = 16;
    tc_ok(diffc_dataset_from_function(context, 12, 1, 16, 16, tc_read_large, NULL, data));
    tc_ok(diffc_model_create(context, "lenet", &options, model));
}

static inline diffc_trainer *tc_trainer(diffc_model *model, const diffc_dataset *dataset,
                                        const diffc_trainer_options *options)
{
    diffc_trainer *trainer = NULL;
    tc_ok(diffc_trainer_create(model, dataset, options, &trainer));
    return trainer;
}

/* Weights and statistics in one block that the caller frees. */
static inline float *tc_weights(const diffc_model *model, size_t *bytes)
{
    const size_t values = model->params.value_count * sizeof(float),
                 stats = model->params.stat_count * sizeof(float);
    char *copy = malloc(values + stats);
    assert_non_null(copy);
    memcpy(copy, model->params.values, values);
    memcpy(copy + values, model->params.stats, stats);
    *bytes = values + stats;
    return (float *)(void *)copy;
}

/* In memory where the system has such a place: hundreds of syncs need no disk here. */
static inline void tc_directory(char path[64])
{
    const char *parent = getenv("TMPDIR");
    if (!parent || strlen(parent) > 40)
        parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, 64, "%s/diffc-train-XXXXXX", parent);
    assert_non_null(mkdtemp(path));
}

static inline int tc_count_files(const char *path, const char *prefix)
{
    DIR *stream = opendir(path);
    const struct dirent *entry;
    int count = 0;
    assert_non_null(stream);
    while ((entry = readdir(stream)))
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(stream);
    return count;
}

static inline void tc_remove(const char *path)
{
    char name[512];
    DIR *stream = opendir(path);
    const struct dirent *entry;
    if (!stream)
        return;
    while ((entry = readdir(stream))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        unlink(name);
    }
    closedir(stream);
    rmdir(path);
}

#endif
