/* One evaluation of a UNet, for comparison with another implementation: all output channels, single
 * precision. */

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "common/arguments.h"

struct request {
    const char *model, *sample, *text, *labels, *out, *variant;
    double timestep;
    int threads, memory; /* MiB beside the weights, 0: no limit of its own */
};

static int read_request(struct request *r, int argc, char **argv)
{
    r->timestep = NAN;
    const struct ex_option options[] = {
        { "model", EX_TEXT, &r->model, 0, 0, "DIR", "folder of a UNet, such as MODEL/unet" },
        { "sample", EX_TEXT, &r->sample, 0, 0, "FILE", "x [N, C, H, W], a NumPy file" },
        { "timestep", EX_REAL, &r->timestep, -FLT_MAX, FLT_MAX, "T", "of all samples" },
        { "text", EX_TEXT, &r->text, 0, 0, "FILE", "states [N or 1, tokens, width]" },
        { "class-labels", EX_TEXT, &r->labels, 0, 0, "FILE", "[N or 1], of a UNet that takes them" },
        { "out", EX_TEXT, &r->out, 0, 0, "FILE", "y [N, C', H, W], float32, all output channels" },
        { "variant", EX_TEXT, &r->variant, 0, 0, "NAME", "of the weights, such as fp16" },
        { "threads", EX_INT, &r->threads, 1, 1024, "N", "default: the CPUs of this process" },
        { "memory", EX_INT, &r->memory, 1, 1 << 30, "MIB",
          "beside the weights: with little it is slower and gives the same bits" },
    };
    const struct ex_program program = { .about = "Runs the UNet of a folder once." };
    int code = ex_arguments_read(&program, options, sizeof options / sizeof options[0], NULL, argc, argv);
    if (code >= 0)
        return code;
    const char *missing = !r->model            ? "--model"
                          : !r->sample         ? "--sample"
                          : isnan(r->timestep) ? "--timestep"
                          : !r->text           ? "--text"
                          : !r->out            ? "--out"
                                               : NULL;
    return missing ? ex_error(EX_USAGE, missing, "needed") : -1;
}

/* Everything that main() must give back. */
struct run {
    diffc_context *context;
    diffc_model *model;
    diffc_session *session;
    diffc_tensor *x, *t, *text, *labels, *y;
};

/* Numbers [N or 1] of any type as F32 [N]. */
static int spread(struct run *run, diffc_tensor **values, int64_t batch)
{
    diffc_tensor *read = *values, *all = NULL;
    const int64_t shape[1] = { batch };
    const int64_t count = diffc_tensor_count(read);
    if (count != batch && count != 1)
        return ex_error(EX_FAILED, "--class-labels", "%lld values for %lld samples", (long long)count,
                        (long long)batch);
    diffc_tensor *flat = NULL, *floats = NULL;
    int status = diffc_tensor_reshape(read, 1, &count, &flat);
    status = status ? status : diffc_tensor_create(run->context, DIFFC_F32, 1, &count, &floats);
    status = status ? status : diffc_tensor_copy(flat, floats);
    status = status ? status : diffc_tensor_create(run->context, DIFFC_F32, 1, shape, &all);
    for (int64_t n = 0; !status && n < batch; n++)
        ((float *)diffc_tensor_data(all))[n] = ((const float *)diffc_tensor_data(floats))[count == 1 ? 0 : n];
    diffc_release(&flat);
    diffc_release(&floats);
    diffc_release(values);
    *values = all;
    return status ? ex_failed("--class-labels", status) : 0;
}

static int load(struct run *run, const struct request *request)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    int status;
    options.variant = request->variant;
    if ((status = diffc_model_open(run->context, request->model, &options, &run->model)))
        return ex_failed(request->model, status);
    if ((status = diffc_npy_read(run->context, request->sample, &run->x)))
        return ex_failed(request->sample, status);
    if ((status = diffc_npy_read(run->context, request->text, &run->text)))
        return ex_failed(request->text, status);
    if (request->labels && (status = diffc_npy_read(run->context, request->labels, &run->labels)))
        return ex_failed(request->labels, status);
    if (diffc_tensor_ndim(run->x) != 4)
        return ex_error(EX_FAILED, request->sample, "has %d dimensions, a sample is [N, C, H, W]",
                        diffc_tensor_ndim(run->x));
    if (diffc_tensor_ndim(run->text) != 3)
        return ex_error(EX_FAILED, request->text, "has %d dimensions, text is [N, tokens, width]",
                        diffc_tensor_ndim(run->text));
    return 0;
}

static int prepare(struct run *run, const struct request *request)
{
    const int64_t batch = diffc_tensor_dim(run->x, 0), height = diffc_tensor_dim(run->x, 2);
    const int64_t width = diffc_tensor_dim(run->x, 3), tokens = diffc_tensor_dim(run->text, 1);
    diffc_session_options options = DIFFC_SESSION_OPTIONS;
    if (batch > 4096 || height > 16384 || width > 16384 || tokens > 4096)
        return ex_error(EX_FAILED, "predict_noise", "the sample or the text is too large");
    options.batch = (int32_t)batch;
    options.conditions = 1;
    options.numerics = "exact"; /* for those who compare */
    options.image_height = (int32_t)height;
    options.image_width = (int32_t)width;
    options.text_tokens = (int32_t)tokens;
    options.memory = (int64_t)request->memory << 20;
    int status = diffc_session_create(run->model, &options, &run->session);
    status = status ? status : diffc_tensor_create(run->context, DIFFC_F32, 1, &batch, &run->t);
    for (int64_t n = 0; !status && n < batch; n++)
        ((float *)diffc_tensor_data(run->t))[n] = (float)request->timestep;
    diffc_denoiser denoiser = DIFFC_DENOISER;
    status = status ? status : diffc_session_denoiser(run->session, &denoiser);
    const int64_t out[4] = { batch, denoiser.out_channels, height, width };
    status = status ? status : diffc_tensor_create(run->context, DIFFC_F32, 4, out, &run->y);
    if (status)
        return ex_failed(request->model, status);
    return run->labels ? spread(run, &run->labels, batch) : 0;
}

static int evaluate(struct run *run, const struct request *request)
{
    diffc_binding inputs[4] = { { "x", run->x }, { "t", run->t }, { "text", run->text } };
    const diffc_binding output = { "out", run->y };
    int count = 3;
    if (run->labels)
        inputs[count++] = (diffc_binding) { "class", run->labels };
    int status = diffc_session_run(run->session, inputs, count, &output, 1);
    if (status)
        return ex_failed("predict_noise", status);
    status = diffc_npy_write(run->y, request->out);
    return status ? ex_failed(request->out, status) : 0;
}

int main(int argc, char **argv)
{
    struct request request = { .threads = 0 };
    struct run run = { NULL };
    int code = read_request(&request, argc, argv);
    if (code >= 0)
        return code;
    code = ex_context_create(request.threads, 0, &run.context);
    code = code ? code : load(&run, &request);
    code = code ? code : prepare(&run, &request);
    code = code ? code : evaluate(&run, &request);
    diffc_release(&run.y);
    diffc_release(&run.labels);
    diffc_release(&run.text);
    diffc_release(&run.t);
    diffc_release(&run.x);
    diffc_release(&run.session);
    diffc_release(&run.model);
    diffc_release(&run.context);
    return code;
}
