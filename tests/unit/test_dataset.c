/* Data sets: three ways to make one, and what each refuses. */

#include "train_case.h"

#include <math.h>
#include <zlib.h>

static void from_tensors(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    static unsigned char bytes[2 * 3 * 4 * 5];
    static const int64_t big_labels[2] = { -7, INT64_MAX };
    const int64_t planes[4] = { 2, 3, 4, 5 }, strides[4] = { 60, 1, 15, 3 }; /* interleaved RGB */
    const int64_t two = 2, three = 3, image_shape[3] = { 3, 4, 5 };
    diffc_tensor *images = NULL, *labels = NULL, *image = NULL, *wrong = NULL;
    diffc_dataset *dataset = NULL;
    for (int i = 0; i < (int)sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 2);
    tc_ok(diffc_tensor_wrap(context, DIFFC_U8, 4, planes, strides, bytes, NULL, NULL, &images));
    tc_ok(diffc_tensor_wrap(context, DIFFC_I64, 1, &two, NULL, (void *)(uintptr_t)big_labels, NULL, NULL,
                            &labels));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 3, image_shape, &image));
    tc_ok(diffc_dataset_create(images, labels, &dataset));
    diffc_release(&images); /* kept by the data set */
    assert_int_equal(diffc_dataset_count(dataset), 2);
    int32_t label = 0;
    tc_ok(diffc_dataset_sample(dataset, 1, image, &label));
    assert_int_equal(label, INT32_MAX);
    const float *values = diffc_tensor_data(image);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 5; x++)
                assert_true(values[(c * 4 + y) * 5 + x] == (float)bytes[60 + y * 15 + x * 3 + c] / 255.0f);
    tc_ok(diffc_dataset_sample(dataset, 0, NULL, &label));
    assert_int_equal(label, -7);
    tc_ok(diffc_dataset_sample(dataset, 0, image, NULL));
    tc_fails(diffc_dataset_sample(dataset, 2, image, NULL), DIFFC_ERR_ARG, "index is 2");
    tc_fails(diffc_dataset_sample(dataset, -1, image, NULL), DIFFC_ERR_ARG, "index is -1");
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 3, planes, &wrong));
    tc_fails(diffc_dataset_sample(dataset, 0, wrong, NULL), DIFFC_ERR_ARG, "image");
    diffc_release(&dataset);

    /* [N, H, W] in F32 is taken as it is; no labels. */
    tc_ok(diffc_rng_normal(wrong, 1, 1, 0));
    tc_ok(diffc_dataset_create(wrong, NULL, &dataset));
    diffc_release(&image);
    const int64_t one_shape[3] = { 1, 3, 4 };
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 3, one_shape, &image));
    tc_ok(diffc_dataset_sample(dataset, 1, image, &label));
    assert_int_equal(label, -1);
    assert_memory_equal(diffc_tensor_data(image), (float *)diffc_tensor_data(wrong) + 12, 12 * sizeof(float));
    diffc_release(&dataset);
    diffc_release(&labels);

    tc_ok(diffc_tensor_create(context, DIFFC_I32, 1, &three, &labels));
    tc_fails(diffc_dataset_create(wrong, labels, &dataset), DIFFC_ERR_CONFIG, "2 images but 3 labels");
    tc_fails(diffc_dataset_create(labels, NULL, &dataset), DIFFC_ERR_ARG, "images is");
    tc_fails(diffc_dataset_create(wrong, wrong, &dataset), DIFFC_ERR_ARG, "labels is");
    tc_fails(diffc_dataset_create(NULL, NULL, &dataset), DIFFC_ERR_ARG, "images");
    assert_null(dataset);
    diffc_release(&labels);
    diffc_release(&wrong);
    diffc_release(&image);
    diffc_release(&context);
}

