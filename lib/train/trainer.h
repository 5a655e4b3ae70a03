#ifndef DFI_TRAIN_TRAINER_H
#define DFI_TRAIN_TRAINER_H

#include "model/model.h"
#include "sched/sched.h"
#include "train/dataset.h"
#include "train/objective.h"

enum dfi_decay { DFI_DECAY_NONE, DFI_DECAY_EXPONENTIAL, DFI_DECAY_COSINE };

/* Options with defaults filled in and names resolved. */
struct dfi_train_config {
    const struct dfi_objective *objective;
    double sigma, class_dropout;
    int batch, accumulate, epochs;
    uint64_t seed;
    int decoupled; /* AdamW */
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    enum dfi_decay decay;
    double decay_factor, clip_norm, ema_decay;
    enum dfi_numerics numerics;
    enum dfi_precision precision;
    int64_t memory; /* most bytes of the trainer; 0: the context's limit */
    int skips;      /* on NaN or infinity: 0 stop, 1 skip */
    struct dfi_comm comm;
    /* The same and what the numbers of a run depend on besides, for its checkpoints. */
    const char *objective_name, *optimizer_name, *decay_name, *nonfinite_name, *schedule_name, *numerics_name,
        *precision_name;
    enum dfi_tiling tiles; /* of the plan, by `memory` */
    int schedule_steps, labelled, lanes;
    double beta_start, beta_end;
    uint64_t betas; /* a CRC of those that are given one by one, else 0 */
    int64_t samples;
};

/* Where the arrays of a trainer lie in its block, in bytes. */
struct dfi_train_layout {
    size_t m, v, ema, ema_stats, next_stats, images, noise, indices, labels, losses, right, sums, scratch;
    size_t total;
};

struct diffc_trainer {
    struct dfi_object object;
    struct diffc_model *model;
    struct diffc_dataset *dataset;
    struct diffc_schedule *schedule; /* ddpm only */
    struct dfi_train_config config;
    struct dfi_objective_constants constants;
    struct dfi_exec *exec;
    const struct dfi_kernels *kernels;
    char *block;
    float *m, *v;                      /* moments, as params.values */
    float *ema, *ema_stats;            /* NULL without EMA */
    float *next_stats;                 /* running statistics after the batches seen since the last update */
    float *images, *noise;             /* [part][C * H * W]: the rank's part of a batch */
    int64_t *indices;                  /* [part] in the data set */
    int32_t *labels;                   /* [part] */
    double *losses;                    /* [batch] of an evaluation */
    double *right;                     /* [batch] 1 or 0 */
    double *sums;                      /* [chunks] */
    int64_t updates_per_epoch, steps;  /* of the run */
    int64_t step, skipped;             /* updates behind, those left out among them */
    int has_gradients, has_statistics; /* an update can be made with them */
    double loss, learning_rate, gradient_norm; /* of the last update */
    double next_loss;                          /* of the gradients at hand */
};

/* config.c */
int dfi_train_comm_read(const diffc_trainer_options *source, struct dfi_comm *comm);
int dfi_train_config_read(const diffc_trainer_options *source, const struct diffc_model *model,
                          struct dfi_train_config *config, const struct diffc_schedule **schedule);
int dfi_train_config_fits(const struct dfi_train_config *config, const struct diffc_model *model,
                          const struct diffc_dataset *dataset, const struct diffc_schedule *schedule);
/* Whether the images (and labels, where they are needed) are what the model takes. */
int dfi_train_data_fits(const struct dfi_train_config *config, const struct diffc_model *model,
                        const struct diffc_dataset *dataset);

/* Everything that decides the numbers of a run, by position, as text: 1, or 0 past the end. A checkpoint
 * holds these, and a run can only be continued where they are the same. */
#define DFI_SETTING_TEXT 64
int dfi_train_setting(const struct dfi_train_config *config, int position, const char **key,
                      char value[DFI_SETTING_TEXT]);

/* trainer.c */
int dfi_trainer_bytes(const struct diffc_model *model, const struct diffc_dataset *dataset,
                      const struct dfi_train_config *config, size_t *bytes);
int dfi_trainer_new(struct diffc_model *model, const struct diffc_dataset *dataset,
                    const diffc_trainer_options *options, struct diffc_trainer **trainer);
/* What the model's weights are made for, once an update has changed them. */
void dfi_trainer_name_objective(struct diffc_trainer *trainer);
/* `before`: a failure of this rank's arguments, which the others learn of. */
int dfi_trainer_step(struct diffc_trainer *trainer, int before);
int dfi_trainer_gradients(struct diffc_trainer *trainer, const diffc_binding *inputs, int input_count,
                          const struct diffc_tensor *target, struct diffc_tensor *output, double *loss,
                          int before);
int dfi_trainer_apply(struct diffc_trainer *trainer, int before);
int dfi_trainer_keep_statistics(struct diffc_trainer *trainer);
int dfi_trainer_ema_model(const struct diffc_trainer *trainer, struct diffc_model **model);

/* ranks.c: whether all ranks have the options, weights and kernels of rank 0; and position, weights and
 * optimizer state of rank 0 to all. */
int dfi_ranks_compare(struct diffc_trainer *trainer);
int dfi_ranks_share_state(struct diffc_trainer *trainer);

/* batch.c: samples, their draws, and the input values of the plan. */
struct dfi_batch {
    const struct diffc_dataset *dataset;
    uint64_t seed;
    int evaluates; /* 1: `first` is an index in the data set; 0: a position in the order of `epoch` */
    int64_t epoch, first;
    int count; /* over all ranks */
};
int dfi_batch_load(struct diffc_trainer *trainer, const struct dfi_batch *batch);

/* optimizer.c: passes over the flat arrays in pieces of fixed size. */
int dfi_optimizer_chunks(size_t values);
double dfi_learning_rate(const struct dfi_train_config *config, int64_t step, int64_t updates_per_epoch,
                         int64_t steps);
double dfi_ema_weight(double decay, int64_t updates);
/* Multiplies the gradients by `scale` and takes their norm. DIFFC_OK or ERR_CANCELLED. */
int dfi_optimizer_norm(struct diffc_trainer *trainer, double scale, double *norm);
/* Update number `updates` (from 1) of weights, moments and averages: done as a whole, whoever asks for a
 * cancel. */
void dfi_optimizer_update(struct diffc_trainer *trainer, int64_t updates, double learning_rate, double norm);

/* evaluate.c */
int dfi_trainer_evaluate(struct diffc_trainer *trainer, const struct diffc_dataset *dataset, uint64_t seed,
                         int use_ema, double *loss, double *accuracy);

/* checkpoint.c */
int dfi_trainer_save(const struct diffc_trainer *trainer, const char *directory, int keep);
int dfi_trainer_resume(struct diffc_trainer *trainer, const char *directory, int before);
int dfi_checkpoint_verify(struct diffc_context *context, const char *path, int64_t *step);

#endif
