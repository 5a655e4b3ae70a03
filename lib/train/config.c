/* Options of a trainer: defaults, ranges, and whether model, data and objective fit each other. */

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "train/trainer.h"

static const struct dfi_entry optimizers[] = {
    { "adam", "weight decay is added to the gradient" },
    { "adamw", "weight decay apart from the gradient" },
};

static const struct dfi_entry decays[] = {
    { "none", "" },
    { "exponential", "" },
    { "cosine", "" },
};

static const struct dfi_entry policies[] = {
    { "stop", "" },
    { "skip", "" },
};

static int find_name(const struct dfi_entry *entries, int count, const char *what, const char *name,
                     int *position)
{
    *position = 0;
    if (!name)
        return DIFFC_OK;
    const struct dfi_entry *entry = dfi_registry_find(entries, sizeof(*entries), count, what, name);
    if (!entry)
        return DIFFC_ERR_ARG;
    *position = (int)(entry - entries);
    return DIFFC_OK;
}

/* `low` < value <= `high`, or `low` itself where it is allowed. NaN is out of every range. */
static int check_range(const char *name, double value, double low, int with_low, double high)
{
    if (value > low && value <= high)
        return DIFFC_OK;
    if (with_low && value == low)
        return DIFFC_OK;
    return dfi_fail(DIFFC_ERR_ARG, "%s is %g, must be %s %g and at most %g", name, value,
                    with_low ? "at least" : "more than", low, high);
}

static int check_count(const char *name, int64_t value, int64_t high, int status)
{
    if (value < 1)
        return dfi_fail(DIFFC_ERR_ARG, "%s is %lld, must be at least 1", name, (long long)value);
    if (value > high)
        return dfi_fail(status, "%s is %lld, must be at most %lld", name, (long long)value, (long long)high);
    return DIFFC_OK;
}

static int check_values(const struct dfi_train_config *config, const struct diffc_context *context)
{
    DFI_TRY(check_count("batch", config->batch, context->limits.batch, DIFFC_ERR_LIMIT));
    DFI_TRY(check_count("accumulate", config->accumulate, 1000000, DIFFC_ERR_ARG));
    DFI_TRY(check_count("epochs", config->epochs, 1000000, DIFFC_ERR_ARG));
    DFI_TRY(check_range("sigma", config->sigma, 0, 0, 1e6));
    DFI_TRY(check_range("class_dropout", config->class_dropout, 0, 1, 1));
    DFI_TRY(check_range("learning_rate", config->learning_rate, 0, 0, 1e6));
    DFI_TRY(check_range("beta1", config->beta1, 0, 0, nextafter(1, 0)));
    DFI_TRY(check_range("beta2", config->beta2, 0, 0, nextafter(1, 0)));
    DFI_TRY(check_range("epsilon", config->epsilon, 0, 0, 1));
    DFI_TRY(check_range("weight_decay", config->weight_decay, 0, 1, 1e6));
    DFI_TRY(check_range("decay_factor", config->decay_factor, 0, 1, 1));
    DFI_TRY(check_range("clip_norm", config->clip_norm, 0, 1, 1e30));
    return check_range("ema_decay", config->ema_decay, 0, 1, nextafter(1, 0));
}

static double or_default(double value, double other)
{
    return value == 0 ? other : value;
}

/* Without a name: what the model says it was trained for; a classifier can only be trained for one thing. */
static int find_objective(const char *name, const struct diffc_model *model,
                          const struct dfi_objective **objective)
{
    if (!name)
        name = model->config.objective;
    if (!name && strcmp(model->architecture->kind, "classifier") == 0)
        name = "classify";
    if (!name)
        return dfi_fail(DIFFC_ERR_CONFIG, "no objective is given, and the model names none");
    *objective = dfi_objective_find(name);
    return *objective ? DIFFC_OK : DIFFC_ERR_ARG;
}

int dfi_train_comm_read(const diffc_trainer_options *source, struct dfi_comm *comm)
{
    diffc_trainer_options options;
    DFI_TRY(dfi_options_read(&options, sizeof(options), source, "diffc_trainer_options"));
    return dfi_comm_init(comm, options.communicator, DFI_LANES);
}

