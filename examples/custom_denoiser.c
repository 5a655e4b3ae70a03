/* A model of your own in the library's sampling loop: a function in place of a network.
 *
 * The pictures of this program are known: one of four drawings of 8 x 8 pixels, chosen with known weights,
 * plus Gaussian noise of known strength. For such a mixture the best possible denoiser is a formula, so
 * samples can be compared with the exact answer: how often each drawing comes, and how far from it. */
#include <math.h>
#include <string.h>

#include "common/metrics.h"
#include "common/options.h"

#define SIDE 8
#define PIXELS (SIDE * SIDE)
#define DRAWINGS 4
#define SAMPLES 1000
#define SHOWN 60

static const char *const drawings[DRAWINGS] = {
    ".##..##.########################.######...####.....##...........",
    "...##.....####...######.########.######..##..##..##..##..##..##.",
    "..####...######.##.##.####.##.##########.#....#..##..##...####..",
    "######..##...##.##...##.######..##......##......##......##......",
};
static const double weights[DRAWINGS] = { 0.4, 0.3, 0.2, 0.1 };
static const double deviation = 0.1;

static double drawing(int k, int pixel)
{
    return drawings[k][pixel] == '#';
}

/* What the denoiser is told through its `opaque` pointer. */
struct mixture {
    const diffc_schedule *schedule;
    int flow;
};

/* x = a image + b noise. The expected image is a mean over the drawings, each weighed by how well it explains
 * x. */
static void expected_image(const float *x, double a, double b, double *image)
{
    const double variance = a * a * deviation * deviation + b * b;
    const double gain = a * deviation * deviation / variance;
    double likelihood[DRAWINGS], best = -INFINITY, sum = 0;
    for (int k = 0; k < DRAWINGS; k++) {
        double distance = 0;
        for (int i = 0; i < PIXELS; i++)
            distance += (x[i] - a * drawing(k, i)) * (x[i] - a * drawing(k, i));
        likelihood[k] = log(weights[k]) - distance / (2 * variance);
        best = fmax(best, likelihood[k]);
    }
    for (int k = 0; k < DRAWINGS; k++)
        sum += likelihood[k] = exp(likelihood[k] - best);
    for (int i = 0; i < PIXELS; i++) {
        image[i] = 0;
        for (int k = 0; k < DRAWINGS; k++)
            image[i] += likelihood[k] / sum * (drawing(k, i) + gain * (x[i] - a * drawing(k, i)));
    }
}

/* The callback. Each query is a batch x and a place for the answer; sample n is at time t[n]. The answer is
 * the noise in x, or, for a flow, the velocity towards the image. A model with conditions would look at
 * query->condition. */
static int predict(void *opaque, const float *t, const diffc_query *queries, int count)
{
    const struct mixture *mixture = opaque;
    for (const diffc_query *query = queries; query < queries + count; query++) {
        const float *x = diffc_tensor_data(query->x);
        float *out = diffc_tensor_data(query->out);
        const int64_t samples = diffc_tensor_dim(query->x, 0);
        for (int64_t n = 0; n < samples; n++, x += PIXELS, out += PIXELS) {
            const double ab = mixture->flow ? 0 : diffc_schedule_alpha_bars(mixture->schedule)[(int)t[n]];
            const double a = mixture->flow ? t[n] : sqrt(ab), b = mixture->flow ? 1 - t[n] : sqrt(1 - ab);
            double image[PIXELS];
            expected_image(x, a, b, image);
            for (int i = 0; i < PIXELS; i++)
                out[i] = (float)(mixture->flow ? (image[i] - x[i]) / b : (x[i] - a * image[i]) / b);
        }
    }
    return DIFFC_OK; /* or a negative status, which ends the loop */
}

/* The loop of diffc_sample(), taken apart: one row of what the denoiser believes at ten moments on the way.
 */
static int show_estimates(diffc_context *context, diffc_sampler *sampler, const diffc_denoiser *denoiser,
                          uint64_t seed, const char *path)
{
    const int64_t shape[4] = { 1, 1, SIDE, SIDE }, row_shape[4] = { 10, 1, SIDE, SIDE };
    diffc_tensor *x = NULL, *seen = NULL, *output = NULL, *noise = NULL, *image = NULL, *row = NULL;
    diffc_image_options look = DIFFC_IMAGE_OPTIONS;
    const int steps = diffc_sampler_steps(sampler);
    int status = diffc_tensor_create(context, DIFFC_F32, 4, shape, &x);
    status = status ? status : diffc_tensor_create(context, DIFFC_F32, 4, shape, &seen);
    status = status ? status : diffc_tensor_create(context, DIFFC_F32, 4, shape, &output);
    status = status ? status : diffc_tensor_create(context, DIFFC_F32, 4, shape, &noise);
    status = status ? status : diffc_tensor_create(context, DIFFC_F32, 4, shape, &image);
    status = status ? status : diffc_tensor_create(context, DIFFC_F32, 4, row_shape, &row);
    status = status ? status : diffc_rng_normal(x, seed, 0, 0);
    for (int i = 0; i < PIXELS && !status; i++)
        ((float *)diffc_tensor_data(x))[i] *= diffc_sampler_initial_sigma(sampler);
    for (int i = 0; i < steps && !status; i++) {
        const float t = diffc_sampler_timestep(sampler, i);
        status = diffc_sampler_scale_input(sampler, i, x, seen);
        if (!status)
            status = diffc_guide_predict(NULL, denoiser, i, &t, seen, output);
        /* Here the prediction is in our hands: output may be changed before the step uses it. */
        if (!status && diffc_sampler_needs_noise(sampler, i))
            status = diffc_rng_normal(noise, seed, 1, (uint64_t)i * PIXELS);
        if (!status)
            status = diffc_sampler_step(sampler, i, output, noise, x, image);
        if (!status)
            memcpy((float *)diffc_tensor_data(row) + (int64_t)i * 10 / steps * PIXELS,
                   diffc_tensor_data(image), PIXELS * sizeof(float));
    }
    look.columns = 10;
    look.scale = 6;
    status = status ? status : diffc_image_write(row, path, &look);
    diffc_release(&row);
    diffc_release(&image);
    diffc_release(&noise);
    diffc_release(&output);
    diffc_release(&seen);
    diffc_release(&x);
    return status;
}

