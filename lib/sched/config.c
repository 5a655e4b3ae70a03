#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/folder.h"
#include "io/json.h"
#include "sched/sched.h"

/* scheduler_config.json of a model folder, as diffusers writes it. Keys that are absent have diffusers'
 * defaults, unknown ones are ignored, values that would need another formula are refused by name. */

#define NAME "scheduler_config.json"
#define MAX_BETA 0.999999
#define MAX_SAMPLE 1e6

struct config {
    const char *folder;
    struct json_t *root;
    int status; /* the first failure */
    char schedule[32], prediction[16], variance[32], spacing[16], step[24];
    diffc_schedule_options levels;
    float *betas; /* trained_betas, or NULL */
    int offset, clips, thresholds;
    double clip, ratio, max, lambda_min;
};

static const struct json_t *value_of(const struct config *config, const char *key)
{
    const struct json_t *value = dfi_json_get(config->root, key);
    return dfi_json_kind(value) == DFI_JSON_NULL ? NULL : value;
}

static void fail_value(struct config *config, int status, const char *key, const struct json_t *value,
                       const char *wanted)
{
    char text[64];
    if (config->status == DIFFC_OK)
        config->status = dfi_fail(status, "%s/" NAME ": %s is %s, must be %s", config->folder, key,
                                  dfi_json_text(value, text, sizeof(text)), wanted);
}

static void fail(struct config *config, int status, const char *key, const char *wanted)
{
    fail_value(config, status, key, value_of(config, key), wanted);
}

static double number(struct config *config, const char *key, double missing, double low, double high)
{
    const struct json_t *value = value_of(config, key);
    double read = missing;
    char wanted[64];
    (void)snprintf(wanted, sizeof(wanted), "a number from %g to %g", low, high);
    if (value && (dfi_json_number(value, &read) || !(read >= low && read <= high)))
        fail(config, DIFFC_ERR_CONFIG, key, wanted);
    return read;
}

static int whole(struct config *config, const char *key, int missing, int low, int high)
{
    const double read = number(config, key, missing, low, high);
    if (config->status == DIFFC_OK && read != floor(read))
        fail(config, DIFFC_ERR_CONFIG, key, "a whole number");
    return config->status == DIFFC_OK ? (int)read : low;
}

static int truth(struct config *config, const char *key, int missing)
{
    const struct json_t *value = value_of(config, key);
    int read = missing;
    if (value && dfi_json_boolean(value, &read))
        fail(config, DIFFC_ERR_CONFIG, key, "true or false");
    return read;
}

/* Refuses every value but one, given as it stands in the file. */
static void check_fixed(struct config *config, const char *key, const char *wanted)
{
    const struct json_t *value = value_of(config, key);
    char text[64];
    if (value && strcmp(dfi_json_text(value, text, sizeof(text)), wanted) != 0)
        fail(config, DIFFC_ERR_UNSUPPORTED, key, wanted);
}

struct word { /* in the file, and here */
    const char *theirs, *ours;
};

/* The first word is the default. */
static void word(struct config *config, const char *key, const struct word *words, int count, char *ours,
                 size_t size)
{
    const struct json_t *value = value_of(config, key);
    const char *text = value ? dfi_json_string(value) : words[0].theirs;
    char known[200] = "one of";
    for (int i = 0; i < count; i++) {
        const size_t used = strlen(known);
        if (text && strcmp(text, words[i].theirs) == 0) {
            (void)snprintf(ours, size, "%s", words[i].ours);
            return;
        }
        (void)snprintf(known + used, sizeof(known) - used, "%s %s", i ? "," : "", words[i].theirs);
    }
    fail(config, text ? DIFFC_ERR_UNSUPPORTED : DIFFC_ERR_CONFIG, key, known);
}

#define WORD(config, key, words, field) \
    word(config, key, words, DFI_COUNT(words), (config)->field, sizeof((config)->field))

static void read_formula(struct config *config)
{
    static const struct word schedules[] = { { "linear", "linear" },
                                             { "scaled_linear", "scaled_linear" },
                                             { "squaredcos_cap_v2", "squaredcos_cap_v2" } };
    WORD(config, "beta_schedule", schedules, schedule);
    if (strcmp(config->schedule, "squaredcos_cap_v2") != 0) {
        const double start = number(config, "beta_start", 1e-4, 1e-9, MAX_BETA);
        config->levels.beta_start = start;
        config->levels.beta_end = number(config, "beta_end", 0.02, start, MAX_BETA);
    }
}