static void empty_and_large(void **state)
{
    (void)state;
    diffc_limits limits = DIFFC_LIMITS;
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    diffc_dataset *dataset = NULL;
    diffc_tensor *images = NULL;
    limits.image_bytes = 4 * 64;
    options.limits = &limits;
    tc_ok(diffc_context_create(&options, &context));
    const int64_t none[3] = { 0, 8, 8 }, flat[3] = { 3, 0, 8 }, fits[3] = { 3, 8, 8 }, large[3] = { 3, 8, 9 };
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 3, none, &images));
    tc_fails(diffc_dataset_create(images, NULL, &dataset), DIFFC_ERR_ARG, "at least 1");
    diffc_release(&images);
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 3, flat, &images));
    tc_fails(diffc_dataset_create(images, NULL, &dataset), DIFFC_ERR_ARG, "at least 1");
    diffc_release(&images);
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 3, fits, &images));
    tc_ok(diffc_dataset_create(images, NULL, &dataset));
    diffc_release(&images);
    diffc_release(&dataset);
    tc_ok(diffc_tensor_create(context, DIFFC_U8, 3, large, &images));
    tc_fails(diffc_dataset_create(images, NULL, &dataset), DIFFC_ERR_LIMIT, "image_bytes = 256");
    diffc_release(&images);
    diffc_release(&context);
}

static int read_ramp(void *opaque, int64_t index, float *image, int32_t *label)
{
    const int *fails = opaque;
    for (int i = 0; i < 6; i++)
        image[i] = (float)index + (float)i;
    *label = (int32_t)index + 1;
    return index == 3 ? *fails : 0;
}

static int lose_shard(void *opaque, int64_t index, float *image, int32_t *label)
{
    (void)opaque;
    (void)index;
    (void)image;
    (void)label;
    return diffc_fail(DIFFC_ERR_IO, "shard 7: short read");
}

static void from_function(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_dataset *dataset = NULL;
    diffc_tensor *image = NULL;
    const int64_t shape[3] = { 1, 2, 3 };
    int fails = 0;
    int32_t label = 0;
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 3, shape, &image));
    tc_ok(diffc_dataset_from_function(context, 5, 1, 2, 3, read_ramp, &fails, &dataset));
    assert_int_equal(diffc_dataset_count(dataset), 5);
    tc_ok(diffc_dataset_sample(dataset, 3, image, &label));
    assert_int_equal(label, 4);
    assert_true(((float *)diffc_tensor_data(image))[5] == 8);
    fails = DIFFC_ERR_IO;
    tc_fails(diffc_dataset_sample(dataset, 3, image, &label), DIFFC_ERR_IO, "sample 3");
    fails = 1; /* was once taken for success */
    tc_fails(diffc_dataset_sample(dataset, 3, image, &label), DIFFC_ERR_ARG,
             "sample 3: the data set's function returned a positive status (1)");
    diffc_release(&dataset);
    tc_ok(diffc_dataset_from_function(context, 5, 1, 2, 3, lose_shard, NULL, &dataset));
    tc_fails(diffc_dataset_sample(dataset, 2, image, &label), DIFFC_ERR_IO,
             "sample 2: the data set's function failed: shard 7: short read");
    diffc_release(&dataset);
    tc_fails(diffc_dataset_from_function(context, 0, 1, 2, 3, read_ramp, &fails, &dataset), DIFFC_ERR_ARG,
             NULL);
    tc_fails(diffc_dataset_from_function(context, 5, 1, -2, 3, read_ramp, &fails, &dataset), DIFFC_ERR_ARG,
             NULL);
    tc_fails(diffc_dataset_from_function(context, 5, 1, 2, 3, NULL, NULL, &dataset), DIFFC_ERR_ARG, "read");
    diffc_release(&image);
    diffc_release(&context);
}

static void write_idx(const char *path, int gzip, int dims, const unsigned sizes[4])
{
    unsigned char header[20] = { 0, 0, 8, (unsigned char)dims };
    size_t bytes = 1;
    for (int i = 0; i < dims; i++) {
        header[4 + 4 * i + 2] = (unsigned char)(sizes[i] >> 8);
        header[4 + 4 * i + 3] = (unsigned char)sizes[i];
        bytes *= sizes[i];
    }
    gzFile file = gzopen(path, gzip ? "wb" : "wbT");
    assert_non_null(file);
    gzwrite(file, header, 4 + 4 * (unsigned)dims);
    for (size_t i = 0; i < bytes; i++)
        gzputc(file, (int)(i % 251));
    gzclose(file);
}

