#include "guide/factor.h"

#include <math.h>
#include <string.h>

#include "base/float_mode.h"
#include "base/random.h"
#include "kernel/gaussian.h"

const struct dfi_entry *dfi_factor_entry(int index)
{
    return index >= 0 && index < dfi_factor_rule_count ? &dfi_factor_rules[index].entry : NULL;
}

static void drop_size(struct diffc_factorization *factors)
{
    struct diffc_context *context = factors->object.context;
    for (int i = 0; i < 2; i++) {
        dfi_free(context, factors->taps[i]);
        dfi_release(factors->room[i]);
        factors->taps[i] = NULL;
        factors->room[i] = NULL;
    }
    dfi_free(context, factors->scratch);
    factors->scratch = NULL;
    factors->h = factors->w = factors->channels = 0;
}

static void destroy(void *handle)
{
    struct diffc_factorization *factors = handle;
    drop_size(factors);
    dfi_free(factors->object.context, factors->own_name);
    if (factors->own.release)
        factors->own.release(factors->own.opaque);
    dfi_object_free(factors);
}

static const char *name_of(const struct diffc_factorization *factors)
{
    return factors->rule ? factors->rule->entry.name : factors->own_name;
}

static int check_sigma(const struct dfi_factor_rule *rule, const char *option, double value, int has)
{
    if (value != 0 && !has)
        return dfi_fail(DIFFC_ERR_ARG, "factorization \"%s\" has no options.%s", rule->entry.name, option);
    if (!isfinite(value) || value < 0)
        return dfi_fail(DIFFC_ERR_ARG, "options.%s is %g, must be positive", option, value);
    return DIFFC_OK;
}

static int check_kernel(const struct dfi_factor_rule *rule, int32_t size)
{
    if (size == 0)
        return DIFFC_OK;
    if (!rule->has_kernel)
        return dfi_fail(DIFFC_ERR_ARG, "factorization \"%s\" has no options.kernel_size", rule->entry.name);
    if (size < 1 || size > 65535 || size % 2 == 0)
        return dfi_fail(DIFFC_ERR_ARG, "options.kernel_size is %d, must be odd and 1 to 65535", (int)size);
    return DIFFC_OK;
}

static int check_scales(const struct dfi_factor_rule *rule, const diffc_factorization_options *options)
{
    double sum = 0;
    if (!rule->has_scales) {
        if (options->scales || options->scale_count)
            return dfi_fail(DIFFC_ERR_ARG, "factorization \"%s\" has no options.scales", rule->entry.name);
        return DIFFC_OK;
    }
    if (!options->scales || options->scale_count < 1 || options->scale_count > DFI_MAX_COMPONENTS)
        return dfi_fail(DIFFC_ERR_ARG, "options.scale_count is %d, must be 1 to %d with options.scales",
                        (int)options->scale_count, DFI_MAX_COMPONENTS);
    for (int i = 0; i < options->scale_count; i++)
        sum += options->scales[i];
    if (!(fabs(sum - 1) <= 1e-6))
        return dfi_fail(DIFFC_ERR_CONFIG, "the %d options.scales sum to %.7g, components must sum to 1",
                        (int)options->scale_count, sum);
    return DIFFC_OK;
}

static int check_options(const struct dfi_factor_rule *rule, const diffc_factorization_options *options)
{
    DFI_TRY(check_sigma(rule, "sigma", options->sigma, rule->has_sigma));
    DFI_TRY(check_sigma(rule, "sigma2", options->sigma2, rule->has_sigma2));
    DFI_TRY(check_kernel(rule, options->kernel_size));
    return check_scales(rule, options);
}

int dfi_factor_new(struct diffc_context *context, const char *name,
                   const diffc_factorization_options *options, struct diffc_factorization **factors)
{
    const struct dfi_factor_rule *rule = dfi_registry_find(dfi_factor_rules, sizeof(*rule),
                                                           dfi_factor_rule_count, "factorization", name);
    if (!rule)
        return DIFFC_ERR_ARG;
    DFI_TRY(check_options(rule, options));
    struct diffc_factorization *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->rule = rule;
    made->count = rule->has_scales ? options->scale_count : rule->count;
    made->sigma[0] = options->sigma > 0 ? options->sigma : rule->sigma;
    made->sigma[1] = options->sigma2 > 0 ? options->sigma2 : rule->sigma2;
    made->kernel_size = options->kernel_size ? options->kernel_size : rule->kernel_size;
    made->kernel_default = options->kernel_size == 0;
    if (rule->has_scales)
        memcpy(made->scales, options->scales, (size_t)made->count * sizeof(made->scales[0]));
    *factors = made;
    return DIFFC_OK;
}

int dfi_factor_new_own(struct diffc_context *context, const diffc_factorization_functions *functions,
                       struct diffc_factorization **factors)
{
    struct diffc_factorization *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->own_name = dfi_strdup(context, functions->name ? functions->name : "own");
    if (!made->own_name) {
        dfi_release(made);
        return DIFFC_ERR_NOMEM;
    }
    made->own = *functions;
    made->count = functions->count;
    *factors = made;
    return DIFFC_OK;
}

/* ---- running ---- */

static int reserve_room(struct diffc_factorization *factors, const struct dfi_planes *planes)
{
    const int64_t shape[4] = { planes->samples, planes->channels, planes->h, planes->w };
    for (int i = 0; i < 2; i++)
        DFI_TRY(dfi_guide_room(factors->object.context, shape, &factors->room[i]));
    return DIFFC_OK;
}

