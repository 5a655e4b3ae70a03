#ifndef DIFFC_TRAIN_H
#define DIFFC_TRAIN_H

#include <diffc/communicator.h>

DIFFC_BEGIN

/* Samples to train on: images [C, H, W] and, if there are any, labels. Immutable; any thread may read. */

/* From tensors: `images` [N, C, H, W] or [N, H, W], U8 (used as value / 255) or F32; `labels` [N], U8, I32 or
 * I64, or NULL. Kept, not copied. ERR_ARG, ERR_CONFIG (counts differ), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_dataset_create(const diffc_tensor *images, const diffc_tensor *labels,
                                   diffc_dataset **dataset);

/* From a pair of IDX files (labels_path may be NULL), plain or gzipped. ERR_ARG, ERR_CONFIG (counts differ),
 * ERR_FORMAT, ERR_LIMIT (idx_bytes, image_bytes) and those of diffc_idx_read(). Since 0.1. */
DIFFC_API int diffc_dataset_open_idx(diffc_context *context, const char *images_path, const char *labels_path,
                                     diffc_dataset **dataset);

/* From a function: writes sample `index` as floats [C, H, W], by custom in [0, 1], and its label (0 if there
 * is none; the set counts as labelled). Must give the same sample for the same index; called from the
 * training thread. A status other than 0 ends the training call: with it if it is negative, else with
 * ERR_ARG; diffc_fail() gives the reason a text. The caller keeps `opaque` alive until the data set is
 * released. ERR_ARG, ERR_LIMIT (image_bytes), ERR_NOMEM. Since 0.1. */
typedef int (*diffc_dataset_fn)(void *opaque, int64_t index, float *image, int32_t *label);
DIFFC_API int diffc_dataset_from_function(diffc_context *context, int64_t count, int channels, int height,
                                          int width, diffc_dataset_fn read, void *opaque,
                                          diffc_dataset **dataset);

/* Number of samples; 0 for NULL. Since 0.1. */
DIFFC_API int64_t diffc_dataset_count(const diffc_dataset *dataset);

/* Sample `index`: `image` an F32 [C, H, W] tensor to fill (may be NULL), `label` (may be NULL; -1 if the set
 * has none). ERR_ARG, ERR_NOMEM, and what a function returns. Since 0.1. */
DIFFC_API int diffc_dataset_sample(const diffc_dataset *dataset, int64_t index, diffc_tensor *image,
                                   int32_t *label);

/* Objectives (x the image, e ~ N(0, I)):
 *   denoise   input x + sigma e, target x                                  mean squared error
 *   noise     input e, target x (one step from pure noise)
 *   ddpm      input x_t, target e, t uniform on 0 .. T-1, fed as t / T     (Ho et al. 2020)
 *   flow      input (1-t) e + t x, target x - e, t uniform on [0, 1)       (Lipman et al. 2023)
 *   classify  input x, target the label                                    cross entropy
 * A class-conditioned model gets the one-hot label, replaced by zeros with probability class_dropout.
 * Every draw is a function of (seed, step or epoch, sample): same bits for any number of threads, and after a
 * resume. Sums over the batch are taken in 8 fixed lanes added in a fixed tree. */
