#include <math.h>
#include <string.h>

#include "base/random.h"
#include "guide/view.h"

/* Known by name, so that the refusal can say why. */
static const struct dfi_entry refused[] = {
    { "blur", "it takes away high frequencies" },
    { "rotate", "interpolation mixes neighbouring pixels; rotate90, rotate180 and rotate270 are exact" },
    { "white_balance", "it scales the values" },
};

const struct dfi_entry *dfi_view_entry(int index)
{
    return index >= 0 && index < dfi_view_rule_count ? &dfi_view_rules[index].entry : NULL;
}

static void drop_size(struct diffc_view *view)
{
    dfi_free(view->object.context, view->map);
    dfi_release(view->sign);
    dfi_release(view->room[0]);
    dfi_release(view->room[1]);
    view->map = NULL;
    view->sign = view->room[0] = view->room[1] = NULL;
    view->h = view->w = view->channels = 0;
}

static void destroy(void *handle)
{
    struct diffc_view *view = handle;
    drop_size(view);
    dfi_free(view->object.context, view->own_name);
    if (view->own.release)
        view->own.release(view->own.opaque);
    dfi_object_free(view);
}

static const char *name_of(const struct diffc_view *view)
{
    return view->rule ? view->rule->entry.name : view->own_name;
}

static int refuse(const char *name)
{
    for (int i = 0; i < DFI_COUNT(refused); i++)
        if (strcmp(name, refused[i].name) == 0)
            return dfi_fail(DIFFC_ERR_CONFIG, "view \"%s\" is not orthogonal: %s", name,
                            refused[i].description);
    return DIFFC_OK;
}

static int check_options(const struct dfi_view_rule *rule, const diffc_view_options *options)
{
    const double parameter = options->parameter;
    if (options->seed && !rule->seed_bits)
        return dfi_fail(DIFFC_ERR_ARG, "view \"%s\" has no seed", rule->entry.name);
    if (rule->seed_bits == 32 && options->seed > UINT32_MAX)
        return dfi_fail(DIFFC_ERR_ARG, "view \"%s\": options.seed is %llu, must have 32 bits",
                        rule->entry.name, (unsigned long long)options->seed);
    if (parameter == 0)
        return DIFFC_OK;
    if (rule->low == rule->high)
        return dfi_fail(DIFFC_ERR_ARG, "view \"%s\" has no parameter, options.parameter is %g",
                        rule->entry.name, parameter);
    if (!(parameter >= rule->low && parameter <= rule->high) ||
        (rule->whole && parameter != floor(parameter)))
        return dfi_fail(DIFFC_ERR_ARG, "view \"%s\": options.parameter is %g, must be %s in %g to %g",
                        rule->entry.name, parameter, rule->whole ? "a whole number" : "a number", rule->low,
                        rule->high);
    return DIFFC_OK;
}

int dfi_view_new(struct diffc_context *context, const char *name, const diffc_view_options *options,
                 struct diffc_view **view)
{
    DFI_TRY(refuse(name));
    const struct dfi_view_rule *rule = dfi_registry_find(dfi_view_rules, sizeof(*rule), dfi_view_rule_count,
                                                         "view", name);
    if (!rule)
        return DIFFC_ERR_ARG;
    DFI_TRY(check_options(rule, options));
    struct diffc_view *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->rule = rule;
    made->parameter = options->parameter == 0 ? rule->parameter : options->parameter;
    made->seed = options->seed;
    *view = made;
    return DIFFC_OK;
}

int dfi_view_new_own(struct diffc_context *context, const diffc_view_functions *functions,
                     struct diffc_view **view)
{
    struct diffc_view *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->own_name = dfi_strdup(context, functions->name ? functions->name : "own");
    if (!made->own_name) {
        dfi_release(made);
        return DIFFC_ERR_NOMEM;
    }
    made->own = *functions;
    *view = made;
    return DIFFC_OK;
}

/* ---- running ---- */

static void run_map(const struct diffc_view *view, int inverse, float sign, const struct dfi_planes *from,
                    const struct dfi_planes *to)
{
    const int64_t pixels = from->h * from->w;
    for (int64_t i = 0; i < from->samples * from->channels; i++) {
        const int64_t sample = i / from->channels, channel = i % from->channels;
        const float *in = from->data + sample * from->stride + channel * pixels;
        float *out = to->data + sample * to->stride + channel * pixels;
        if (!view->map)
            for (int64_t p = 0; p < pixels; p++)
                out[p] = sign * in[p];
        else if (inverse)
            for (int64_t p = 0; p < pixels; p++)
                out[view->map[p]] = sign * in[p];
        else
            for (int64_t p = 0; p < pixels; p++)
                out[p] = sign * in[view->map[p]];
    }
}

void dfi_planes_copy(const struct dfi_planes *from, const struct dfi_planes *to)
{
    const size_t bytes = (size_t)(from->channels * from->h * from->w) * sizeof(float);
    if (from->data == to->data)
        return;
    for (int64_t k = 0; k < from->samples; k++)
        memcpy(to->data + k * to->stride, from->data + k * from->stride, bytes);
}

