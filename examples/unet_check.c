/* For those who compare with another implementation of the small UNet: runs a weight file on given tensors
 * and writes what came out, layer names and layouts as PyTorch has them.
 *
 *   unet_check --weights W.safetensors --x x.npy [--t t.npy] [--onehot c.npy] [--target y.npy] --time add|mul
 *              [--adam-steps K --lr 1e-3] --out DIR
 *
 *   out_eval.npy          output in evaluation mode; running statistics that the file lacks are 0 and 1
 *
 * with --target also:
 *
 *   out_train.npy         output in training mode
 *   grad.safetensors      gradient of the mean squared error in training mode
 *   out_eval_after.npy    evaluation mode again, the running statistics moved by that one batch
 *
 * with --adam-steps K, from the file again:
 *
 *   metrics.json          the loss before each step
 *   weights.safetensors   after the last one
 *
 * Size and conditioning follow from the tensors of the file; t is fed as it is given. */
#include <stdio.h>
#include <string.h>

#include "common/metrics.h"
#include "common/options.h"

struct check {
    struct ex_options common;
    const char *x_path, *t_path, *onehot_path, *target_path;
    int adam_steps;
    diffc_context *context;
    diffc_binding inputs[3];
    int input_count;
    diffc_tensor *target, *output; /* output: as large as x */
    json_t *metrics;
};

/* A NumPy file as F32 with `ndim` dimensions; [N, 1] may stand for [N]. */
static int read_tensor(const struct check *c, const char *path, int ndim, diffc_tensor **tensor)
{
    diffc_tensor *raw = NULL;
    int status = diffc_npy_read(c->context, path, &raw);
    if (!status)
        status = diffc_tensor_convert(raw, DIFFC_F32, tensor);
    diffc_release(&raw);
    if (status)
        return ex_failed(path, status);
    if (ndim == 1 && diffc_tensor_ndim(*tensor) == 2 && diffc_tensor_dim(*tensor, 1) == 1) {
        int64_t count = diffc_tensor_dim(*tensor, 0);
        raw = *tensor;
        *tensor = NULL;
        status = diffc_tensor_reshape(raw, 1, &count, tensor);
        diffc_release(&raw);
        return status ? ex_failed(path, status) : 0;
    }
    if (diffc_tensor_ndim(*tensor) != ndim)
        return ex_error(EX_FAILED, path, "has %d dimensions, needed are %d", diffc_tensor_ndim(*tensor),
                        ndim);
    return 0;
}

static int add_input(struct check *c, const char *name, const char *path, int ndim)
{
    diffc_binding *input = &c->inputs[c->input_count];
    if (!path)
        return 0;
    int code = read_tensor(c, path, ndim, &input->tensor);
    if (code) {
        diffc_release(&input->tensor);
        return code;
    }
    input->name = name;
    c->input_count++;
    return 0;
}

static int read_inputs(struct check *c)
{
    int code = add_input(c, "x", c->x_path, 4);
    if (!code)
        code = add_input(c, "t", c->t_path, 1);
    if (!code)
        code = add_input(c, "class", c->onehot_path, 2);
    if (!code && c->target_path)
        code = read_tensor(c, c->target_path, 4, &c->target);
    if (code)
        return code;
    int64_t shape[4];
    for (int i = 0; i < 4; i++)
        shape[i] = diffc_tensor_dim(c->inputs[0].tensor, i);
    int status = diffc_tensor_create(c->context, DIFFC_F32, 4, shape, &c->output);
    return status ? ex_failed(c->x_path, status) : 0;
}

static int open_model(const struct check *c, diffc_model **model)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    options.image_height = (int32_t)diffc_tensor_dim(c->output, 2);
    options.image_width = (int32_t)diffc_tensor_dim(c->output, 3);
    options.time_mode = c->common.time;
    int status = diffc_model_open(c->context, c->common.weights, &options, model);
    return status ? ex_failed(c->common.weights, status) : 0;
}

