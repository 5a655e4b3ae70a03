#include <diffc/train.h>

#include <string.h>

#include "train/trainer.h"

int diffc_dataset_create(const diffc_tensor *images, const diffc_tensor *labels, diffc_dataset **dataset)
{
    DFI_REQUIRE(images);
    DFI_REQUIRE(dataset);
    return dfi_dataset_new(images, labels, dataset);
}

int diffc_dataset_open_idx(diffc_context *context, const char *images_path, const char *labels_path,
                           diffc_dataset **dataset)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(images_path);
    DFI_REQUIRE(dataset);
    return dfi_dataset_open_idx(context, images_path, labels_path, dataset);
}

int diffc_dataset_from_function(diffc_context *context, int64_t count, int channels, int height, int width,
                                diffc_dataset_fn read, void *opaque, diffc_dataset **dataset)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(read);
    DFI_REQUIRE(dataset);
    return dfi_dataset_of_function(context, count, channels, height, width, read, opaque, dataset);
}

int64_t diffc_dataset_count(const diffc_dataset *dataset)
{
    return dataset ? dataset->count : 0;
}

int diffc_dataset_sample(const diffc_dataset *dataset, int64_t index, diffc_tensor *image, int32_t *label)
{
    DFI_REQUIRE(dataset);
    if (index < 0 || index >= dataset->count)
        return dfi_fail(DIFFC_ERR_ARG, "index is %lld, must be 0 to %lld", (long long)index,
                        (long long)dataset->count - 1);
    struct diffc_context *context = dataset->object.context;
    const int64_t shape[3] = { dataset->channels, dataset->height, dataset->width };
    if (image)
        DFI_TRY(dfi_tensor_expect(image, "image", 3, shape));
    const size_t bytes = dfi_dataset_values(dataset) * sizeof(float);
    float *values = dfi_alloc(context, bytes);
    int32_t found = -1;
    if (!values)
        return DIFFC_ERR_NOMEM;
    const int status = dfi_dataset_read(dataset, index, values, &found);
    if (status == DIFFC_OK && image)
        memcpy(image->data, values, bytes);
    if (status == DIFFC_OK && label)
        *label = found;
    dfi_free(context, values);
    return status;
}

int diffc_trainer_bytes(const diffc_model *model, const diffc_dataset *dataset,
                        const diffc_trainer_options *options, int64_t *bytes)
{
    struct dfi_train_config config;
    const struct diffc_schedule *schedule = NULL;
    size_t planned = 0;
    DFI_REQUIRE(model);
    DFI_REQUIRE(dataset);
    DFI_REQUIRE(bytes);
    DFI_TRY(dfi_train_config_read(options, model, &config, &schedule));
    DFI_TRY(dfi_train_config_fits(&config, model, dataset, schedule));
    DFI_TRY(dfi_trainer_bytes(model, dataset, &config, &planned));
    *bytes = (int64_t)planned;
    return DIFFC_OK;
}

int diffc_trainer_create(diffc_model *model, const diffc_dataset *dataset,
                         const diffc_trainer_options *options, diffc_trainer **trainer)
{
    DFI_REQUIRE(model);
    DFI_REQUIRE(dataset);
    DFI_REQUIRE(trainer);
    return dfi_trainer_new(model, dataset, options, trainer);
}

/* Checked before a step, so that what was done is always reported. */
static int check_report(const diffc_train_report *report)
{
    if (report && report->struct_size < sizeof(report->struct_size))
        return dfi_fail(DIFFC_ERR_ARG, "report.struct_size is %zu, must be the size of the struct",
                        report->struct_size);
    return DIFFC_OK;
}

static void fill_report(const diffc_trainer *trainer, diffc_train_report *report)
{
    if (!report)
        return;
    const size_t size = report->struct_size;
    const diffc_train_report all = {
        .struct_size = size,
        .step = trainer->step,
        .steps = trainer->steps,
        .epoch = (int32_t)(trainer->step / trainer->updates_per_epoch),
        .loss = trainer->loss,
        .learning_rate = trainer->learning_rate,
        .gradient_norm = trainer->gradient_norm,
        .skipped = trainer->skipped,
    };
    memcpy(report, &all, size < sizeof(all) ? size : sizeof(all));
}

