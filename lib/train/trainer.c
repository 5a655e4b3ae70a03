/* The trainer: its memory, one update at a time, and the parts of an update. */

#include "model/weights.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/float_mode.h"
#include "io/reader.h"
#include "model/session.h"

static void destroy(void *handle)
{
    struct diffc_trainer *trainer = handle;
    dfi_exec_destroy(trainer->exec);
    dfi_free(trainer->object.context, trainer->block);
    dfi_release(trainer->schedule);
    dfi_release(trainer->dataset);
    dfi_release(trainer->model);
    dfi_object_free(trainer);
}

/* Takes `count` elements at the end of a block; -1 when it grows past what can be addressed. */
static int reserve(struct dfi_train_layout *layout, size_t *offset, size_t count, size_t size)
{
    size_t bytes;
    *offset = layout->total;
    if (dfi_ck_mul(count, size, &bytes) || dfi_ck_add(bytes, 63, &bytes))
        return -1;
    return dfi_ck_add(layout->total, bytes / 64 * 64, &layout->total);
}

/* The most samples of a batch that one rank may have. */
static int part_of_batch(const struct dfi_train_config *config)
{
    return (config->batch + config->comm.size - 1) / config->comm.size;
}

static int plan_layout(const struct diffc_model *model, const struct diffc_dataset *dataset,
                       const struct dfi_train_config *config, struct dfi_train_layout *layout)
{
    const size_t values = model->params.value_count, stats = model->params.stat_count,
                 batch = (size_t)config->batch, part = (size_t)part_of_batch(config);
    const size_t ema = config->ema_decay > 0, chunks = (size_t)dfi_optimizer_chunks(values);
    size_t image;
    memset(layout, 0, sizeof(*layout));
    if (dfi_ck_mul(part, dfi_dataset_values(dataset), &image) ||
        reserve(layout, &layout->m, values, sizeof(float)) ||
        reserve(layout, &layout->v, values, sizeof(float)) ||
        reserve(layout, &layout->ema, ema * values, sizeof(float)) ||
        reserve(layout, &layout->ema_stats, ema * stats, sizeof(float)) ||
        reserve(layout, &layout->next_stats, stats, sizeof(float)) ||
        reserve(layout, &layout->images, image, sizeof(float)) ||
        reserve(layout, &layout->noise, image, sizeof(float)) ||
        reserve(layout, &layout->indices, part, sizeof(int64_t)) ||
        reserve(layout, &layout->labels, part, sizeof(int32_t)) ||
        reserve(layout, &layout->losses, batch, sizeof(double)) ||
        reserve(layout, &layout->right, batch, sizeof(double)) ||
        reserve(layout, &layout->sums, chunks, sizeof(double)) ||
        reserve(layout, &layout->scratch, config->comm.size > 1 ? DFI_COMM_SCRATCH : 0, 1))
        return dfi_fail(DIFFC_ERR_LIMIT, "a trainer for batch %d takes more than can be addressed",
                        config->batch);
    return DIFFC_OK;
}

static struct dfi_exec_options exec_options(const struct dfi_train_config *config)
{
    return (struct dfi_exec_options) { part_of_batch(config), 1, 1, .numerics = config->numerics,
                                       .precision = config->precision };
}

static int add_bytes(const struct dfi_train_config *config, size_t plan, size_t rest, size_t *bytes)
{
    if (dfi_ck_add(plan, rest, bytes) || *bytes > INT64_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "a trainer for batch %d takes more than can be addressed",
                        config->batch);
    return DIFFC_OK;
}

/* A trainer and how it saves memory. */
struct plan {
    struct dfi_train_layout layout;
    struct dfi_exec_options options;
    size_t bytes;
};

/* Ways to save memory, each with those before it. */
static const struct {
    int stream;
    enum dfi_tiling tiles;
} savings[] = {
    { 0, DFI_TILING_ALL }, { 1, DFI_TILING_ALL }, { 1, DFI_TILING_SMALL }, { 1, DFI_TILING_NONE }
};

/* Saves as much as it takes to stay below `most`. Bits depend on it, so it is decided as if one process with
 * a thread for each lane had the whole batch. */