/* One beta per timestep. They lie in (0, 1) as floats, which is what PyTorch makes of them. */
static void read_betas(struct diffc_context *context, struct config *config, const struct json_t *list)
{
    const int count = config->levels.train_steps;
    char text[64];
    if (dfi_json_kind(list) != DFI_JSON_ARRAY || dfi_json_size(list) != (size_t)count) {
        (void)snprintf(text, sizeof(text), "a list of num_train_timesteps = %d numbers", count);
        fail(config, DIFFC_ERR_CONFIG, "trained_betas", text);
        return;
    }
    config->betas = dfi_calloc(context, (size_t)count, sizeof(*config->betas));
    if (!config->betas)
        config->status = DIFFC_ERR_NOMEM;
    for (int t = 0; t < count && config->status == DIFFC_OK; t++) {
        const struct json_t *value = dfi_json_at(list, (size_t)t);
        double beta = 0;
        const int missing = dfi_json_number(value, &beta);
        config->betas[t] = (float)beta;
        (void)snprintf(text, sizeof(text), "trained_betas[%d]", t);
        if (missing || !(config->betas[t] > 0 && config->betas[t] < 1))
            fail_value(config, DIFFC_ERR_CONFIG, text, value, "a number above 0 and below 1");
    }
}

static void read_schedule(struct diffc_context *context, struct config *config)
{
    const struct json_t *betas = value_of(config, "trained_betas");
    config->levels.struct_size = sizeof(config->levels);
    config->levels.train_steps = whole(config, "num_train_timesteps", 1000, 1, 1000000);
    if (!betas)
        read_formula(config);
    else if (config->status == DIFFC_OK)
        read_betas(context, config, betas);
    check_fixed(config, "rescale_betas_zero_snr", "false");
}

/* Keys of a class whose other values would be other formulas, by the beginning of the step's name. */
static void check_formulas(struct config *config)
{
    static const struct {
        const char *step, *key, *value;
    } keys[] = {
        { "ddim", "set_alpha_to_one", "true" },
        { "dpmsolver++", "solver_order", "2" },
        { "dpmsolver++", "solver_type", "\"midpoint\"" },
        { "dpmsolver++", "final_sigmas_type", "\"zero\"" },
        { "dpmsolver++", "use_karras_sigmas", "false" },
        { "dpmsolver++", "use_exponential_sigmas", "false" },
        { "dpmsolver++", "use_beta_sigmas", "false" },
        { "dpmsolver++", "use_lu_lambdas", "false" },
        { "dpmsolver++", "use_flow_sigmas", "false" },
        { "dpmsolver++", "use_dynamic_shifting", "false" },
        { "euler", "final_sigmas_type", "\"zero\"" },
        { "euler", "interpolation_type", "\"linear\"" },
        { "euler", "timestep_type", "\"discrete\"" },
        { "euler", "sigma_min", "null" },
        { "euler", "sigma_max", "null" },
        { "euler", "use_karras_sigmas", "false" },
        { "euler", "use_exponential_sigmas", "false" },
        { "euler", "use_beta_sigmas", "false" },
    };
    for (int i = 0; i < DFI_COUNT(keys); i++)
        if (strstr(config->step, keys[i].step))
            check_fixed(config, keys[i].key, keys[i].value);
}

static void read_rule(struct config *config)
{
    static const struct word classes[] = { { "DDPMScheduler", "ddpm" },
                                           { "DDIMScheduler", "ddim" },
                                           { "DPMSolverMultistepScheduler", "dpmsolver++" },
                                           { "EulerDiscreteScheduler", "euler" } };
    static const struct word predictions[] = { { "epsilon", "epsilon" },
                                               { "sample", "sample" },
                                               { "v_prediction", "v" } };
    static const struct word variances[] = { { "fixed_small", "fixed_small" },
                                             { "fixed_small_log", "fixed_small_log" },
                                             { "fixed_large", "fixed_large" },
                                             { "learned_range", "learned_range" } };
    static const struct word early[] = { { "leading", "leading" },
                                         { "linspace", "linspace" },
                                         { "trailing", "trailing" } };
    static const struct word late[] = { { "linspace", "linspace" },
                                        { "leading", "leading" },
                                        { "trailing", "trailing" } };
    static const struct word solvers[] = { { "dpmsolver++", "dpmsolver++" },
                                           { "sde-dpmsolver++", "sde-dpmsolver++" } };
    if (config->step[0] == '\0') {
        WORD(config, "_class_name", classes, step);
        if (strcmp(config->step, "dpmsolver++") == 0)
            WORD(config, "algorithm_type", solvers, step);
    }
    WORD(config, "prediction_type", predictions, prediction);
    WORD(config, "variance_type", variances, variance);
    if (strcmp(config->step, "ddpm") == 0 || strcmp(config->step, "ddim") == 0)
        WORD(config, "timestep_spacing", early, spacing);
    else
        WORD(config, "timestep_spacing", late, spacing);
    config->offset = whole(config, "steps_offset", 0, 0, config->levels.train_steps - 1);
    check_formulas(config);
}