int diffc_trainer_step(diffc_trainer *trainer, diffc_train_report *report)
{
    DFI_REQUIRE(trainer);
    DFI_TRY(dfi_trainer_step(trainer, check_report(report)));
    fill_report(trainer, report);
    return DIFFC_OK;
}

int diffc_trainer_report(const diffc_trainer *trainer, diffc_train_report *report)
{
    DFI_REQUIRE(trainer);
    DFI_REQUIRE(report);
    DFI_TRY(check_report(report));
    fill_report(trainer, report);
    return DIFFC_OK;
}

static int check_batch(const diffc_binding *inputs, const diffc_tensor *target)
{
    DFI_REQUIRE(inputs);
    DFI_REQUIRE(target);
    return DIFFC_OK;
}

int diffc_trainer_gradients(diffc_trainer *trainer, const struct diffc_binding *inputs, int input_count,
                            const diffc_tensor *target, diffc_tensor *output, double *loss)
{
    DFI_REQUIRE(trainer);
    return dfi_trainer_gradients(trainer, inputs, input_count, target, output, loss,
                                 check_batch(inputs, target));
}

int diffc_trainer_apply(diffc_trainer *trainer, diffc_train_report *report)
{
    DFI_REQUIRE(trainer);
    DFI_TRY(dfi_trainer_apply(trainer, check_report(report)));
    fill_report(trainer, report);
    return DIFFC_OK;
}

int diffc_trainer_keep_statistics(diffc_trainer *trainer)
{
    DFI_REQUIRE(trainer);
    return dfi_trainer_keep_statistics(trainer);
}

int diffc_trainer_gradient(const diffc_trainer *trainer, int position, diffc_tensor **gradient)
{
    DFI_REQUIRE(trainer);
    DFI_REQUIRE(gradient);
    const struct dfi_params *params = &trainer->model->params;
    if (position < 0 || position >= params->count)
        return dfi_fail(DIFFC_ERR_ARG, "position is %d, must be 0 to %d", position, params->count - 1);
    const struct dfi_param *param = &params->list[position];
    float *values = (float *)dfi_exec_gradients(trainer->exec) + param->offset;
    return dfi_tensor_over(trainer->object.context, DIFFC_F32, param->ndim, param->shape, values, trainer,
                           gradient);
}

int diffc_trainer_evaluate(diffc_trainer *trainer, const diffc_dataset *dataset, uint64_t seed, int use_ema,
                           double *loss, double *accuracy)
{
    DFI_REQUIRE(trainer);
    return dfi_trainer_evaluate(trainer, dataset, seed, use_ema, loss, accuracy);
}

int diffc_trainer_ema_model(const diffc_trainer *trainer, diffc_model **model)
{
    DFI_REQUIRE(trainer);
    DFI_REQUIRE(model);
    return dfi_trainer_ema_model(trainer, model);
}

static int check_directory(const char *directory)
{
    DFI_REQUIRE(directory);
    if (!*directory)
        return dfi_fail(DIFFC_ERR_ARG, "directory is empty");
    return DIFFC_OK;
}

int diffc_trainer_save(const diffc_trainer *trainer, const char *directory, int keep)
{
    DFI_REQUIRE(trainer);
    DFI_TRY(check_directory(directory));
    if (keep < 1)
        return dfi_fail(DIFFC_ERR_ARG, "keep is %d, must be at least 1", keep);
    return dfi_trainer_save(trainer, directory, keep);
}

int diffc_trainer_resume(diffc_trainer *trainer, const char *directory)
{
    DFI_REQUIRE(trainer);
    return dfi_trainer_resume(trainer, directory, check_directory(directory));
}

int diffc_checkpoint_verify(diffc_context *context, const char *path, int64_t *step)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    return dfi_checkpoint_verify(context, path, step);
}