static int save_memory(const struct diffc_model *model, const struct diffc_dataset *dataset,
                       const struct dfi_train_config *config, size_t most, struct plan *plan)
{
    struct dfi_train_config alone = *config;
    struct dfi_exec_options *options = &plan->options;
    size_t bytes = 0;
    alone.comm.size = 1;
    DFI_TRY(plan_layout(model, dataset, &alone, &plan->layout));
    *options = exec_options(&alone);
    options->workers = DFI_LANES;
    for (int i = 0; i < DFI_COUNT(savings); i++) {
        options->stream = savings[i].stream;
        options->tiles = savings[i].tiles;
        DFI_TRY(dfi_exec_bytes(model->loss_graph, options, &bytes));
        DFI_TRY(add_bytes(config, bytes, plan->layout.total, &bytes));
        if (bytes <= most)
            break;
    }
    options->batch = part_of_batch(config);
    options->workers = 0;
    DFI_TRY(plan_layout(model, dataset, config, &plan->layout));
    DFI_TRY(dfi_exec_bytes(model->loss_graph, options, &bytes));
    return add_bytes(config, bytes, plan->layout.total, &plan->bytes);
}

static int fit_memory(const struct diffc_model *model, const struct diffc_dataset *dataset,
                      const struct dfi_train_config *config, struct plan *plan)
{
    const int64_t most = model->object.context->limits.memory;
    const int own = config->memory && config->memory <= most;
    const int64_t limit = own ? config->memory : most;
    size_t least;
    DFI_TRY(save_memory(model, dataset, config, (size_t)limit, plan));
    if (plan->bytes <= (size_t)limit)
        return DIFFC_OK;
    do { /* with more memory less may be saved */
        least = plan->bytes;
        DFI_TRY(save_memory(model, dataset, config, least, plan));
    } while (plan->bytes > least);
    return dfi_fail(DIFFC_ERR_LIMIT, "%s is %lld bytes, a trainer for batch %d takes at least %zu",
                    own ? "memory" : "limits.memory", (long long)limit, config->batch, least);
}

int dfi_trainer_bytes(const struct diffc_model *model, const struct diffc_dataset *dataset,
                      const struct dfi_train_config *config, size_t *bytes)
{
    struct plan plan;
    DFI_TRY(config->memory
                ? fit_memory(model, dataset, config, &plan)
                : save_memory(model, dataset, config, (size_t)model->object.context->limits.memory, &plan));
    *bytes = plan.bytes;
    return DIFFC_OK;
}

static int make_schedule(struct diffc_trainer *trainer, const struct diffc_schedule *schedule)
{
    struct dfi_train_config *config = &trainer->config;
    config->schedule_name = "none";
    if (!config->objective->scaled_time)
        return DIFFC_OK;
    if (schedule) {
        trainer->schedule = dfi_retain(schedule);
    } else {
        const diffc_schedule_options options = { .struct_size = sizeof(options),
                                                 .train_steps = trainer->model->config.train_steps };
        struct dfi_float_mode mode;
        dfi_float_enter(&mode, 0);
        const int status = dfi_schedule_new(trainer->object.context, "linear", &options, &trainer->schedule);
        dfi_float_leave(&mode);
        DFI_TRY(status);
    }
    config->schedule_name = trainer->schedule->rule->entry.name;
    config->schedule_steps = trainer->schedule->options.train_steps;
    config->beta_start = (double)trainer->schedule->betas[0];
    config->beta_end = (double)trainer->schedule->betas[config->schedule_steps - 1];
    if (!trainer->schedule->rule->betas)
        config->betas = dfi_crc32(0, trainer->schedule->betas,
                                  (size_t)config->schedule_steps * sizeof(*trainer->schedule->betas));
    trainer->constants.alpha_bars = trainer->schedule->alpha_bars;
    trainer->constants.train_steps = config->schedule_steps;
    return DIFFC_OK;
}