/* The callbacks' tensors, of a shape. */
static int reserve_room(struct diffc_view *view, int64_t samples, int64_t channels, int64_t h, int64_t w)
{
    const int64_t shape[4] = { samples, channels, h, w };
    for (int i = 0; i < 2; i++)
        DFI_TRY(dfi_guide_room(view->object.context, shape, &view->room[i]));
    return DIFFC_OK;
}

static int call(const struct diffc_view *view, int inverse)
{
    dfi_forget_message();
    const int status = (inverse ? view->own.invert : view->own.apply)(view->own.opaque, view->room[0],
                                                                      view->room[1]);
    if (status == DIFFC_OK)
        return DIFFC_OK;
    return dfi_callback_failed(status, "view \"%s\": %s", name_of(view), inverse ? "invert" : "apply");
}

/* A variance seen at a place belongs to the pixel that is seen there: its sign is taken back first. */
static void take_signs(const struct diffc_view *view)
{
    const int64_t pixels = view->h * view->w, count = dfi_tensor_count(view->room[0]);
    const float *sign = view->sign->data;
    float *values = view->room[0]->data;
    for (int64_t i = 0; i < count; i++)
        values[i] *= sign[i % pixels];
}

static int run_own(struct diffc_view *view, enum dfi_view_way way, const struct dfi_planes *from,
                   const struct dfi_planes *to)
{
    if (way == DFI_VIEW_INVERT_VARIANCE && !view->sign) {
        dfi_planes_copy(from, to);
        return DIFFC_OK;
    }
    DFI_TRY(reserve_room(view, from->samples, from->channels, from->h, from->w));
    const struct dfi_planes in = dfi_planes_of(view->room[0], 0, from->channels);
    const struct dfi_planes out = dfi_planes_of(view->room[1], 0, from->channels);
    dfi_planes_copy(from, &in);
    if (way == DFI_VIEW_INVERT_VARIANCE)
        take_signs(view);
    DFI_TRY(call(view, way != DFI_VIEW_APPLY));
    dfi_planes_copy(&out, to);
    return DIFFC_OK;
}

int dfi_view_run(struct diffc_view *view, enum dfi_view_way way, const struct dfi_planes *from,
                 const struct dfi_planes *to)
{
    if (!view->rule)
        return run_own(view, way, from, to);
    run_map(view, way != DFI_VIEW_APPLY, way == DFI_VIEW_INVERT_VARIANCE ? 1 : view->rule->sign, from, to);
    return DIFFC_OK;
}

/* ---- binding ---- */

/* Every pixel once. */
static int check_map(struct diffc_view *view, const int32_t *map, int count)
{
    unsigned char *seen = dfi_calloc(view->object.context, (size_t)count, 1);
    int good = 1;
    if (!seen)
        return DIFFC_ERR_NOMEM;
    for (int p = 0; p < count; p++)
        good &= map[p] >= 0 && map[p] < count && !seen[map[p]]++;
    dfi_free(view->object.context, seen);
    return good ? DIFFC_OK
                : dfi_fail(DIFFC_ERR_CONFIG, "view \"%s\" is not orthogonal on pictures of this size",
                           name_of(view));
}

static int bind_map(struct diffc_view *view, int h, int w)
{
    if (!view->rule->fill)
        return DIFFC_OK;
    int32_t *map = dfi_alloc(view->object.context, (size_t)h * (size_t)w * sizeof(*map));
    if (!map)
        return DIFFC_ERR_NOMEM;
    int status = view->rule->fill(view, h, w, map);
    if (status == DIFFC_OK)
        status = check_map(view, map, h * w);
    if (status == DIFFC_OK)
        view->map = map;
    else
        dfi_free(view->object.context, map);
    return status;
}

struct trial { /* two random pictures, what is seen of them, of both together, and the way back */
    struct diffc_tensor *x, *y, *seen_x, *seen_y, *seen_both, *back;
};

static double product(const struct diffc_tensor *a, const struct diffc_tensor *b)
{
    const float *p = a->data, *q = b->data;
    double sum = 0;
    for (int64_t i = 0, n = dfi_tensor_count(a); i < n; i++)
        sum += (double)p[i] * q[i];
    return sum;
}

/* |a + scale b - c| */
static double distance(const struct diffc_tensor *a, double scale, const struct diffc_tensor *b,
                       const struct diffc_tensor *c)
{
    const float *p = a->data, *q = b->data, *r = c->data;
    double sum = 0;
    for (int64_t i = 0, n = dfi_tensor_count(a); i < n; i++)
        sum += (p[i] + scale * q[i] - r[i]) * (p[i] + scale * q[i] - r[i]);
    return sqrt(sum);
}

static int try_one(struct diffc_view *view, int inverse, const struct diffc_tensor *from,
                   struct diffc_tensor *to)
{
    const size_t bytes = (size_t)dfi_tensor_count(from) * sizeof(float);
    memcpy(view->room[0]->data, from->data, bytes);
    DFI_TRY(call(view, inverse));
    memcpy(to->data, view->room[1]->data, bytes);
    return DIFFC_OK;
}

