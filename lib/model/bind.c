/* Public tensors against the values of a graph: [N, C, H, W] images, or [N, C] rows for values of one pixel.
 */

#include <stdio.h>
#include <string.h>

#include "model/session.h"

static int find_name(const char *const names[4], const char *what, const struct diffc_model *model,
                     const char *name)
{
    char known[128] = "";
    int i;
    for (i = 0; i < 4 && names[i]; i++) {
        const size_t used = strlen(known);
        if (strcmp(names[i], name) == 0)
            return i;
        snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "", names[i]);
    }
    dfi_fail(DIFFC_ERR_ARG, "%s has no %s \"%.40s\"; known: %s", model->architecture->entry.name, what, name,
             known);
    return -1;
}

int dfi_model_input(const struct diffc_model *model, const struct dfi_model_values *values, const char *name)
{
    const int role = find_name(model->architecture->inputs, "input", model, name);
    const int all[4] = { values->x, values->t, values->cls, values->text };
    const int value = role < 0 ? -1 : all[role];
    if (role >= 0 && value < 0)
        dfi_fail(DIFFC_ERR_ARG, "input \"%s\": this model's condition is %s", name, model->config.condition);
    return value;
}

int dfi_model_output(const struct diffc_model *model, const struct dfi_model_values *values, const char *name)
{
    const int role = find_name(model->architecture->outputs, "output", model, name);
    return role < 0 ? -1 : role == 0 ? values->out : values->features;
}

int dfi_bind_check(const struct dfi_exec *exec, int value, const char *name,
                   const struct diffc_tensor *tensor, int *batch)
{
    const struct dfi_block block = dfi_exec_value(exec, value);
    char text[96];
    const int image = block.h * block.w > 1 || tensor->ndim == 4;
    const int rows_fit = tensor->ndim == 2 || (tensor->ndim == 1 && block.c == 1);
    const int64_t channels = tensor->ndim > 1 ? tensor->shape[1] : 1;
    int fits = dfi_dtype_is_float(tensor->dtype) && tensor->ndim >= 1 && channels == block.c;
    fits = fits && (image ? tensor->ndim == 4 && tensor->shape[2] == block.h && tensor->shape[3] == block.w
                          : rows_fit);
    if (!fits)
        return dfi_fail(DIFFC_ERR_ARG, "%s is %s, expected floats [N, %d%s%.0d%s%.0d]", name,
                        dfi_tensor_text(tensor, text, sizeof(text)), block.c, image ? ", " : "",
                        image ? block.h : 0, image ? ", " : "", image ? block.w : 0);
    if (*batch >= 0 && tensor->shape[0] != *batch)
        return dfi_fail(DIFFC_ERR_ARG, "%s has %lld samples, the others %d", name,
                        (long long)tensor->shape[0], *batch);
    if (tensor->shape[0] > INT32_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s has %lld samples", name, (long long)tensor->shape[0]);
    *batch = (int)tensor->shape[0];
    return DIFFC_OK;
}

struct diffc_tensor dfi_bind_view(const struct diffc_tensor *tensor)
{
    struct diffc_tensor view = *tensor;
    for (; view.ndim < 4; view.ndim++) {
        view.shape[view.ndim] = 1;
        view.strides[view.ndim] = 1;
    }
    return view;
}

int dfi_bind_check_text(int tokens, int width, const struct diffc_tensor *text)
{
    char shown[96];
    if (dfi_dtype_is_float(text->dtype) && text->ndim == 3 && text->shape[0] >= 1 &&
        text->shape[0] <= INT32_MAX && text->shape[1] == tokens && text->shape[2] == width)
        return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_ARG, "text is %s, expected floats [N, %d, %d]",
                    dfi_tensor_text(text, shown, sizeof(shown)), tokens, width);
}

int dfi_bind_check_text_rows(int64_t rows, int batch)
{
    if (rows != 1 && rows != batch)
        return dfi_fail(DIFFC_ERR_ARG, "text has %lld samples, the others %d", (long long)rows, batch);
    return DIFFC_OK;
}

/* [1 or N, tokens, width] as a graph has it: tokens are pixels of one row. */
static struct diffc_tensor text_view(const struct diffc_tensor *text, int batch)
{
    struct diffc_tensor view = *text;
    view.ndim = 4;
    view.shape[0] = batch;
    view.shape[1] = text->shape[2];
    view.shape[2] = 1;
    view.shape[3] = text->shape[1];
    view.strides[0] = text->shape[0] == 1 ? 0 : text->strides[0];
    view.strides[1] = text->strides[2];
    view.strides[2] = 0;
    view.strides[3] = text->strides[1];
    return view;
}

enum role { X, T, CLASS, TEXT, ROLES };

/* The tensors by their roles, checked, and how many samples they have. */
static int find_inputs(const struct diffc_model *model, const struct dfi_model_values *values,
                       const struct dfi_exec *exec, const diffc_binding *inputs, int count,
                       const struct diffc_tensor *bound[ROLES], int *batch)
{
    const int all[ROLES] = { values->x, values->t, values->cls, values->text };
    *batch = -1;
    for (int i = 0; i < count; i++) {
        if (!inputs[i].name || !inputs[i].tensor)
            return dfi_fail(DIFFC_ERR_ARG, "input %d has no name or no tensor", i);
        const int value = dfi_model_input(model, values, inputs[i].name);
        if (value < 0)
            return DIFFC_ERR_ARG;
        int role = X;
        while (all[role] != value)
            role++;
        if (bound[role])
            return dfi_fail(DIFFC_ERR_ARG, "input %d: \"%s\" is given twice", i, inputs[i].name);
        bound[role] = inputs[i].tensor;
        if (role == TEXT) {
            const struct dfi_block block = dfi_exec_value(exec, value);
            DFI_TRY(dfi_bind_check_text(block.w, block.c, inputs[i].tensor));
        } else {
            DFI_TRY(dfi_bind_check(exec, value, inputs[i].name, inputs[i].tensor, batch));
        }
    }
    return bound[TEXT] ? dfi_bind_check_text_rows(bound[TEXT]->shape[0], *batch) : DIFFC_OK;
}

int dfi_bind_inputs(const struct diffc_model *model, const struct dfi_model_values *values,
                    struct dfi_exec *exec, int batch_limit, const diffc_binding *inputs, int count,
                    int *batch)
{
    const int all[ROLES] = { values->x, values->t, values->cls, values->text };
    const struct diffc_tensor *bound[ROLES] = { NULL };
    DFI_TRY(find_inputs(model, values, exec, inputs, count, bound, batch));
    if (*batch < 1 || *batch > batch_limit)
        return dfi_fail(DIFFC_ERR_ARG, "%d samples, must be 1 to %d", *batch, batch_limit);
    dfi_exec_set_size(exec, *batch, 1);
    for (int role = 0; role < ROLES; role++) {
        if (all[role] < 0)
            continue;
        const struct dfi_block block = dfi_exec_value(exec, all[role]);
        struct diffc_tensor view;
        dfi_exec_view(exec, all[role], &view);
        if (bound[role]) {
            const struct diffc_tensor source = role == TEXT ? text_view(bound[role], *batch)
                                                            : dfi_bind_view(bound[role]);
            dfi_tensor_copy(&source, &view);
        } else {
            memset(block.data, 0, (size_t)(block.sample_stride * block.samples) * sizeof(float));
        }
    }
    return DIFFC_OK;
}
