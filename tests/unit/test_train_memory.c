/* Every allocation of the training functions fails in turn. */

#include "train_case.h"

#include "oom.h"

struct run {
    diffc_dataset *data;
    diffc_model *model;
    diffc_trainer *trainer;
    diffc_tensor *images, *labels, *x;
    char directory[64];
};

static diffc_trainer_options the_options(void)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    options.batch = 4;
    options.ema_decay = 0.9;
    options.epochs = 1000000;
    return options;
}

static int setup(struct oom *oom)
{
    struct run *run = calloc(1, sizeof(*run));
    const diffc_trainer_options options = the_options();
    const int64_t shape[4] = { 4, 1, TC_SIDE, TC_SIDE };
    assert_non_null(run);
    oom->state = run;
    run->data = tc_data(oom->context, 7);
    run->images = diffc_retain(run->data->images);
    run->labels = diffc_retain(run->data->labels);
    run->model = tc_model(oom->context, "ddpm");
    run->trainer = tc_trainer(run->model, run->data, &options);
    tc_ok(diffc_tensor_create(oom->context, DIFFC_F32, 4, shape, &run->x));
    return DIFFC_OK;
}

/* Three checkpoints of a classifier. */
static int setup_saved(struct oom *oom)
{
    struct run *run = calloc(1, sizeof(*run));
    const diffc_trainer_options options = the_options();
    assert_non_null(run);
    oom->state = run;
    tc_classifier(oom->context, &run->data, &run->model);
    run->trainer = tc_trainer(run->model, run->data, &options);
    tc_directory(run->directory);
    for (int i = 0; i < 3; i++) {
        tc_ok(diffc_trainer_step(run->trainer, NULL));
        tc_ok(diffc_trainer_save(run->trainer, run->directory, 3));
    }
    return DIFFC_OK;
}

static void teardown(struct oom *oom)
{
    struct run *run = oom->state;
    if (run->directory[0])
        tc_remove(run->directory);
    diffc_release(&run->x);
    diffc_release(&run->images);
    diffc_release(&run->labels);
    diffc_release(&run->trainer);
    diffc_release(&run->model);
    diffc_release(&run->data);
    free(run);
}

static int make_dataset(struct oom *oom)
{
    struct run *run = oom->state;
    diffc_dataset *dataset = NULL;
    const int status = diffc_dataset_create(run->images, run->labels, &dataset);
    diffc_release(&dataset);
    return status;
}

static int read_nothing(void *opaque, int64_t index, float *image, int32_t *label)
{
    (void)opaque;
    (void)index;
    memset(image, 0, sizeof(*image));
    *label = 0;
    return 0;
}

static int make_function_dataset(struct oom *oom)
{
    diffc_dataset *dataset = NULL;
    int32_t label = 0;
    int status = diffc_dataset_from_function(oom->context, 3, 1, 1, 1, read_nothing, NULL, &dataset);
    if (status == DIFFC_OK)
        status = diffc_dataset_sample(dataset, 1, NULL, &label);
    diffc_release(&dataset);
    return status;
}

static int make_trainer(struct oom *oom)
{
    struct run *run = oom->state;
    const diffc_trainer_options options = the_options();
    diffc_trainer *trainer = NULL;
    const int status = diffc_trainer_create(run->model, run->data, &options, &trainer);
    diffc_release(&trainer);
    return status;
}

static int plan_trainer(struct oom *oom)
{
    struct run *run = oom->state;
    int64_t bytes = 0;
    return diffc_trainer_bytes(run->model, run->data, NULL, &bytes);
}

/* None of these asks for memory at all. */
static int train(struct oom *oom)
{
    struct run *run = oom->state;
    double loss = 0;
    const diffc_binding inputs[1] = { { "x", run->x } };
    int status = diffc_trainer_step(run->trainer, NULL);
    if (status == DIFFC_OK)
        status = diffc_trainer_evaluate(run->trainer, run->data, 1, 1, &loss, NULL);
    if (status == DIFFC_OK)
        status = diffc_trainer_gradients(run->trainer, inputs, 1, run->x, NULL, &loss);
    if (status == DIFFC_OK)
        status = diffc_trainer_apply(run->trainer, NULL);
    assert_int_equal(atomic_load(&oom->calls), 0);
    return status;
}

static int take_gradient(struct oom *oom)
{
    struct run *run = oom->state;
    diffc_tensor *gradient = NULL;
    const int status = diffc_trainer_gradient(run->trainer, 3, &gradient);
    diffc_release(&gradient);
    return status;
}

static int make_ema_model(struct oom *oom)
{
    struct run *run = oom->state;
    diffc_model *model = NULL;
    const int status = diffc_trainer_ema_model(run->trainer, &model);
    diffc_release(&model);
    return status;
}

/* At a step of its own each time; a failed save leaves neither a new file nor fewer old ones. */
static int save(struct oom *oom)
{
    struct run *run = oom->state;
    const int before = tc_count_files(run->directory, "ckpt-");
    run->trainer->step++;
    const int status = diffc_trainer_save(run->trainer, run->directory, 3);
    assert_int_equal(before, 3);
    assert_int_equal(tc_count_files(run->directory, "ckpt-"), 3);
    assert_int_equal(tc_count_files(run->directory, ".ckpt-"), 0);
    return status;
}

static int resume(struct oom *oom)
{
    struct run *run = oom->state;
    const int64_t step = run->trainer->step;
    run->trainer->m[3] = -1;
    const int status = diffc_trainer_resume(run->trainer, run->directory);
    assert_int_equal(run->trainer->step, step);
    assert_true((run->trainer->m[3] == -1.0f) == (status < 0));
    return status;
}

static int verify(struct oom *oom)
{
    const struct run *run = oom->state;
    char path[128];
    snprintf(path, sizeof(path), "%s/ckpt-000000003.safetensors", run->directory);
    return diffc_checkpoint_verify(oom->context, path, NULL);
}

static void allocations_fail(void **state)
{
    static const struct oom_function functions[] = {
        { "dataset_create", setup, make_dataset, teardown },
        { "dataset_from_function", setup, make_function_dataset, teardown },
        { "trainer_bytes", setup, plan_trainer, teardown },
        { "trainer_create", setup, make_trainer, teardown },
        { "trainer_step", setup, train, teardown },
        { "trainer_gradient", setup, take_gradient, teardown },
        { "trainer_ema_model", setup, make_ema_model, teardown },
        { "trainer_save", setup_saved, save, teardown },
        { "trainer_resume", setup_saved, resume, teardown },
        { "checkpoint_verify", setup_saved, verify, teardown },
    };
    (void)state;
    OOM_RUN(functions);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(allocations_fail) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