/* Compares the samples with what is known of the mixture. */
static void compare(json_t *metrics, const float *x)
{
    double mean[PIXELS] = { 0 }, share[DRAWINGS] = { 0 }, squares = 0, worst = 0, distance = 0;
    for (int n = 0; n < SAMPLES; n++, x += PIXELS) {
        double nearest = INFINITY;
        int which = 0;
        for (int k = 0; k < DRAWINGS; k++) {
            double d = 0;
            for (int i = 0; i < PIXELS; i++)
                d += (x[i] - drawing(k, i)) * (x[i] - drawing(k, i));
            if (d < nearest) {
                nearest = d;
                which = k;
            }
        }
        share[which] += 1.0 / SAMPLES;
        squares += nearest;
        for (int i = 0; i < PIXELS; i++)
            mean[i] += x[i] / SAMPLES;
    }
    for (int k = 0; k < DRAWINGS; k++)
        worst = fmax(worst, fabs(share[k] - weights[k]));
    for (int i = 0; i < PIXELS; i++) {
        double exact = 0;
        for (int k = 0; k < DRAWINGS; k++)
            exact += weights[k] * drawing(k, i);
        distance += (mean[i] - exact) * (mean[i] - exact) / PIXELS;
    }
    ex_metric(metrics, "mean_distance", sqrt(distance));
    ex_metric(metrics, "share_distance", worst);
    ex_metric(metrics, "deviation", sqrt(squares / (SAMPLES * PIXELS)));
    ex_metric(metrics, "deviation_exact", deviation);
}

static int write_samples(const diffc_tensor *samples, const char *path)
{
    diffc_image_options look = DIFFC_IMAGE_OPTIONS;
    diffc_tensor *shown = NULL;
    int status = diffc_tensor_slice(samples, 0, 0, SHOWN, 1, &shown);
    look.columns = 10;
    look.scale = 6;
    status = status ? status : diffc_image_write(shown, path, &look);
    diffc_release(&shown);
    return status;
}

static int run(diffc_context *context, const char *step, int steps, uint64_t seed, const char *out,
               json_t *metrics)
{
    diffc_schedule *schedule = NULL;
    diffc_sampler *sampler = NULL;
    diffc_tensor *samples = NULL;
    diffc_denoiser denoiser = DIFFC_DENOISER;
    diffc_sampler_options rule = DIFFC_SAMPLER_OPTIONS;
    diffc_sample_options what = DIFFC_SAMPLE_OPTIONS;
    struct mixture mixture = { .flow = !strcmp(step, "flow_euler") };
    char path[EX_PATH];

    rule.step = step;
    rule.spacing = mixture.flow ? "linspace" : "leading";
    rule.steps = steps;
    int status = diffc_schedule_create(context, mixture.flow ? "flow" : "linear", NULL, &schedule);
    status = status ? status : diffc_sampler_create(schedule, &rule, &sampler);

    mixture.schedule = schedule;
    denoiser.predict = predict;
    denoiser.opaque = &mixture;
    what.batch = SAMPLES;
    what.channels = 1;
    what.height = what.width = SIDE;
    what.seed = seed;
    status = status ? status : diffc_sample(sampler, &denoiser, &what, &samples);
    if (!status)
        compare(metrics, diffc_tensor_data(samples));
    status = status ? status : write_samples(samples, ex_path(path, out, "samples.png"));
    status = status ? status
                    : show_estimates(context, sampler, &denoiser, seed, ex_path(path, out, "estimates.png"));
    diffc_release(&samples);
    diffc_release(&sampler);
    diffc_release(&schedule);
    return status ? ex_failed(step, status) : 0;
}

int main(int argc, char **argv)
{
    struct ex_options options;
    const char *step = "ddpm";
    int steps = 100;
    const struct ex_option own[] = {
        { "step", EX_CHOICE, &step, 0, 0, "ddpm|ddim|dpmsolver++|sde-dpmsolver++|euler|flow_euler",
          "step rule (default ddpm)" },
        { "steps", EX_INT, &steps, 1, 999, "N", "number of steps (default 100)" },
    };
    const struct ex_program program = {
        .about = "Samples four small drawings through a denoiser that is a formula, and compares with the "
                 "exact answer.",
        .own = own,
        .own_count = 2,
        .unused = "data weights precision numerics epochs batch lr width time timesteps guidance resume",
    };
    diffc_context *context = NULL;
    json_t *metrics = NULL;
    int code = ex_options_read(&options, &program, argc, argv);
    if (code >= 0)
        return code;
    const char *out = options.out ? options.out : "out/custom_denoiser";
    ex_begin();
    code = ex_context_open(&options, &context);
    code = code ? code : ex_make_folder(out);
    if (!code) {
        metrics = ex_metrics_open(out, 0);
        ex_metric_text(metrics, "step", step);
        ex_metric_integer(metrics, "steps", steps);
        ex_metric_integer(metrics, "seed", (int64_t)options.seed);
        ex_cancel_on_signal(context);
        code = run(context, step, steps, options.seed, out, metrics);
        ex_cancel_on_signal(NULL);
    }
    code = code ? code : ex_metrics_save(metrics, out);
    json_decref(metrics);
    diffc_release(&context);
    return ex_end(code, out);
}