static void from_idx(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_dataset *dataset = NULL;
    diffc_tensor *image = NULL;
    char directory[64], images[128], labels[128];
    int32_t label = 0;
    const unsigned grey[4] = { 6, 8, 8 }, colour[4] = { 6, 3, 4, 4 }, row[4] = { 6 }, few[4] = { 5 },
                   table[4] = { 6, 8 };
    const int64_t shape[3] = { 1, 8, 8 };
    tc_directory(directory);
    snprintf(images, sizeof(images), "%s/images", directory);
    snprintf(labels, sizeof(labels), "%s/labels", directory);
    write_idx(images, 1, 3, grey);
    write_idx(labels, 0, 1, row);
    tc_ok(diffc_dataset_open_idx(context, images, labels, &dataset));
    tc_ok(diffc_tensor_create(context, DIFFC_F32, 3, shape, &image));
    tc_ok(diffc_dataset_sample(dataset, 4, image, &label));
    assert_int_equal(label, 4);
    assert_true(((float *)diffc_tensor_data(image))[1] == (float)((4 * 64 + 1) % 251) / 255.0f);
    diffc_release(&dataset);
    tc_ok(diffc_dataset_open_idx(context, images, NULL, &dataset));
    diffc_release(&dataset);
    tc_fails(diffc_dataset_open_idx(context, labels, labels, &dataset), DIFFC_ERR_FORMAT,
             "images have 3 or 4");
    tc_fails(diffc_dataset_open_idx(context, images, images, &dataset), DIFFC_ERR_FORMAT, "labels have 1");
    write_idx(labels, 1, 1, few);
    tc_fails(diffc_dataset_open_idx(context, images, labels, &dataset), DIFFC_ERR_CONFIG,
             "labels: 6 images but 5 labels");
    write_idx(images, 1, 4, colour);
    tc_ok(diffc_dataset_open_idx(context, images, NULL, &dataset));
    assert_int_equal(dataset->channels, 3);
    diffc_release(&dataset);
    write_idx(images, 1, 2, table);
    tc_fails(diffc_dataset_open_idx(context, images, NULL, &dataset), DIFFC_ERR_FORMAT, "2 dimensions");
    unlink(images);
    tc_fails(diffc_dataset_open_idx(context, images, NULL, &dataset), DIFFC_ERR_IO, "images");
    tc_remove(directory);
    diffc_release(&image);
    diffc_release(&context);
}

/* A label outside of the model's classes ends the step, naming the sample. */
static void labels_out_of_range(void **state)
{
    (void)state;
    diffc_context *context = tc_context(1);
    diffc_dataset *dataset = tc_data(context, 9);
    diffc_model *model = tc_model(context, "flow"), *unconditional = tc_model(context, "denoise");
    diffc_trainer *trainer = tc_trainer(model, dataset, NULL);
    unsigned char *labels = dataset->labels->data;
    labels[7] = 10;
    tc_fails(diffc_trainer_step(trainer, NULL), DIFFC_ERR_FORMAT, "sample 7 has label 10, must be 0 to 9");
    assert_int_equal(trainer->step, 0);
    double loss = 0;
    tc_fails(diffc_trainer_evaluate(trainer, dataset, 1, 0, &loss, NULL), DIFFC_ERR_FORMAT, "sample 7");
    labels[7] = 9;
    tc_ok(diffc_trainer_step(trainer, NULL));
    diffc_release(&trainer);
    labels[7] = 99; /* nobody asks */
    trainer = tc_trainer(unconditional, dataset, NULL);
    tc_ok(diffc_trainer_step(trainer, NULL));
    diffc_release(&trainer);
    diffc_release(&model);
    diffc_release(&unconditional);
    diffc_release(&dataset);
    diffc_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_tensors),        cmocka_unit_test(empty_and_large),
        cmocka_unit_test(from_function),       cmocka_unit_test(from_idx),
        cmocka_unit_test(labels_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