static void place_arrays(struct diffc_trainer *trainer, const struct dfi_train_layout *layout)
{
    char *block = trainer->block;
    trainer->m = (float *)(void *)(block + layout->m);
    trainer->v = (float *)(void *)(block + layout->v);
    trainer->next_stats = (float *)(void *)(block + layout->next_stats);
    trainer->images = (float *)(void *)(block + layout->images);
    trainer->noise = (float *)(void *)(block + layout->noise);
    trainer->indices = (int64_t *)(void *)(block + layout->indices);
    trainer->labels = (int32_t *)(void *)(block + layout->labels);
    trainer->losses = (double *)(void *)(block + layout->losses);
    trainer->right = (double *)(void *)(block + layout->right);
    trainer->sums = (double *)(void *)(block + layout->sums);
    trainer->config.comm.scratch = block + layout->scratch;
    if (trainer->config.ema_decay > 0) {
        const struct dfi_params *params = &trainer->model->params;
        trainer->ema = (float *)(void *)(block + layout->ema);
        trainer->ema_stats = (float *)(void *)(block + layout->ema_stats);
        memcpy(trainer->ema, params->values, params->value_count * sizeof(float));
        memcpy(trainer->ema_stats, params->stats, params->stat_count * sizeof(float));
    }
}

static int allocate(struct diffc_trainer *trainer)
{
    struct plan plan;
    if (trainer->model->config.without_weights)
        return dfi_fail(DIFFC_ERR_STATE, "the model was opened without its weights");
    DFI_TRY(fit_memory(trainer->model, trainer->dataset, &trainer->config, &plan));
    DFI_TRY(dfi_model_gather(trainer->model)); /* what the averages start from */
    trainer->block = dfi_calloc(trainer->object.context, plan.layout.total, 1);
    if (!trainer->block)
        return DIFFC_ERR_NOMEM;
    trainer->config.tiles = plan.options.tiles;
    place_arrays(trainer, &plan.layout);
    DFI_TRY(
        dfi_exec_create(trainer->model->loss_graph, &trainer->model->params, &plan.options, &trainer->exec));
    if (trainer->config.comm.size > 1)
        dfi_exec_set_comm(trainer->exec, &trainer->config.comm);
    return DIFFC_OK;
}

static void plan_run(struct diffc_trainer *trainer)
{
    struct dfi_train_config *config = &trainer->config;
    const int64_t batches = (trainer->dataset->count + config->batch - 1) / config->batch;
    trainer->updates_per_epoch = (batches + config->accumulate - 1) / config->accumulate;
    trainer->steps = trainer->updates_per_epoch * config->epochs;
    config->samples = trainer->dataset->count;
    config->labelled = trainer->dataset->labelled;
    config->lanes = DFI_LANES;
}

static int make_trainer(struct diffc_model *model, const struct diffc_dataset *dataset,
                        const diffc_trainer_options *options, struct diffc_trainer **trainer)
{
    struct diffc_context *context = model->object.context;
    struct dfi_train_config config;
    const struct diffc_schedule *schedule = NULL;
    DFI_TRY(dfi_train_config_read(options, model, &config, &schedule));
    DFI_TRY(dfi_train_config_fits(&config, model, dataset, schedule));
    struct diffc_trainer *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->model = dfi_retain(model);
    made->dataset = dfi_retain(dataset);
    made->config = config;
    made->constants.sigma = (float)config.sigma;
    made->kernels = dfi_kernels_get(context->cpu_flags, DIFFC_F32);
    plan_run(made);
    int status = make_schedule(made, schedule);
    if (status == DIFFC_OK)
        status = allocate(made);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *trainer = made;
    return DIFFC_OK;
}

int dfi_trainer_new(struct diffc_model *model, const struct diffc_dataset *dataset,
                    const diffc_trainer_options *options, struct diffc_trainer **trainer)
{
    struct dfi_comm comm;
    struct diffc_trainer *made = NULL;
    DFI_TRY(dfi_train_comm_read(options, &comm));
    int status = dfi_comm_agree(&comm, make_trainer(model, dataset, options, &made));
    if (status == DIFFC_OK)
        status = dfi_ranks_compare(made);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *trainer = made;
    return DIFFC_OK;
}

/* The running statistics move with every batch, but the model's only with the update. */
static void begin_statistics(struct diffc_trainer *trainer)
{
    const struct dfi_params *params = &trainer->model->params;
    memcpy(trainer->next_stats, params->stats, params->stat_count * sizeof(float));
    trainer->has_gradients = trainer->has_statistics = 0;
}