static int check_inputs(const struct check *c, const diffc_model *model)
{
    const char *architecture;
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    int status = diffc_model_describe(model, &architecture, &options);
    if (status)
        return ex_failed(c->common.weights, status);
    if (strcmp(architecture, "cs180_unet"))
        return ex_error(EX_FAILED, c->common.weights, "is a %s, not a cs180_unet", architecture);
    if (c->common.time && strcmp(options.condition, "none") && strcmp(c->common.time, options.time_mode))
        return ex_error(EX_USAGE, "--time", "is %s, %s says %s", c->common.time, c->common.weights,
                        options.time_mode);
    if (strcmp(options.condition, "none") && !c->t_path)
        return ex_error(EX_USAGE, "--t", "this UNet has a time condition");
    if (!strcmp(options.condition, "class") && !c->onehot_path)
        return ex_error(EX_USAGE, "--onehot", "this UNet has a class condition");
    for (int i = 0; c->target && i < 4; i++)
        if (diffc_tensor_dim(c->target, i) != diffc_tensor_dim(c->output, i))
            return ex_error(EX_FAILED, c->target_path, "dimension %d is %lld, that of %s is %lld", i,
                            (long long)diffc_tensor_dim(c->target, i), c->x_path,
                            (long long)diffc_tensor_dim(c->output, i));
    return 0;
}

static int write_output(const struct check *c, const char *name)
{
    char path[EX_PATH];
    int status = diffc_npy_write(c->output, ex_path(path, c->common.out, name));
    return status ? ex_failed(path, status) : 0;
}

static int run_eval(const struct check *c, diffc_model *model, const char *name)
{
    diffc_session *session = NULL;
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    diffc_binding output = { "out", c->output };
    options.batch = (int32_t)diffc_tensor_dim(c->output, 0);
    options.numerics = c->common.numerics;
    options.precision = c->common.precision;
    int status = diffc_session_create(model, &options, &session);
    if (!status)
        status = diffc_session_run(session, c->inputs, c->input_count, &output, 1);
    diffc_release(&session);
    return status ? ex_failed("evaluation", status) : write_output(c, name);
}

/* The trainer wants a data set; the batch itself will do, the steps are made by hand. */
static int create_trainer(const struct check *c, diffc_model *model, int updates, diffc_trainer **trainer)
{
    diffc_trainer_options options = DIFFC_TRAINER_OPTIONS;
    diffc_dataset *dataset = NULL;
    diffc_tensor *labels = NULL;
    int64_t count = diffc_tensor_dim(c->output, 0);
    options.objective = c->t_path ? "flow" : "denoise";
    options.batch = (int32_t)count;
    options.numerics = c->common.numerics;
    options.precision = c->common.precision;
    options.epochs = updates;
    options.learning_rate = c->common.learning_rate > 0 ? c->common.learning_rate : 1e-3;
    int status = diffc_tensor_create(c->context, DIFFC_I32, 1, &count, &labels);
    if (!status)
        status = diffc_dataset_create(c->inputs[0].tensor, labels, &dataset);
    if (!status)
        status = diffc_trainer_create(model, dataset, &options, trainer);
    diffc_release(&dataset);
    diffc_release(&labels);
    return status ? ex_failed("trainer", status) : 0;
}

static int save_gradients(const struct check *c, const diffc_model *model, const diffc_trainer *trainer)
{
    diffc_archive *archive = NULL;
    char path[EX_PATH];
    int status = diffc_archive_create(c->context, &archive);
    for (int i = 0, count = diffc_model_tensor_count(model); i < count && !status; i++) {
        const char *name;
        diffc_tensor *weight = NULL, *gradient = NULL;
        int trainable;
        status = diffc_model_tensor(model, i, &name, &weight, &trainable);
        if (!status && trainable)
            status = diffc_trainer_gradient(trainer, i, &gradient);
        if (!status && trainable)
            status = diffc_archive_add(archive, name, gradient);
        diffc_release(&weight);
        diffc_release(&gradient);
    }
    if (!status)
        status = diffc_archive_save(archive, ex_path(path, c->common.out, "grad.safetensors"));
    diffc_release(&archive);
    return status ? ex_failed("grad.safetensors", status) : 0;
}

