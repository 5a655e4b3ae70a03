#include <diffc/model.h>

#include <string.h>

#include "model/session.h"

static int read_options(const diffc_session_options *source, struct dfi_session_config *config)
{
    diffc_session_options options;
    DFI_TRY(dfi_options_read(&options, sizeof(options), source, "diffc_session_options"));
    config->batch = options.batch ? options.batch : 1;
    config->conditions = options.conditions ? options.conditions : 2;
    config->training = options.training;
    config->image_height = options.image_height;
    config->image_width = options.image_width;
    config->text_tokens = options.text_tokens;
    config->memory = options.memory;
    if (options.memory < 0)
        return dfi_fail(DIFFC_ERR_ARG, "memory is %lld, must not be negative", (long long)options.memory);
    if (options.image_height < 0 || options.image_height > 16384 || options.image_width < 0 ||
        options.image_width > 16384 || options.text_tokens < 0 || options.text_tokens > 4096)
        return dfi_fail(DIFFC_ERR_ARG, "image of %d x %d, %d tokens: must be 0 to 16384 and 0 to 4096",
                        options.image_height, options.image_width, options.text_tokens);
    if (options.training != 0 && options.training != 1)
        return dfi_fail(DIFFC_ERR_ARG, "training is %d, must be 0 or 1", options.training);
    DFI_TRY(dfi_numerics_find(options.numerics, &config->numerics));
    return dfi_precision_find(options.precision, &config->precision);
}

int diffc_session_bytes(const diffc_model *model, const diffc_session_options *options, int64_t *bytes)
{
    struct dfi_session_config config;
    size_t planned = 0;
    DFI_REQUIRE(model);
    DFI_REQUIRE(bytes);
    DFI_TRY(read_options(options, &config));
    DFI_TRY(dfi_session_plan_bytes(model, &config, &planned));
    *bytes = (int64_t)planned;
    return DIFFC_OK;
}

int diffc_session_create(diffc_model *model, const diffc_session_options *options, diffc_session **session)
{
    struct dfi_session_config config;
    DFI_REQUIRE(model);
    DFI_REQUIRE(session);
    DFI_TRY(read_options(options, &config));
    return dfi_session_new(model, &config, session);
}

int diffc_session_refresh(diffc_session *session)
{
    DFI_REQUIRE(session);
    dfi_session_refresh(session);
    return DIFFC_OK;
}

int diffc_session_set_text(diffc_session *session, int32_t condition, const diffc_tensor *text)
{
    DFI_REQUIRE(session);
    DFI_REQUIRE(text);
    return dfi_session_set_text(session, condition, text);
}

int diffc_session_set_image(diffc_session *session, const diffc_tensor *image)
{
    DFI_REQUIRE(session);
    return dfi_session_set_image(session, image);
}

int diffc_session_run(diffc_session *session, const diffc_binding *inputs, int input_count,
                      const diffc_binding *outputs, int output_count)
{
    DFI_REQUIRE(session);
    DFI_REQUIRE(inputs);
    if (input_count < 1)
        return dfi_fail(DIFFC_ERR_ARG, "input_count is %d, must be at least 1", input_count);
    if (output_count < 0)
        return dfi_fail(DIFFC_ERR_ARG, "output_count is %d, must not be negative", output_count);
    if (output_count > 0)
        DFI_REQUIRE(outputs);
    return dfi_session_run(session, inputs, input_count, outputs, output_count);
}

int diffc_session_set_labels(diffc_session *session, const int32_t *labels, int count)
{
    DFI_REQUIRE(session);
    if (count != 0)
        DFI_REQUIRE(labels);
    return dfi_session_set_labels(session, labels, count);
}

static int predict(void *opaque, const float *t, const diffc_query *queries, int count)
{
    if (!opaque)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.opaque is NULL, must be the session");
    return dfi_session_predict(opaque, t, queries, count);
}

int diffc_session_denoiser(diffc_session *session, diffc_denoiser *denoiser)
{
    DFI_REQUIRE(session);
    DFI_REQUIRE(denoiser);
    const size_t size = denoiser->struct_size;
    if (size < sizeof(size))
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.struct_size is %zu, must be the size of the struct", size);
    if (strcmp(session->model->architecture->kind, "denoiser") != 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "%s is no denoiser", session->model->architecture->entry.name);
    const diffc_denoiser all = {
        .struct_size = size,
        .predict = predict,
        .opaque = session,
        .out_channels = dfi_exec_value(session->exec, session->values.out).c,
    };
    memcpy(denoiser, &all, size < sizeof(all) ? size : sizeof(all));
    return DIFFC_OK;
}