static int judge(const struct diffc_view *view, const struct trial *trial)
{
    const double norm = sqrt(product(trial->x, trial->x)), room = DFI_OWN_TOLERANCE * norm;
    const double kept = product(trial->seen_x, trial->seen_x) / (norm * norm);
    const char *fault = NULL;
    if (!(fabs(kept - 1) <= 2 * DFI_OWN_TOLERANCE))
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "view \"%s\" is not orthogonal: it multiplies the variance of noise by %.4g",
                        name_of(view), kept);
    if (!(distance(trial->seen_x, 2, trial->seen_y, trial->seen_both) <= 4 * room))
        fault = "it is not linear";
    else if (!(fabs(product(trial->seen_x, trial->seen_y) - product(trial->x, trial->y)) <= 4 * room * norm))
        fault = "it does not keep angles";
    else if (!(distance(trial->back, 0, trial->back, trial->x) <= 4 * room))
        fault = "invert does not take back what apply does";
    return fault ? dfi_fail(DIFFC_ERR_CONFIG, "view \"%s\" is not orthogonal: %s", name_of(view), fault)
                 : DIFFC_OK;
}

static int run_trial(struct diffc_view *view, const struct trial *trial)
{
    const size_t count = (size_t)dfi_tensor_count(trial->x);
    const uint64_t stream = dfi_stream(DFI_STREAM_VIEW, 1);
    float *x = trial->x->data, *y = trial->y->data, *both = trial->back->data;
    dfi_normal_fill(0, stream, 0, x, count);
    dfi_normal_fill(1, stream, 0, y, count);
    for (size_t i = 0; i < count; i++)
        both[i] = x[i] + 2 * y[i];
    DFI_TRY(try_one(view, 0, trial->back, trial->seen_both));
    DFI_TRY(try_one(view, 0, trial->x, trial->seen_x));
    DFI_TRY(try_one(view, 0, trial->y, trial->seen_y));
    DFI_TRY(try_one(view, 1, trial->seen_x, trial->back));
    return judge(view, trial);
}

/* Mixing pixels changes the sum of fourth powers of random values; moving and negating them does not. */
static int mixes_pixels(const struct trial *trial)
{
    const float *x = trial->x->data, *seen = trial->seen_x->data;
    double before = 0, after = 0;
    for (int64_t i = 0, n = dfi_tensor_count(trial->x); i < n; i++) {
        before += (double)x[i] * x[i] * x[i] * x[i];
        after += (double)seen[i] * seen[i] * seen[i] * seen[i];
    }
    return !(fabs(after - before) <= 1e-9 * before);
}

/* What is seen of ones says which signs a permutation changes, if all channels change the same. `ones` is
 * overwritten. */
static int find_signs(struct diffc_view *view, struct diffc_tensor *ones)
{
    const int64_t shape[4] = { 1, 1, view->h, view->w }, pixels = view->h * view->w;
    float *values = ones->data;
    for (int64_t i = 0, n = dfi_tensor_count(ones); i < n; i++)
        values[i] = 1;
    DFI_TRY(try_one(view, 0, ones, ones));
    for (int64_t i = 0, n = dfi_tensor_count(ones); i < n; i++)
        if (values[i] * values[i % pixels] <= 0)
            return DIFFC_OK;
    DFI_TRY(dfi_tensor_create(view->object.context, DIFFC_F32, 4, shape, &view->sign));
    for (int64_t i = 0; i < pixels; i++)
        ((float *)view->sign->data)[i] = values[i] < 0 ? -1.0f : 1.0f;
    return DIFFC_OK;
}

static int bind_own(struct diffc_view *view, int64_t channels)
{
    const int64_t shape[4] = { 1, channels, view->h, view->w };
    struct trial trial = { .y = NULL };
    struct diffc_tensor **const all[6] = { &trial.x,      &trial.y,         &trial.seen_x,
                                           &trial.seen_y, &trial.seen_both, &trial.back };
    int status = reserve_room(view, 1, channels, view->h, view->w);
    for (int i = 0; i < 6 && status == DIFFC_OK; i++)
        status = dfi_tensor_create(view->object.context, DIFFC_F32, 4, shape, all[i]);
    if (status == DIFFC_OK)
        status = run_trial(view, &trial);
    if (status == DIFFC_OK && !mixes_pixels(&trial))
        status = find_signs(view, trial.back);
    for (int i = 0; i < 6; i++)
        dfi_release(*all[i]);
    return status;
}

int dfi_view_bind(struct diffc_view *view, int64_t channels, int64_t h, int64_t w)
{
    if (view->h == h && view->w == w && (view->rule || view->channels == channels))
        return DIFFC_OK;
    if (h * w > INT32_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "view \"%s\": pictures of %lld x %lld are too large", name_of(view),
                        (long long)h, (long long)w);
    drop_size(view);
    view->h = h;
    view->w = w;
    const int status = view->rule ? bind_map(view, (int)h, (int)w) : bind_own(view, channels);
    if (status < 0)
        drop_size(view);
    else
        view->channels = channels;
    return status;
}
