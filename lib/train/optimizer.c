/* Updates of the flat arrays, piece by piece on all threads. Pieces have a fixed size and their sums are
 * added in order: the same bits for any number of threads. */

#include <math.h>

#include "base/float_mode.h"
#include "train/trainer.h"

#define CHUNK ((size_t)16384)

int dfi_optimizer_chunks(size_t values)
{
    return (int)((values + CHUNK - 1) / CHUNK);
}

/* PyTorch's ExponentialLR stepped once per epoch; the cosine goes down per update. */
double dfi_learning_rate(const struct dfi_train_config *config, int64_t step, int64_t updates_per_epoch,
                         int64_t steps)
{
    const double pi = 3.14159265358979323846;
    if (config->decay == DFI_DECAY_EXPONENTIAL) {
        const int64_t epoch = step / updates_per_epoch;
        return config->learning_rate * pow(config->decay_factor, (double)epoch / config->epochs);
    }
    if (config->decay == DFI_DECAY_COSINE) {
        const double progress = step < steps ? (double)step / (double)steps : 1;
        return config->learning_rate *
               (config->decay_factor + (1 - config->decay_factor) * (0.5 + 0.5 * cos(pi * progress)));
    }
    return config->learning_rate;
}

/* Share of the old average after `updates` updates. The warm-up keeps the first, bad weights from staying in
 * it. */
double dfi_ema_weight(double decay, int64_t updates)
{
    const double warm_up = (1 + (double)updates) / (10 + (double)updates);
    return warm_up < decay ? warm_up : decay;
}

struct piece {
    size_t first, count;
};

static struct piece piece_at(const struct diffc_trainer *trainer, int chunk)
{
    const size_t values = trainer->model->params.value_count;
    struct piece piece = { (size_t)chunk * CHUNK, CHUNK };
    if (piece.count > values - piece.first)
        piece.count = values - piece.first;
    return piece;
}

struct norm_job {
    struct diffc_trainer *trainer;
    double scale;
};

static void square_piece(void *work, int chunk, int worker)
{
    const struct norm_job *job = work;
    const struct diffc_trainer *trainer = job->trainer;
    const struct piece piece = piece_at(trainer, chunk);
    float *gradient = (float *)dfi_exec_gradients(trainer->exec) + piece.first;
    (void)worker;
    if (job->scale != 1)
        trainer->kernels->axpby(piece.count, job->scale, gradient, 0, gradient);
    trainer->sums[chunk] = trainer->kernels->sum_squares(gradient, piece.count);
}

int dfi_optimizer_norm(struct diffc_trainer *trainer, double scale, double *norm)
{
    struct norm_job job = { trainer, scale };
    const int chunks = dfi_optimizer_chunks(trainer->model->params.value_count);
    double sum = 0;
    DFI_TRY(dfi_parallel(trainer->object.context, square_piece, &job, chunks));
    for (int i = 0; i < chunks; i++)
        sum += trainer->sums[i];
    *norm = sqrt(sum);
    return DIFFC_OK;
}

struct update_job {
    struct diffc_trainer *trainer;
    struct dfi_adam_args adam;
    double ema; /* share of the old average */
};

static void update_piece(void *work, int chunk, int worker)
{
    const struct update_job *job = work;
    const struct diffc_trainer *trainer = job->trainer;
    const struct piece piece = piece_at(trainer, chunk);
    const float *gradient = (const float *)dfi_exec_gradients(trainer->exec) + piece.first;
    float *weights = (float *)trainer->model->params.values + piece.first;
    (void)worker;
    trainer->kernels->adam(weights, gradient, trainer->m + piece.first, trainer->v + piece.first, piece.count,
                           &job->adam);
    if (trainer->ema)
        trainer->kernels->axpby(piece.count, 1 - job->ema, weights, job->ema, trainer->ema + piece.first);
}

void dfi_optimizer_update(struct diffc_trainer *trainer, int64_t updates, double learning_rate, double norm)
{
    const struct dfi_train_config *config = &trainer->config;
    const int chunks = dfi_optimizer_chunks(trainer->model->params.value_count);
    struct update_job job = {
        .trainer = trainer,
        .adam = { .learning_rate = learning_rate,
                  .beta1 = config->beta1,
                  .beta2 = config->beta2,
                  .epsilon = config->epsilon,
                  .weight_decay = config->weight_decay,
                  .correction1 = 1 - pow(config->beta1, (double)updates),
                  .correction2 = 1 - pow(config->beta2, (double)updates),
                  .decoupled = config->decoupled,
                  .gradient_scale = config->clip_norm > 0 && norm > config->clip_norm
                                        ? config->clip_norm / norm
                                        : 1 },
        .ema = dfi_ema_weight(config->ema_decay, updates),
    };

    dfi_parallel_whole(trainer->object.context, update_piece, &job, chunks);
    if (!trainer->ema)
        return;
    struct dfi_float_mode saved;
    dfi_float_enter(&saved, 1);
    trainer->kernels->axpby(trainer->model->params.stat_count, 1 - job.ema, trainer->model->params.stats,
                            job.ema, trainer->ema_stats);
    dfi_float_leave(&saved);
}
