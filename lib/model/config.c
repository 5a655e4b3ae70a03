#include "model/config.h"

static const struct dfi_entry conditions[] = {
    { "none", "no condition" },
    { "time", "time alone" },
    { "class", "class and time" },
};

static const struct dfi_entry time_modes[] = {
    { "add", "f + t" },
    { "mul", "f * t" },
};

/* What a model may say it was trained for; the trainer's objectives go by the same names. */
static const struct dfi_entry objectives[] = {
    { "denoise", "" }, { "noise", "" }, { "ddpm", "" }, { "flow", "" }, { "classify", "" },
};

static const char *find_name(const struct dfi_entry *entries, int count, const char *what, const char *name)
{
    const struct dfi_entry *entry = dfi_registry_find(entries, sizeof(*entries), count, what, name);
    return entry ? entry->name : NULL;
}

const char *dfi_condition_name(const char *name)
{
    return find_name(conditions, DFI_COUNT(conditions), "condition", name);
}

const char *dfi_time_mode_name(const char *name)
{
    return find_name(time_modes, DFI_COUNT(time_modes), "time_mode", name);
}

const char *dfi_objective_name(const char *name)
{
    return find_name(objectives, DFI_COUNT(objectives), "objective", name);
}

int dfi_model_config_read(const diffc_model_options *options, struct dfi_model_config *config)
{
    *config = (struct dfi_model_config) { .train_steps = options->train_steps, .seed = options->seed };
    config->image_channels = options->image_channels ? options->image_channels : 1;
    config->image_height = options->image_height ? options->image_height : 28;
    config->image_width = options->image_width ? options->image_width : config->image_height;
    config->width = options->width ? options->width : 64;
    config->classes = options->classes ? options->classes : 10;
    config->json = options->config;
    config->without_weights = options->without_weights;
    config->condition = dfi_condition_name(options->condition ? options->condition : "none");
    config->time_mode = dfi_time_mode_name(options->time_mode ? options->time_mode : "add");
    config->objective = options->objective ? dfi_objective_name(options->objective) : NULL;
    if (!config->condition || !config->time_mode || (options->objective && !config->objective))
        return DIFFC_ERR_ARG;
    return DIFFC_OK;
}