static void read_limits(struct config *config)
{
    config->thresholds = truth(config, "thresholding", 0);
    config->clips = truth(config, "clip_sample", 1);
    if (config->thresholds) {
        config->ratio = number(config, "dynamic_thresholding_ratio", 0.995, 1e-6, 0.999999);
        config->max = number(config, "sample_max_value", 1, 1, MAX_SAMPLE);
    } else if (config->clips) {
        config->clip = number(config, "clip_sample_range", 1, 1e-6, MAX_SAMPLE);
    }
    config->lambda_min = number(config, "lambda_min_clipped", 0, -1000, 1000);
}

/* diffusers writes the default of lambda_min_clipped as -Infinity, which JSON does not have: no value. */
static void drop_infinity(char *text)
{
    static const char key[] = "\"lambda_min_clipped\"", infinity[] = "-Infinity", none[] = "null     ";
    char *at = strstr(text, key);
    if (!at)
        return;
    at += strlen(key);
    at += strspn(at, " \t\r\n:");
    if (strncmp(at, infinity, strlen(infinity)) == 0)
        memcpy(at, none, strlen(none));
}

static int load(struct diffc_context *context, struct config *config)
{
    char *text = NULL;
    DFI_TRY(dfi_folder_text(context, config->folder, NAME, &text));
    drop_infinity(text);
    const int status = dfi_folder_parse(context, config->folder, NAME, text, &config->root);
    dfi_free(context, text);
    return status;
}

static void unload(struct diffc_context *context, struct config *config)
{
    dfi_json_free(config->root);
    dfi_free(context, config->betas);
}

static int make_schedule(struct diffc_context *context, const struct config *config,
                         struct diffc_schedule **schedule)
{
    return config->betas
               ? dfi_schedule_from_betas(context, config->betas, config->levels.train_steps, schedule)
               : dfi_schedule_new(context, config->schedule, &config->levels, schedule);
}

int dfi_schedule_open(struct diffc_context *context, const char *folder, struct diffc_schedule **schedule)
{
    struct config config = { .folder = folder };
    int status = load(context, &config);
    if (status == DIFFC_OK) {
        read_schedule(context, &config);
        status = config.status;
    }
    if (status == DIFFC_OK)
        status = make_schedule(context, &config, schedule);
    unload(context, &config);
    return status;
}

/* What the options leave open is filled from the file, as far as the step has it. */
static void fill_options(const struct config *config, diffc_sampler_options *options)
{
    const struct dfi_step_rule *rule = dfi_step_find(config->step);
    const int learned = strcmp(config->variance, "learned_range") == 0;
    const int limits = strcmp(config->step, "euler") != 0; /* diffusers' Euler has none */
    const int solver = rule && rule->has_lambda;
    options->step = config->step;
    if (!options->spacing && !options->timesteps)
        options->spacing = config->spacing;
    if (options->steps_offset == 0 && options->spacing && strcmp(options->spacing, "leading") == 0)
        options->steps_offset = config->offset;
    if (!options->prediction)
        options->prediction = config->prediction;
    if (!options->variance && rule && (learned || rule->has_variance))
        options->variance = config->variance;
    if (options->lambda_min == 0 && solver && !options->timesteps)
        options->lambda_min = config->lambda_min;
    if (!limits || options->threshold_ratio != 0 || options->clip != 0 || options->clip_low != 0 ||
        options->clip_high != 0)
        return;
    if (config->thresholds) {
        options->threshold_ratio = (float)config->ratio;
        options->threshold_max = options->threshold_max != 0 ? options->threshold_max : (float)config->max;
    } else if (config->clips && !solver) {
        options->clip = (float)config->clip;
    }
}

static int make(struct diffc_context *context, const struct config *config, diffc_sampler_options *options,
                struct diffc_sampler **sampler)
{
    struct diffc_schedule *schedule;
    DFI_TRY(make_schedule(context, config, &schedule));
    fill_options(config, options);
    const int status = dfi_sampler_new(schedule, options, sampler);
    dfi_release(schedule);
    /* ERR_ARG is about the options alone; others may be about either. */
    return status < 0 && status != DIFFC_ERR_ARG ? dfi_fail_in(status, "with %s/" NAME, config->folder)
                                                 : status;
}

int dfi_sampler_open(struct diffc_context *context, const char *folder, const diffc_sampler_options *options,
                     struct diffc_sampler **sampler)
{
    struct config config = { .folder = folder };
    diffc_sampler_options filled = *options;
    if (options->step && !dfi_step_find(options->step))
        return DIFFC_ERR_ARG;
    (void)snprintf(config.step, sizeof(config.step), "%s", options->step ? options->step : "");
    int status = load(context, &config);
    if (status == DIFFC_OK) {
        read_schedule(context, &config);
        read_rule(&config);
        read_limits(&config);
        status = config.status;
    }
    if (status == DIFFC_OK)
        status = make(context, &config, &filled, sampler);
    unload(context, &config);
    return status;
}