int dfi_train_config_read(const diffc_trainer_options *source, const struct diffc_model *model,
                          struct dfi_train_config *config, const struct diffc_schedule **schedule)
{
    diffc_trainer_options options;
    int decay;
    DFI_TRY(dfi_options_read(&options, sizeof(options), source, "diffc_trainer_options"));
    memset(config, 0, sizeof(*config));
    DFI_TRY(find_objective(options.objective, model, &config->objective));
    DFI_TRY(find_name(optimizers, DFI_COUNT(optimizers), "optimizer", options.optimizer, &config->decoupled));
    DFI_TRY(find_name(decays, DFI_COUNT(decays), "decay", options.decay, &decay));
    DFI_TRY(find_name(policies, DFI_COUNT(policies), "nonfinite policy", options.nonfinite, &config->skips));
    DFI_TRY(dfi_numerics_find(options.numerics, &config->numerics));
    DFI_TRY(dfi_precision_find(options.precision, &config->precision));
    config->decay = (enum dfi_decay)decay;
    config->numerics_name = dfi_numerics_name(config->numerics);
    config->precision_name = dfi_precision_name(config->precision);
    config->objective_name = config->objective->entry.name;
    config->optimizer_name = optimizers[config->decoupled].name;
    config->decay_name = decays[decay].name;
    config->nonfinite_name = policies[config->skips].name;
    config->sigma = or_default(options.sigma, 0.5);
    config->class_dropout = options.class_dropout < 0 ? 0 : or_default(options.class_dropout, 0.1);
    config->batch = options.batch ? options.batch : 128;
    config->accumulate = options.accumulate ? options.accumulate : 1;
    config->epochs = options.epochs ? options.epochs : 1;
    config->seed = options.seed;
    config->learning_rate = or_default(options.learning_rate, 1e-3);
    config->beta1 = or_default(options.beta1, 0.9);
    config->beta2 = or_default(options.beta2, 0.999);
    config->epsilon = or_default(options.epsilon, 1e-8);
    config->weight_decay = options.weight_decay;
    config->decay_factor = or_default(options.decay_factor, config->decay == DFI_DECAY_EXPONENTIAL ? 0.1 : 0);
    config->clip_norm = options.clip_norm;
    config->ema_decay = options.ema_decay;
    config->memory = options.memory;
    if (options.memory < 0)
        return dfi_fail(DIFFC_ERR_ARG, "memory is %lld, must not be negative", (long long)options.memory);
    *schedule = options.schedule;
    DFI_TRY(dfi_comm_init(&config->comm, options.communicator, DFI_LANES));
    return check_values(config, model->object.context);
}

static int check_model(const struct dfi_objective *objective, const struct diffc_model *model)
{
    const int classifies = strcmp(model->architecture->kind, "classifier") == 0;
    const int takes_t = model->loss_values.t >= 0;
    if (model->json && model->config.unet.dropout > 0)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "config.json: dropout is %g, must be 0 in training",
                        model->config.unet.dropout);
    if (objective->classifies != classifies)
        return dfi_fail(DIFFC_ERR_CONFIG, "objective %s does not fit architecture %s", objective->entry.name,
                        model->architecture->entry.name);
    if (!classifies && objective->timed != takes_t)
        return dfi_fail(DIFFC_ERR_CONFIG, "objective %s %s, but the model's condition is %s",
                        objective->entry.name, objective->timed ? "feeds t" : "has no t",
                        model->config.condition);
    if (objective->scaled_time && model->config.train_steps < 1)
        return dfi_fail(DIFFC_ERR_CONFIG, "objective %s feeds t / T, but the model's train_steps is 0",
                        objective->entry.name);
    if (objective->timed && !objective->scaled_time && model->config.train_steps > 0)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "objective %s feeds t as it is, but the model's train_steps is %d, must be 0",
                        objective->entry.name, model->config.train_steps);
    return DIFFC_OK;
}

static int check_schedule(const struct dfi_objective *objective, const struct diffc_model *model,
                          const struct diffc_schedule *schedule)
{
    if (!schedule || !objective->scaled_time)
        return DIFFC_OK;
    if (!schedule->alpha_bars)
        return dfi_fail(DIFFC_ERR_CONFIG, "objective %s needs a schedule with alpha_bar, %s has none",
                        objective->entry.name, schedule->rule->entry.name);
    if (schedule->options.train_steps != model->config.train_steps)
        return dfi_fail(DIFFC_ERR_CONFIG, "the schedule has %d timesteps, the model's train_steps is %d",
                        (int)schedule->options.train_steps, model->config.train_steps);
    return DIFFC_OK;
}

