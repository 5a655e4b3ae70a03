#include <math.h>

#include "sched/sched.h"

static int train_steps(const struct dfi_spacing_request *request)
{
    return request->schedule->options.train_steps;
}

static int fill_full(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                     float *times)
{
    (void)spacing;
    for (int i = 0; i < request->top; i++)
        times[i] = (float)(request->top - 1 - i);
    return request->top;
}

static int fill_strided(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                        float *times)
{
    (void)spacing;
    const int stride = train_steps(request) / request->steps + (train_steps(request) % request->steps != 0);
    int count = 0;
    for (int t = (request->top - 1) / stride * stride; t >= 0 && count < request->steps; t -= stride)
        times[count++] = (float)t;
    return count;
}

static int fill_leading(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                        float *times)
{
    (void)spacing;
    const int zero = request->skips_zero;
    const int stride = zero ? request->top / (request->steps + 1) : train_steps(request) / request->steps;
    for (int i = 0; i < request->steps; i++)
        times[i] = (float)((request->steps - 1 + zero - i) * stride + request->offset);
    return request->steps;
}

/* round(numpy.arange(top, 0, -T / steps)) - 1; numpy's increment is the difference of its first two values.
 * Where diffusers ends with timestep -1, the list ends before. */
static int fill_trailing(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                         float *times)
{
    (void)spacing;
    const double top = request->top;
    const double increment = (top - (double)train_steps(request) / request->steps) - top;
    int count = 0;
    for (; count < request->steps; count++) {
        const double t = rint(top + count * increment) - 1;
        if (t < 0)
            break;
        times[count] = (float)t;
    }
    return count;
}

static void linspace_flow(const struct dfi_spacing_request *request, float *times)
{
    for (int i = 0; i < request->steps; i++)
        times[i] = (float)i / (float)request->steps;
}

/* diffusers shifts the lower end before and after spacing (FlowMatchEulerDiscreteScheduler). */
static void linspace_flow_match(const struct dfi_spacing_request *request, float *times)
{
    const double shift = request->schedule->options.shift;
    const double count = train_steps(request);
    const double lowest = shift / count / (1 + (shift - 1) / count);
    for (int i = 0; i < request->steps; i++) {
        const double part = request->steps > 1 ? (double)i / (request->steps - 1) : 0;
        const double sigma = 1 + (lowest - 1) * part;
        times[i] = (float)(count * (shift * sigma / (1 + (shift - 1) * sigma)));
    }
}

static int fill_linspace(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                         float *times)
{
    (void)spacing;
    const int count = request->steps;
    if (request->schedule->rule->process == DFI_PROCESS_FLOW) {
        linspace_flow(request, times);
        return count;
    }
    if (request->schedule->rule->process == DFI_PROCESS_FLOW_MATCH) {
        linspace_flow_match(request, times);
        return count;
    }
    const int gaps = count - 1 + request->skips_zero;
    const double top = request->top - 1;
    for (int i = 0; i < count; i++) {
        const double t = gaps == 0 ? 0 : i == 0 ? top : (gaps - i) * (top / gaps);
        times[i] = (float)(request->fractional ? t : rint(t));
    }
    return count;
}

/* Timesteps 0 .. T - 1 in equal sections, each with its own number of evenly spaced entries:
 * the lists that the pipelines of DeepFloyd IF name. */
static int fill_sections(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                         float *times)
{
    int sections = 0, total = 0, used = 0;
    while (spacing->sections[sections])
        total += spacing->sections[sections++];
    for (int s = 0, start = 0; s < sections; s++) {
        const int size = train_steps(request) / sections + (s < train_steps(request) % sections);
        const int count = spacing->sections[s];
        const double stride = count > 1 ? (double)(size - 1) / (count - 1) : 0;
        double at = 0;
        for (int k = 0; k < count; k++, at += stride)
            times[total - 1 - used++] = (float)(start + (int)rint(at));
        start += size;
    }
    int skip = 0;
    while (skip < total && times[skip] >= (float)request->top)
        skip++;
    for (int i = skip; i < total; i++)
        times[i - skip] = times[i];
    return total - skip;
}

