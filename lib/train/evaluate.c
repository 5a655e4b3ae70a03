/* Mean loss over a data set in evaluation mode. Every sample has its own draw and its own sum, and the sums
 * are added in the order of the set: the batch size leaves no trace. */

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/float_mode.h"
#include "train/trainer.h"

struct job {
    struct diffc_trainer *trainer;
    struct dfi_block out, target;
    double *losses, *right; /* of the first sample */
};

static double squared_error(const struct dfi_block *out, const float *y, const struct dfi_block *target,
                            const float *wanted)
{
    const int pixels = out->h * out->w;
    double sum = 0;
    for (int p = 0; p < pixels; p++) {
        for (int c = 0; c < out->c; c++) {
            const double difference = (double)y[p * out->ld + c] - (double)wanted[p * target->ld + c];
            sum += difference * difference;
        }
    }
    return sum / ((double)pixels * out->c);
}

/* -log softmax at the label, shifted by the largest logit. */
static double cross_entropy(const float *logits, int count, int label, int *best)
{
    double sum = 0;
    *best = 0;
    for (int c = 1; c < count; c++)
        if (logits[c] > logits[*best])
            *best = c;
    for (int c = 0; c < count; c++)
        sum += exp((double)logits[c] - (double)logits[*best]);
    return log(sum) - ((double)logits[label] - (double)logits[*best]);
}

static void judge_sample(void *work, int i, int worker)
{
    const struct job *job = work;
    const struct diffc_trainer *trainer = job->trainer;
    const float *y = (const float *)job->out.data + i * job->out.sample_stride;
    int best = -1;
    (void)worker;
    if (trainer->config.objective->classifies)
        job->losses[i] = cross_entropy(y, job->out.c, trainer->labels[i], &best);
    else
        job->losses[i] = squared_error(&job->out, y, &job->target,
                                       (const float *)job->target.data + i * job->target.sample_stride);
    job->right[i] = best == trainer->labels[i];
}

/* Each rank judges its part, and the others' values are zeros until all are added up. */
static int judge_batch(struct diffc_trainer *trainer, int count)
{
    struct dfi_comm *comm = &trainer->config.comm;
    const struct dfi_model_values *values = &trainer->model->loss_values;
    const size_t n = (size_t)count;
    int first;
    DFI_TRY(dfi_exec_forward(trainer->exec, 0));
    const int part = dfi_exec_share(trainer->exec, count, &first);
    struct job job = { trainer, dfi_exec_value(trainer->exec, values->out),
                       dfi_exec_value(trainer->exec, values->target), trainer->losses + first,
                       trainer->right + first };
    memset(trainer->losses, 0, n * sizeof(double));
    memset(trainer->right, 0, n * sizeof(double));
    const int status = dfi_parallel(trainer->object.context, judge_sample, &job, part);
    DFI_TRY(dfi_comm_sum(comm, trainer->losses, n, sizeof(double), status));
    return dfi_comm_sum(comm, trainer->right, n, sizeof(double), DIFFC_OK);
}

static int judge_in_float_mode(struct diffc_trainer *trainer, int count)
{
    struct dfi_float_mode saved;
    dfi_float_enter(&saved, 1);
    const int status = judge_batch(trainer, count);
    dfi_float_leave(&saved);
    return status;
}

struct result {
    double loss;
    int64_t right;
};

static int judge_all(struct diffc_trainer *trainer, const struct diffc_dataset *dataset, uint64_t seed,
                     struct result *result)
{
    struct dfi_batch batch = { dataset, seed, 1, 0, 0, 0 };
    for (; batch.first < dataset->count; batch.first += batch.count) {
        const int64_t left = dataset->count - batch.first;
        batch.count = left < trainer->config.batch ? (int)left : trainer->config.batch;
        DFI_TRY(dfi_comm_agree(&trainer->config.comm, dfi_batch_load(trainer, &batch)));
        DFI_TRY(judge_in_float_mode(trainer, batch.count));
        struct dfi_float_mode mode;
        dfi_float_enter(&mode, 0);
        for (int i = 0; i < batch.count; i++) {
            result->loss += trainer->losses[i];
            result->right += trainer->right[i] > 0;
        }
        dfi_float_leave(&mode);
    }
    return DIFFC_OK;
}

/* Lets the plan see other weights; called a second time, its own again. */
static void swap_weights(struct diffc_trainer *trainer)
{
    struct dfi_params *params = &trainer->model->params;
    void *values = params->values, *stats = params->stats;
    params->values = trainer->ema;
    params->stats = trainer->ema_stats;
    trainer->ema = values;
    trainer->ema_stats = stats;
    dfi_exec_refresh(trainer->exec);
}

/* All ranks go through the same number of batches, with the same weights and draws. */
static int compare_jobs(struct dfi_comm *comm, const struct diffc_dataset *dataset, uint64_t seed,
                        int use_ema)
{
    const int64_t mine[3] = { dataset->count, use_ema != 0, (int64_t)seed };
    int64_t first[3] = { mine[0], mine[1], mine[2] };
    if (comm->size == 1)
        return DIFFC_OK;
    DFI_TRY(dfi_comm_broadcast(comm, first, sizeof(first)));
    int status = DIFFC_OK;
    if (first[0] != mine[0])
        status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d evaluates %" PRId64 " samples, rank 0 %" PRId64,
                          comm->rank, mine[0], first[0]);
    else if (first[1] != mine[1])
        status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d evaluates with use_ema %d, rank 0 with %d", comm->rank,
                          (int)mine[1], (int)first[1]);
    else if (first[2] != mine[2])
        status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d evaluates with another seed than rank 0", comm->rank);
    return dfi_comm_agree(comm, status);
}

static int check_job(const struct diffc_trainer *trainer, const struct diffc_dataset *dataset, int use_ema)
{
    DFI_REQUIRE(dataset);
    if (use_ema && !trainer->ema)
        return dfi_fail(DIFFC_ERR_STATE, "the trainer has no EMA: ema_decay is 0");
    return dfi_train_data_fits(&trainer->config, trainer->model, dataset);
}

int dfi_trainer_evaluate(struct diffc_trainer *trainer, const struct diffc_dataset *dataset, uint64_t seed,
                         int use_ema, double *loss, double *accuracy)
{
    struct result result = { 0, 0 };
    DFI_TRY(dfi_comm_agree(&trainer->config.comm, check_job(trainer, dataset, use_ema)));
    DFI_TRY(compare_jobs(&trainer->config.comm, dataset, seed, use_ema));
    if (use_ema)
        swap_weights(trainer);
    const int status = judge_all(trainer, dataset, seed, &result);
    if (use_ema)
        swap_weights(trainer);
    if (status < 0)
        return status;
    struct dfi_float_mode mode;
    dfi_float_enter(&mode, 0);
    if (loss)
        *loss = result.loss / (double)dataset->count;
    if (accuracy && trainer->config.objective->classifies)
        *accuracy = (double)result.right / (double)dataset->count;
    dfi_float_leave(&mode);
    return DIFFC_OK;
}