static int run_own(struct diffc_factorization *factors, int k, const struct dfi_planes *from,
                   const struct dfi_planes *to)
{
    DFI_TRY(reserve_room(factors, from));
    const struct dfi_planes in = dfi_planes_of(factors->room[0], 0, from->channels);
    const struct dfi_planes out = dfi_planes_of(factors->room[1], 0, from->channels);
    dfi_planes_copy(from, &in);
    dfi_forget_message();
    const int status = factors->own.component(factors->own.opaque, k, factors->room[0], factors->room[1]);
    if (status != DIFFC_OK)
        return dfi_callback_failed(status, "factorization \"%s\": component %d", name_of(factors), k);
    dfi_planes_copy(&out, to);
    return DIFFC_OK;
}

int dfi_factor_run(struct diffc_factorization *factors, int k, const struct dfi_planes *from,
                   const struct dfi_planes *to)
{
    if (!factors->rule)
        return run_own(factors, k, from, to);
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    for (int64_t n = 0; n < from->samples; n++)
        factors->rule->component(factors, k, from->data + n * from->stride, to->data + n * to->stride,
                                 from->channels);
    dfi_float_leave(&mode);
    return DIFFC_OK;
}

/* ---- binding ---- */

#define FIRST_STAGE 64 /* height that sigma and kernel_size are given for */

static int choose_size(struct diffc_factorization *factors, int64_t factor)
{
    const int64_t shorter = factors->h < factors->w ? factors->h : factors->w;
    int64_t size = factors->kernel_size * factor;
    size += size % 2 == 0;
    if (size / 2 >= shorter && factors->kernel_default)
        size = 2 * shorter - 1;
    if (size / 2 >= shorter)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "factorization \"%s\": a kernel of %lld is too large for pictures of %lld x %lld",
                        name_of(factors), (long long)size, (long long)factors->h, (long long)factors->w);
    factors->size = (int)size;
    return DIFFC_OK;
}

static int make_filters(struct diffc_factorization *factors)
{
    struct diffc_context *context = factors->object.context;
    const int64_t factor = factors->h / FIRST_STAGE > 1 ? factors->h / FIRST_STAGE : 1;
    const int has[2] = { factors->rule->has_sigma, factors->rule->has_sigma2 };
    if (!factors->rule->has_kernel)
        return DIFFC_OK;
    DFI_TRY(choose_size(factors, factor));
    factors->scratch = dfi_calloc(context, (size_t)(2 * factors->h * factors->w), sizeof(float));
    if (!factors->scratch)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < 2; i++) {
        if (!has[i])
            continue;
        factors->taps[i] = dfi_calloc(context, (size_t)factors->size, sizeof(double));
        if (!factors->taps[i])
            return DIFFC_ERR_NOMEM;
        dfi_gaussian_taps(factors->taps[i], factors->size, factors->sigma[i] * (double)factor);
    }
    return DIFFC_OK;
}

static int try_sum(struct diffc_factorization *factors, struct diffc_tensor *x, struct diffc_tensor *sum)
{
    const int64_t n = dfi_tensor_count(x);
    const struct dfi_planes planes = dfi_planes_of(x, 0, factors->channels);
    float *values = x->data, *total = sum->data;
    double norm = 0, off = 0;
    memset(total, 0, (size_t)n * sizeof(float));
    dfi_normal_fill(0, dfi_stream(DFI_STREAM_VIEW, 1), 0, values, (size_t)n);
    DFI_TRY(reserve_room(factors, &planes));
    for (int k = 0; k < factors->count; k++) {
        const struct dfi_planes out = dfi_planes_of(factors->room[1], 0, factors->channels);
        DFI_TRY(run_own(factors, k, &planes, &out));
        for (int64_t i = 0; i < n; i++)
            total[i] += out.data[i];
    }
    for (int64_t i = 0; i < n; i++) {
        norm += (double)values[i] * values[i];
        off += ((double)total[i] - values[i]) * ((double)total[i] - values[i]);
    }
    if (!(sqrt(off) <= DFI_OWN_TOLERANCE * sqrt(norm)))
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "factorization \"%s\": its %d components miss the picture by %.3g of its norm, they "
                        "must sum to it",
                        name_of(factors), factors->count, sqrt(off / norm));
    return DIFFC_OK;
}

static int try_own(struct diffc_factorization *factors)
{
    const int64_t shape[4] = { 1, factors->channels, factors->h, factors->w };
    struct diffc_tensor *x = NULL, *sum = NULL;
    int status = dfi_tensor_create(factors->object.context, DIFFC_F32, 4, shape, &x);
    if (status == DIFFC_OK)
        status = dfi_tensor_create(factors->object.context, DIFFC_F32, 4, shape, &sum);
    if (status == DIFFC_OK)
        status = try_sum(factors, x, sum);
    dfi_release(x);
    dfi_release(sum);
    return status;
}

int dfi_factor_bind(struct diffc_factorization *factors, int64_t channels, int64_t h, int64_t w)
{
    if (factors->h == h && factors->w == w && (factors->rule || factors->channels == channels))
        return DIFFC_OK;
    if (h * w > INT32_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "factorization \"%s\": pictures of %lld x %lld are too large",
                        name_of(factors), (long long)h, (long long)w);
    drop_size(factors);
    factors->h = h;
    factors->w = w;
    factors->channels = channels;
    const int status = factors->rule ? make_filters(factors) : try_own(factors);
    if (status < 0)
        drop_size(factors);
    return status;
}