static const unsigned char fast27[] = { 10, 10, 3, 2, 2, 0 };
static const unsigned char smart27[] = { 7, 4, 2, 1, 2, 4, 7, 0 };
static const unsigned char smart50[] = { 10, 6, 4, 3, 2, 2, 3, 4, 6, 10, 0 };
static const unsigned char smart100[] = { 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,  3,  3,
                                          4, 4, 5, 5, 6, 7, 7, 8, 9, 10, 13, 0 };
static const unsigned char smart185[] = { 1, 1, 2,  2,  2,  3,  3,  3,  4,  5,  6,  7,
                                          8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 0 };
static const unsigned char super27[] = { 1, 1, 1, 1, 1, 1, 1, 2, 5, 13, 0 };
static const unsigned char super40[] = { 2, 2, 2, 2, 2, 2, 3, 4, 6, 15, 0 };
static const unsigned char super100[] = { 4, 4, 6, 6, 8, 8, 10, 10, 14, 30, 0 };

#define PRESET(name, text) \
    { \
        .entry = { #name, text }, .processes = DFI_PROCESS_DIFFUSION, .sections = name, \
        .fill = fill_sections \
    }
#define ALL_PROCESSES (DFI_PROCESS_DIFFUSION | DFI_PROCESS_FLOW | DFI_PROCESS_FLOW_MATCH)

static const struct dfi_spacing spacings[] = {
    { .entry = { "full", "every timestep" }, .processes = DFI_PROCESS_DIFFUSION, .fill = fill_full },
    { .entry = { "strided", "multiples of T / steps rounded up, down to 0" },
      .processes = DFI_PROCESS_DIFFUSION,
      .free = 1,
      .fill = fill_strided },
    { .entry = { "leading", "multiples of T / steps rounded down, from steps - 1 to 0" },
      .processes = DFI_PROCESS_DIFFUSION,
      .free = 1,
      .skips_zero = 1,
      .fill = fill_leading },
    { .entry = { "trailing", "from T - 1 downwards by T / steps" },
      .processes = DFI_PROCESS_DIFFUSION,
      .from_top = 1,
      .free = 1,
      .fill = fill_trailing },
    { .entry = { "linspace", "evenly from T - 1 to 0; of flow schedules: from noise towards the image" },
      .processes = ALL_PROCESSES,
      .from_top = 1,
      .free = 1,
      .skips_zero = 1,
      .fill = fill_linspace },
    PRESET(fast27, "27 timesteps, dense at low noise (DeepFloyd IF)"),
    PRESET(smart27, "27 timesteps, dense at both ends (DeepFloyd IF)"),
    PRESET(smart50, "50 timesteps, dense at both ends (DeepFloyd IF)"),
    PRESET(smart100, "100 timesteps, dense at high noise (DeepFloyd IF)"),
    PRESET(smart185, "185 timesteps, dense at high noise (DeepFloyd IF)"),
    PRESET(super27, "27 timesteps, very dense at high noise (DeepFloyd IF)"),
    PRESET(super40, "40 timesteps, very dense at high noise (DeepFloyd IF)"),
    PRESET(super100, "100 timesteps, very dense at high noise (DeepFloyd IF)"),
};

const struct dfi_entry *dfi_spacing_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(spacings) ? &spacings[index].entry : NULL;
}

const struct dfi_spacing *dfi_spacing_find(const char *name)
{
    return dfi_registry_find(spacings, sizeof(spacings[0]), DFI_COUNT(spacings), "spacing", name);
}

/* Most entries that fill() may write; for lists of a fixed length also the only `steps` that may be asked. */
static int most_entries(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request)
{
    if (spacing->free)
        return request->steps;
    if (!spacing->sections)
        return request->top;
    int total = 0;
    for (const unsigned char *count = spacing->sections; *count; count++)
        total += *count;
    return total;
}