/* Forward and backward with what is in the inputs. */
static int run_batch(struct diffc_trainer *trainer, int accumulate)
{
    struct dfi_params shadow = trainer->model->params;
    struct dfi_float_mode saved;
    shadow.stats = trainer->next_stats;
    dfi_float_enter(&saved, 1);
    int status = dfi_exec_forward(trainer->exec, 1);
    if (status == DIFFC_OK)
        dfi_exec_keep_statistics(trainer->exec, &shadow);
    if (status == DIFFC_OK)
        status = dfi_exec_backward(trainer->exec, accumulate);
    trainer->next_loss = (accumulate ? trainer->next_loss : 0) + dfi_exec_loss(trainer->exec);
    dfi_float_leave(&saved);
    return status;
}

static void commit_statistics(struct diffc_trainer *trainer)
{
    const struct dfi_params *params = &trainer->model->params;
    if (trainer->has_statistics)
        memcpy(params->stats, trainer->next_stats, params->stat_count * sizeof(float));
    trainer->has_statistics = 0;
}

static int refuse_update(struct diffc_trainer *trainer, double norm)
{
    if (!trainer->config.skips)
        return dfi_fail(DIFFC_ERR_NONFINITE, "update %" PRId64 ": loss %g, gradient norm %g", trainer->step,
                        trainer->next_loss, norm);
    dfi_log(trainer->object.context, DIFFC_LOG_WARNING,
            "update %" PRId64 " skipped: loss %g, gradient norm %g", trainer->step, trainer->next_loss, norm);
    trainer->skipped++;
    return DIFFC_OK;
}

void dfi_trainer_name_objective(struct diffc_trainer *trainer)
{
    if (trainer->step > trainer->skipped)
        trainer->model->config.objective = trainer->config.objective_name;
}

static int make_update(struct diffc_trainer *trainer, int batches, int before)
{
    const double scale = 1.0 / batches;
    const double rate = dfi_learning_rate(&trainer->config, trainer->step, trainer->updates_per_epoch,
                                          trainer->steps);
    double norm = 0;
    trainer->next_loss /= batches;
    const int status = before < 0 ? before : dfi_optimizer_norm(trainer, scale, &norm);
    DFI_TRY(dfi_comm_agree(&trainer->config.comm, status));
    if (!isfinite(trainer->next_loss) || !isfinite(norm)) {
        DFI_TRY(refuse_update(trainer, norm));
    } else {
        commit_statistics(trainer);
        dfi_optimizer_update(trainer, trainer->step + 1 - trainer->skipped, rate, norm);
        dfi_exec_refresh(trainer->exec);
    }
    trainer->step++;
    dfi_trainer_name_objective(trainer);
    trainer->has_gradients = trainer->has_statistics = 0;
    trainer->loss = trainer->next_loss;
    trainer->learning_rate = rate;
    trainer->gradient_norm = norm;
    return DIFFC_OK;
}

/* One update with the gradients at hand, which are the sum of those of `batches`. Up to the norm nothing has
 * changed; from there on nothing can fail. */
static int update(struct diffc_trainer *trainer, int batches, int before)
{
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    const int status = make_update(trainer, batches, before);
    dfi_float_leave(&mode);
    return status;
}

int dfi_trainer_step(struct diffc_trainer *trainer, int before)
{
    const struct dfi_train_config *config = &trainer->config;
    if (trainer->step >= trainer->steps)
        return dfi_fail(DIFFC_ERR_STATE, "the run has ended after %" PRId64 " updates", trainer->steps);
    struct dfi_batch batch = {
        trainer->dataset, config->seed, 0, trainer->step / trainer->updates_per_epoch, 0, 0
    };
    const int64_t first = trainer->step % trainer->updates_per_epoch * config->accumulate * config->batch;
    int batches = 0;
    DFI_TRY(dfi_comm_agree(&trainer->config.comm, before));
    begin_statistics(trainer);
    if (trainer->step % trainer->updates_per_epoch == 0)
        DFI_TRY(dfi_ranks_compare(trainer));
    for (; batches < config->accumulate; batches++) {
        batch.first = first + (int64_t)batches * config->batch;
        if (batch.first >= trainer->dataset->count)
            break;
        const int64_t left = trainer->dataset->count - batch.first;
        batch.count = left < config->batch ? (int)left : config->batch;
        DFI_TRY(dfi_comm_agree(&trainer->config.comm, dfi_batch_load(trainer, &batch)));
        DFI_TRY(run_batch(trainer, batches > 0));
    }
    trainer->has_statistics = 1;
    const int status = update(trainer, batches, DIFFC_OK);
    if (status < 0)
        trainer->has_statistics = 0; /* nothing has changed */
    return status;
}