int dfi_train_data_fits(const struct dfi_train_config *config, const struct diffc_model *model,
                        const struct diffc_dataset *dataset)
{
    const struct dfi_model_config *wanted = &model->config;
    const int uses_labels = config->objective->classifies || model->loss_values.cls >= 0;
    if (dataset->channels != wanted->image_channels || dataset->height != wanted->image_height ||
        dataset->width != wanted->image_width)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "the data set has images [%d, %d, %d], the model takes [%d, %d, %d]",
                        dataset->channels, dataset->height, dataset->width, wanted->image_channels,
                        wanted->image_height, wanted->image_width);
    if (uses_labels && !dataset->labelled)
        return dfi_fail(DIFFC_ERR_CONFIG, "the model needs labels, the data set has none");
    return DIFFC_OK;
}

int dfi_train_config_fits(const struct dfi_train_config *config, const struct diffc_model *model,
                          const struct diffc_dataset *dataset, const struct diffc_schedule *schedule)
{
    /* Numbers of samples over all epochs serve as numbers of streams, which have 48 bits. */
    if (dataset->count > ((int64_t)1 << 46) / config->epochs)
        return dfi_fail(DIFFC_ERR_LIMIT, "%lld samples in %d epochs, at most 2^46 in all",
                        (long long)dataset->count, config->epochs);
    DFI_TRY(check_model(config->objective, model));
    DFI_TRY(check_schedule(config->objective, model, schedule));
    return dfi_train_data_fits(config, model, dataset);
}

enum setting_kind { TEXT, NUMBER, WHOLE, WIDE };

#define SETTING(name, kind) \
    { \
#name, kind, offsetof(struct dfi_train_config, name) \
    }
static const struct setting {
    const char *key;
    enum setting_kind kind;
    size_t offset;
} settings[] = {
    SETTING(objective_name, TEXT),  SETTING(schedule_name, TEXT),  SETTING(schedule_steps, WHOLE),
    SETTING(beta_start, NUMBER),    SETTING(beta_end, NUMBER),     SETTING(sigma, NUMBER),
    SETTING(class_dropout, NUMBER), SETTING(batch, WHOLE),         SETTING(accumulate, WHOLE),
    SETTING(epochs, WHOLE),         SETTING(seed, WIDE),           SETTING(optimizer_name, TEXT),
    SETTING(learning_rate, NUMBER), SETTING(beta1, NUMBER),        SETTING(beta2, NUMBER),
    SETTING(epsilon, NUMBER),       SETTING(weight_decay, NUMBER), SETTING(decay_name, TEXT),
    SETTING(decay_factor, NUMBER),  SETTING(clip_norm, NUMBER),    SETTING(ema_decay, NUMBER),
    SETTING(nonfinite_name, TEXT),  SETTING(samples, WIDE),        SETTING(labelled, WHOLE),
    SETTING(lanes, WHOLE),          SETTING(numerics_name, TEXT),  SETTING(precision_name, TEXT),
    SETTING(tiles, WHOLE),          SETTING(betas, WIDE),
};

/* 17 digits tell every double apart. The decimal point is that of the locale, and becomes a point here. */
static void write_number(double number, char value[DFI_SETTING_TEXT])
{
    char text[DFI_SETTING_TEXT];
    size_t in = 0, out = 0;
    (void)snprintf(text, sizeof(text), "%.16e", number);
    if (text[in] == '-')
        value[out++] = text[in++];
    value[out++] = text[in++];
    while (text[in] && (text[in] < '0' || text[in] > '9'))
        in++;
    value[out++] = '.';
    strcpy(value + out, text + in);
}

int dfi_train_setting(const struct dfi_train_config *config, int position, const char **key,
                      char value[DFI_SETTING_TEXT])
{
    if (position >= DFI_COUNT(settings))
        return 0;
    const struct setting *setting = &settings[position];
    const char *at = (const char *)config + setting->offset;
    const char *text;
    double number;
    int whole;
    uint64_t wide;
    *key = setting->key;
    switch (setting->kind) {
    case TEXT:
        memcpy(&text, at, sizeof(text));
        (void)snprintf(value, DFI_SETTING_TEXT, "%s", text);
        break;
    case NUMBER:
        memcpy(&number, at, sizeof(number));
        write_number(number, value);
        break;
    case WHOLE:
        memcpy(&whole, at, sizeof(whole));
        (void)snprintf(value, DFI_SETTING_TEXT, "%d", whole);
        break;
    default:
        memcpy(&wide, at, sizeof(wide));
        (void)snprintf(value, DFI_SETTING_TEXT, "%" PRIu64, wide);
        break;
    }
    return 1;
}