static int check_request(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request)
{
    const int most = most_entries(spacing, request);
    const int64_t limit = request->schedule->object.context->limits.steps;
    if (!(spacing->processes & (int)request->schedule->rule->process))
        return dfi_fail(DIFFC_ERR_CONFIG, "spacing \"%s\" is not for the schedule \"%s\"",
                        spacing->entry.name, request->schedule->rule->entry.name);
    if (most > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "spacing \"%s\" gives %d steps, the limit is %lld",
                        spacing->entry.name, most, (long long)limit);
    if (request->top < 1)
        return dfi_fail(DIFFC_ERR_CONFIG, "options.lambda_min leaves no timestep");
    if (!spacing->free && request->steps && request->steps != most)
        return dfi_fail(DIFFC_ERR_CONFIG, "spacing \"%s\" has %d steps, options.steps is %d",
                        spacing->entry.name, most, request->steps);
    if (request->schedule->rule->process == DFI_PROCESS_DIFFUSION && most > train_steps(request))
        return dfi_fail(DIFFC_ERR_ARG, "spacing \"%s\" cannot place %d steps on %d timesteps",
                        spacing->entry.name, most, train_steps(request));
    return DIFFC_OK;
}

int dfi_spacing_list(const struct dfi_spacing *spacing, const struct dfi_spacing_request *request,
                     float **times, int *count)
{
    DFI_TRY(check_request(spacing, request));
    struct diffc_context *context = request->schedule->object.context;
    float *list = dfi_calloc(context, (size_t)most_entries(spacing, request) + 1, sizeof(*list));
    if (!list)
        return DIFFC_ERR_NOMEM;
    const int filled = spacing->fill(spacing, request, list);
    const int status = dfi_times_check(request->schedule, spacing->entry.name, list, filled,
                                       request->fractional);
    if (status < 0) {
        dfi_free(context, list);
        return dfi_fail_in(DIFFC_ERR_CONFIG, "spacing does not fit: %d steps, %d timesteps, offset %d",
                           filled, request->top, request->offset);
    }
    *times = list;
    *count = filled;
    return DIFFC_OK;
}

int dfi_times_check(const struct diffc_schedule *schedule, const char *what, const float *times, int count,
                    int fractional)
{
    const enum dfi_process process = schedule->rule->process;
    const float sign = process == DFI_PROCESS_FLOW ? -1.0f : 1.0f;
    const float steps = (float)schedule->options.train_steps;
    if (count < 1)
        return dfi_fail(DIFFC_ERR_ARG, "%s: the list of timesteps is empty", what);
    for (int i = 0; i < count; i++) {
        const float t = times[i];
        const int inside = process == DFI_PROCESS_FLOW         ? t >= 0 && t < 1
                           : process == DFI_PROCESS_FLOW_MATCH ? t > 0 && t <= steps
                                                               : t >= 0 && t <= steps - 1;
        if (!inside)
            return dfi_fail(DIFFC_ERR_ARG, "%s: timestep %d is %g, must be in %s with T = %g", what, i,
                            (double)t,
                            process == DFI_PROCESS_FLOW         ? "[0, 1)"
                            : process == DFI_PROCESS_FLOW_MATCH ? "(0, T]"
                                                                : "[0, T - 1]",
                            (double)steps);
        if (process == DFI_PROCESS_DIFFUSION && !fractional && t != floorf(t))
            return dfi_fail(DIFFC_ERR_ARG, "%s: timestep %d is %g, must be a whole number", what, i,
                            (double)t);
        if (i > 0 && !(sign * t < sign * times[i - 1]))
            return dfi_fail(DIFFC_ERR_ARG, "%s: timestep %d is %g after %g, must be %s", what, i, (double)t,
                            (double)times[i - 1], process == DFI_PROCESS_FLOW ? "larger" : "smaller");
    }
    return DIFFC_OK;
}