typedef struct diffc_trainer_options {
    size_t struct_size;
    const char *objective;          /* default: the model's own */
    const diffc_schedule *schedule; /* ddpm: default linear, T of the model, beta 1e-4 .. 0.02 */
    double sigma;                   /* denoise: > 0, default 0.5 */
    double class_dropout;           /* [0, 1], default 0.1; below 0: none */
    int32_t batch;                  /* default 128; the last batch of an epoch is what remains */
    int32_t accumulate;             /* batches whose gradients are averaged for one update, default 1 */
    int32_t epochs;                 /* length of the run and of the learning-rate decay, default 1 */
    uint64_t seed;
    const char *optimizer;        /* adam (default), adamw */
    double learning_rate;         /* default 1e-3 */
    double beta1, beta2, epsilon; /* default 0.9, 0.999, 1e-8 */
    double weight_decay;          /* default 0; adam adds it to the gradient, adamw decouples it */
    const char *decay;            /* none (default), exponential: times decay_factor^(1/epochs) after each
                                     epoch, cosine: to learning_rate * decay_factor along a half cosine, per step */
    double decay_factor;          /* default 0.1 (exponential), 0 (cosine) */
    double clip_norm;             /* largest gradient norm; 0: not clipped (default) */
    double ema_decay;             /* [0, 1), 0: no EMA (default); warm-up min(decay, (1 + n) / (10 + n)) */
    const char *nonfinite;        /* on NaN or infinity in loss or gradient: stop (default), skip */
    const diffc_communicator *communicator; /* ranks that share the work, copied; default: alone */
    const char *numerics;                   /* default, exact, fast: see diffc_session_options */
    const char *precision; /* fp32 (default), bf16: see diffc_session_options. Weights, moments and
                              gradients of weights are float32 either way */
    int64_t memory; /* most bytes of diffc_trainer_bytes() (ERR_LIMIT beyond), at most limits.memory, which is
                       the default. With less than it would like a trainer packs weights in every run instead
                       of once for all; then its convolutions take smaller tiles, then none. The choice is
                       made for the whole batch and for 8 threads: the same bits for any number of threads and
                       ranks */
} diffc_trainer_options;

#define DIFFC_TRAINER_OPTIONS DIFFC_OPTIONS_OF(diffc_trainer_options)

/* Several ranks: with a communicator of 1, 2, 4 or 8 ranks each one does its part of every batch, rank r of P
 * the samples from floor(N r / P) on, and the bits are those of one process, for any number of threads each.
 * All ranks must have the same options, data, weights and kernels (use cpu_mask where CPUs differ), and make
 * the same calls of diffc_trainer_create(), _step(), _gradients(), _apply(), _evaluate() and _resume() in the
 * same order; these wait for each other. What fails on one rank (a cancel too) fails on all of them, with
 * nothing changed; those that are well name the rank that is not. When a rank is lost, the others get the
 * status of the exchange that failed, and their trainers are of no further use: end them, start again, and
 * resume, with as many ranks as there are then. */

/* Bytes a trainer would take beyond the model (peak), and the trainer. It keeps model and dataset, and
 * changes the model's weights in place. ERR_ARG, ERR_CONFIG (model, objective and data do not fit; the number
 * of ranks does not divide the 8 lanes; ranks differ in options, weights or kernels: the message says where),
 * ERR_UNSUPPORTED (an if_unet with dropout), ERR_LIMIT (the message says the smallest memory that works),
 * ERR_NOMEM. Since 0.1.
 */
DIFFC_API int diffc_trainer_bytes(const diffc_model *model, const diffc_dataset *dataset,
                                  const diffc_trainer_options *options, int64_t *bytes);
DIFFC_API int diffc_trainer_create(diffc_model *model, const diffc_dataset *dataset,
                                   const diffc_trainer_options *options, diffc_trainer **trainer);

/* Where a run stands, after an update. */
typedef struct diffc_train_report {
    size_t struct_size;
    int64_t step;         /* updates behind, those that were skipped among them */
    int64_t steps;        /* updates of the whole run: epochs * ceil(batches of an epoch / accumulate) */
    int32_t epoch;        /* epochs completed */
    double loss;          /* mean over the last batch */
    double learning_rate; /* that the last update used */
    double gradient_norm; /* before clipping */
    int64_t skipped;      /* updates left out because of NaN or infinity */
} diffc_train_report;

#define DIFFC_TRAIN_REPORT DIFFC_OPTIONS_OF(diffc_train_report)

/* Makes one update, of `accumulate` batches or what remains of the epoch; at the end of the run ERR_STATE.
 * ERR_NONFINITE (policy stop; nothing was changed), ERR_CANCELLED (nothing was changed: the step can be
 * repeated; a cancel that comes while the weights are written is for the next call), ERR_FORMAT (a label that
 * the model has no class for; names the sample), ERR_UNSUPPORTED (an if_unet: data sets have no text), and
 * what the dataset returns. `report` may be NULL. Since 0.1. */
DIFFC_API int diffc_trainer_step(diffc_trainer *trainer, diffc_train_report *report);

/* Where the run stands. Since 0.1. */
DIFFC_API int diffc_trainer_report(const diffc_trainer *trainer, diffc_train_report *report);