static int run_training(const struct check *c, diffc_model *model)
{
    diffc_trainer *trainer = NULL;
    double loss = 0;
    int code = create_trainer(c, model, 1, &trainer);
    if (code)
        return code;
    int status = diffc_trainer_gradients(trainer, c->inputs, c->input_count, c->target, c->output, &loss);
    code = status ? ex_failed("gradients", status) : write_output(c, "out_train.npy");
    if (!code)
        code = save_gradients(c, model, trainer);
    if (!code && (status = diffc_trainer_keep_statistics(trainer)))
        code = ex_failed("running statistics", status);
    if (!code)
        ex_metric(c->metrics, "loss", loss);
    diffc_release(&trainer);
    return code ? code : run_eval(c, model, "out_eval_after.npy");
}

static int run_adam(const struct check *c)
{
    diffc_model *model = NULL;
    diffc_trainer *trainer = NULL;
    char path[EX_PATH];
    json_t *losses = json_array();
    int status = 0, code = open_model(c, &model);
    if (!code)
        code = create_trainer(c, model, c->adam_steps, &trainer);
    for (int step = 0; step < c->adam_steps && !code; step++) {
        double loss = 0;
        status = diffc_trainer_gradients(trainer, c->inputs, c->input_count, c->target, NULL, &loss);
        if (!status)
            status = diffc_trainer_apply(trainer, NULL);
        code = status ? ex_failed("step", status) : ex_stopped();
        json_array_append_new(losses, json_real(loss));
        if (!c->common.quiet)
            printf("step %-4d loss %.8g\n", step, loss);
    }
    json_object_set_new(c->metrics, "losses", losses);
    diffc_release(&trainer);
    if (!code &&
        (status = diffc_model_save(model, ex_path(path, c->common.out, "weights.safetensors"), DIFFC_F32)))
        code = ex_failed(path, status);
    diffc_release(&model);
    return code;
}

static int run(struct check *c)
{
    diffc_model *model = NULL;
    int code = read_inputs(c);
    if (!code)
        code = open_model(c, &model);
    if (!code)
        code = check_inputs(c, model);
    if (!code)
        code = ex_make_folder(c->common.out);
    if (!code)
        code = run_eval(c, model, "out_eval.npy");
    if (!code && c->target)
        code = run_training(c, model);
    diffc_release(&model);
    if (!code && c->adam_steps)
        code = run_adam(c);
    return code ? code : ex_metrics_save(c->metrics, c->common.out);
}

int main(int argc, char **argv)
{
    struct check c = { 0 };
    const struct ex_option own[] = {
        { "x", EX_TEXT, &c.x_path, 0, 0, "FILE", "images [N, C, H, W], a NumPy file" },
        { "t", EX_TEXT, &c.t_path, 0, 0, "FILE", "times [N], fed as they are" },
        { "onehot", EX_TEXT, &c.onehot_path, 0, 0, "FILE", "classes [N, classes], rows of zeros for none" },
        { "target", EX_TEXT, &c.target_path, 0, 0, "FILE", "what the output is compared with, [N, C, H, W]" },
        { "adam-steps", EX_INT, &c.adam_steps, 1, 1e6, "K", "updates to make from the file on" },
    };
    const struct ex_program program = {
        .about =
            "Runs weights of the small UNet on given tensors, for a comparison with another implementation.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "data epochs batch width timesteps guidance resume seed",
    };
    int code = ex_options_read(&c.common, &program, argc, argv);
    if (code >= 0)
        return code;
    if (!c.common.numerics)
        c.common.numerics = "exact"; /* for those who compare */
    if (!c.common.weights || !c.x_path)
        return ex_error(EX_USAGE, c.common.weights ? "--x" : "--weights", "needed");
    if (c.adam_steps && !c.target_path)
        return ex_error(EX_USAGE, "--adam-steps", "needs --target");
    if (!c.common.out)
        c.common.out = "out/unet_check";
    ex_begin();
    code = ex_context_open(&c.common, &c.context);
    if (!code) {
        ex_cancel_on_signal(c.context);
        c.metrics = json_object();
        code = run(&c);
        ex_cancel_on_signal(NULL);
        json_decref(c.metrics);
    }
    for (int i = 0; i < c.input_count; i++)
        diffc_release(&c.inputs[i].tensor);
    diffc_release(&c.target);
    diffc_release(&c.output);
    diffc_release(&c.context);
    return ex_end(code, c.common.out);
}