/* The caller's own samples, of which a rank has its part. */
static int bind_batch(struct diffc_trainer *trainer, const diffc_binding *inputs, int input_count,
                      const struct diffc_tensor *target, const struct diffc_tensor *output, double *whole)
{
    const struct dfi_model_values *values = &trainer->model->loss_values;
    struct diffc_tensor view, outside = dfi_bind_view(target);
    int count = -1;
    DFI_TRY(dfi_bind_inputs(trainer->model, values, trainer->exec, part_of_batch(&trainer->config), inputs,
                            input_count, &count));
    DFI_TRY(dfi_bind_check(trainer->exec, values->target, "target", target, &count));
    if (output)
        DFI_TRY(dfi_bind_check(trainer->exec, values->out, "output", output, &count));
    dfi_exec_view(trainer->exec, values->target, &view);
    dfi_tensor_copy(&outside, &view);
    *whole = count;
    return DIFFC_OK;
}

static int share_batch(struct diffc_trainer *trainer, int whole, int part)
{
    int first;
    if (dfi_exec_share(trainer->exec, whole, &first) == part)
        return DIFFC_OK;
    const struct dfi_comm *comm = &trainer->config.comm;
    return dfi_fail(DIFFC_ERR_ARG, "rank %d of %d has %d of %d samples, must have %d", comm->rank, comm->size,
                    part, whole, dfi_exec_share(trainer->exec, whole, &first));
}

int dfi_trainer_gradients(struct diffc_trainer *trainer, const diffc_binding *inputs, int input_count,
                          const struct diffc_tensor *target, struct diffc_tensor *output, double *loss,
                          int before)
{
    const struct dfi_model_values *values = &trainer->model->loss_values;
    struct dfi_comm *comm = &trainer->config.comm;
    struct diffc_tensor view, outside;
    double whole = 0;
    int status = before < 0 ? before : bind_batch(trainer, inputs, input_count, target, output, &whole);
    const int part = (int)whole;
    if (comm->size > 1) {
        DFI_TRY(dfi_comm_sum(comm, &whole, 1, sizeof(whole), status));
        status = dfi_comm_agree(comm, share_batch(trainer, (int)whole, part));
    }
    DFI_TRY(status);
    begin_statistics(
        trainer); /* all ranks or none: what they have decides whether they exchange in an update */
    DFI_TRY(run_batch(trainer, 0));
    trainer->has_gradients = trainer->has_statistics = 1;
    if (output) {
        outside = dfi_bind_view(output);
        dfi_exec_view(trainer->exec, values->out, &view);
        dfi_tensor_copy(&view, &outside);
    }
    if (loss)
        *loss = trainer->next_loss;
    return DIFFC_OK;
}

int dfi_trainer_apply(struct diffc_trainer *trainer, int before)
{
    if (!trainer->has_gradients)
        return dfi_fail(DIFFC_ERR_STATE, "no gradients since the last update");
    return update(trainer, 1, before);
}

int dfi_trainer_keep_statistics(struct diffc_trainer *trainer)
{
    if (!trainer->has_statistics)
        return dfi_fail(DIFFC_ERR_STATE, "no batch since the running statistics were moved");
    commit_statistics(trainer);
    return DIFFC_OK;
}

int dfi_trainer_ema_model(const struct diffc_trainer *trainer, struct diffc_model **model)
{
    struct diffc_model *made = NULL;
    if (!trainer->ema)
        return dfi_fail(DIFFC_ERR_STATE, "the trainer has no EMA: ema_decay is 0");
    DFI_TRY(dfi_model_clone(trainer->model, &made));
    memcpy(made->params.values, trainer->ema, made->params.value_count * sizeof(float));
    memcpy(made->params.stats, trainer->ema_stats, made->params.stat_count * sizeof(float));
    *model = made;
    return DIFFC_OK;
}