/* The parts of a step, for those who bring their own batches: forward and backward in training mode with the
 * mean squared error against `target`, or the cross entropy against the one-hot or soft rows of `target` for
 * a classifier. `inputs` as diffc_session_run(), those left out are zeros; `output` (may be NULL) receives
 * the network's output, `loss` (may be NULL) the loss. Then gradients can be read and changed,
 * diffc_trainer_apply() makes one update with them, also past the end of the run, and
 * diffc_trainer_keep_statistics() moves the running statistics (apply does that too, once in all); both are
 * ERR_STATE without a batch since the last time. N <= batch. With several ranks each one brings its part, at
 * least one sample, and the loss is that of the whole; changes of the gradients must be the same on all.
 * ERR_ARG, ERR_CANCELLED, ERR_NONFINITE. Since 0.1. */
struct diffc_binding;
DIFFC_API int diffc_trainer_gradients(diffc_trainer *trainer, const struct diffc_binding *inputs,
                                      int input_count, const diffc_tensor *target, diffc_tensor *output,
                                      double *loss);
DIFFC_API int diffc_trainer_apply(diffc_trainer *trainer, diffc_train_report *report);
DIFFC_API int diffc_trainer_keep_statistics(diffc_trainer *trainer);

/* Gradient of the parameter at `position` (as diffc_model_tensor()), a view of the trainer's memory. Since
 * 0.1. */
DIFFC_API int diffc_trainer_gradient(const diffc_trainer *trainer, int position, diffc_tensor **gradient);

/* Mean loss (may be NULL) over a whole data set in evaluation mode, with one seeded draw of (t, e) per
 * sample; for classify also the share of right answers in `accuracy` (may be NULL; left as it is for other
 * objectives). Classes are not dropped. `use_ema` 1: with the EMA weights. The result does not depend on the
 * batch. ERR_CONFIG, ERR_FORMAT, ERR_UNSUPPORTED (an if_unet), ERR_STATE (EMA is off), ERR_CANCELLED. Since
 * 0.1. */
DIFFC_API int diffc_trainer_evaluate(diffc_trainer *trainer, const diffc_dataset *dataset, uint64_t seed,
                                     int use_ema, double *loss, double *accuracy);

/* A copy of the model with the EMA weights and averaged running statistics. ERR_STATE when EMA is off. Since
 * 0.1. */
DIFFC_API int diffc_trainer_ema_model(const diffc_trainer *trainer, diffc_model **model);

/* Checkpoints: one safetensors file `ckpt-STEP.safetensors` in `directory` (made if missing) with weights,
 * statistics, EMA, moments and a checksum per tensor. Written to a temporary file, synced, renamed, the
 * directory synced; only then are all but the newest `keep` (>= 1) removed, the one just written always
 * being kept. Any failure leaves the earlier ones untouched. The directory's .lock is held during the save:
 * ERR_BUSY when another one is under way there. The file can be opened as a model, too. Of several ranks,
 * rank 0 writes; on the others the call does nothing, and it waits for nobody. ERR_ARG, ERR_IO, ERR_LIMIT,
 * ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_trainer_save(const diffc_trainer *trainer, const char *directory, int keep);

/* Continues from the newest checkpoint of `directory` that verifies, older ones in turn (logged); the run
 * goes on as if it had not stopped, to the bit (a warning is logged where other kernels run than those it was
 * made with). The options must be those it was made with, and `memory` must allow the same tiles (0: all, 1:
 * small ones, 2: none), config.json the same text; the number of ranks may differ; rank 0 reads and the
 * others get it from there. On failure nothing was changed. Removes what killed saves have left; needs memory
 * for the whole file. ERR_ARG when there is none, ERR_CONFIG (the message names the setting), ERR_CHECKSUM,
 * ERR_FORMAT, ERR_TRUNCATED, ERR_VERSION, ERR_IO, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_trainer_resume(diffc_trainer *trainer, const char *directory);

/* Verifies one checkpoint file: format, checksums, version, and that a name of the form ckpt-STEP agrees.
 * `step` (may be NULL) receives its step. ERR_ARG, ERR_CHECKSUM, ERR_FORMAT, ERR_TRUNCATED, ERR_VERSION,
 * ERR_IO, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_checkpoint_verify(diffc_context *context, const char *path, int64_t *step);

DIFFC_END

#endif
