#ifndef DIFFC_MODEL_H
#define DIFFC_MODEL_H

#include <diffc/guidance.h>

DIFFC_BEGIN

/* An architecture with its weights: F32, or, from a folder, as the files have them.
 *   if_unet     UNet2DConditionModel of the DeepFloyd IF family, stages I and II. Inputs: x [N, C, H, W];
 *               t [N], timesteps; text [N or 1, tokens, width], states of the text encoder; class [N], the
 *               noise level, of stage II. Output: out [N, C', H, W].
 *   cs180_unet  the small UNet of the course (CS 180, UC Berkeley). Inputs: x [N, C, H, W]; t [N] with a time
 *               condition, fed as given; class [N, classes], one-hot rows, a zero row for no class.
 *               Output: out [N, C, H, W].
 *   lenet       classifier of LeNet size. Input: x [N, C, H, W]. Outputs: features [N, 84], logits
 *               [N, classes].
 * Thread safety: sessions of one model may run at the same time on different threads, while nobody trains it.
 */

typedef struct diffc_model_options {
    size_t struct_size;
    int32_t image_channels; /* default 1 */
    int32_t image_height;   /* default 28; cs180_unet: divisible by 4, at least 8 */
    int32_t image_width;    /* default: image_height */
    int32_t width;          /* cs180_unet: channels D of the first level, 1 .. 4096; default 64 */
    int32_t classes;        /* default 10 */
    const char *condition;  /* cs180_unet: none (default), time, class (class and time) */
    const char *time_mode;  /* cs180_unet: add (default): f = f + t1; mul: f = f * t1 */
    const char *objective;  /* what it is trained for (recorded): see diffc_trainer_options.objective */
    int32_t train_steps;    /* T: denoisers feed t / T; 0 (default): they feed t as it is (flow) */
    uint64_t seed;          /* of the initial weights, drawn as PyTorch's layers do */
    const char
        *config; /* if_unet: the text of its config.json; when a folder is opened, that of the folder */
    const char *variant; /* of the files in a folder, e.g. fp16; default: those without a variant. Files of
                            another variant are read where the wanted one is missing */
    int32_t map;         /* 1: map the files of a folder instead of reading them; see diffc_archive_options */
    int32_t without_weights; /* 1: only the network: its parameters' names and shapes, and the memory of
                                sessions; nothing else works (ERR_STATE) */
    int32_t finite;          /* 1: weights of NaN or infinity are refused; see diffc_archive_options */
} diffc_model_options;

#define DIFFC_MODEL_OPTIONS DIFFC_OPTIONS_OF(diffc_model_options)

/* A model with fresh weights. ERR_ARG, ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_model_create(diffc_context *context, const char *architecture,
                                 const diffc_model_options *options, diffc_model **model);

/* A model from a folder in the layout of diffusers, with config.json and safetensors in one file or several
 * (or from the unet/ of such a folder), or from one safetensors file, F32, F16, BF16 or F64. The architecture
 * and its settings come from the metadata, or follow from the tensors' names and shapes where there is none
 * (then `options` gives what shapes cannot tell: image size, time_mode, train_steps; it is otherwise
 * ignored). Running statistics that the file lacks are mean 0 and variance 1. A missing or misshapen tensor
 * is ERR_CONFIG and named; further tensors are accepted. ERR_IO, ERR_FORMAT, ... as diffc_archive_open().
 * Since 0.1. */
DIFFC_API int diffc_model_open(diffc_context *context, const char *path, const diffc_model_options *options,
                               diffc_model **model);
DIFFC_API int diffc_model_from_archive(const diffc_archive *archive, const diffc_model_options *options,
                                       diffc_model **model);

/* Writes weights in `dtype` (F32, F16 or BF16; running statistics stay F32) with the metadata that
 * diffc_model_open() reads. Atomic. ERR_ARG, ERR_STATE (without weights) and those of diffc_archive_save().
 * Since 0.1. */
DIFFC_API int diffc_model_save(const diffc_model *model, const char *path, int dtype);

/* if_unet: config.json and the weights in `dtype` (F32, F16, BF16) as a folder that diffusers and
 * diffc_model_open() read; `variant` (may be NULL) goes into the names; files of at most `shard_bytes` bytes
 * of data (0: one file) with an index. The folder is made if need be; each file is written as a whole or not
 * at all. ERR_ARG, ERR_UNSUPPORTED (another architecture), ERR_IO, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_model_save_folder(const diffc_model *model, const char *path, int dtype,
                                      const char *variant, int64_t shard_bytes);

/* Names of tensors that the files had and the network has not, by position; NULL past the end. Since 0.1. */
DIFFC_API const char *diffc_model_unused(const diffc_model *model, int position);

/* The settings in force; fills at most options->struct_size bytes; strings live as long as
 * the model. ERR_ARG. Since 0.1. */
DIFFC_API int diffc_model_describe(const diffc_model *model, const char **architecture,
                                   diffc_model_options *options);

/* Metadata strings that are saved with the model: the value of a key, valid until it is set again, or NULL.
 * set: value NULL removes; keys that the library writes itself (architecture, width, config, ...) are
 * refused. ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API const char *diffc_model_metadata(const diffc_model *model, const char *key);
DIFFC_API int diffc_model_set_metadata(diffc_model *model, const char *key, const char *value);

/* Number of trainable values. Tensors by position: parameters in the order of the network, then running
 * statistics. `tensor` is a view of the model's memory, F32, of a model from a folder in the dtype of
 * its files or, of norms and biases in halves, F32, in the layout of PyTorch (O, I, H, W; transposed
 * convolutions I, O, H, W); writing to it changes the model. The first trainer of a model from a folder makes
 * F32 of its weights, four bytes a value beside diffc_trainer_bytes(): get tensors anew after it. `trainable`
 * (may be NULL) tells parameters from statistics. ERR_ARG (past the end), ERR_STATE (without weights),
 * ERR_NOMEM. Since 0.1. */
DIFFC_API int64_t diffc_model_parameter_count(const diffc_model *model);
DIFFC_API int diffc_model_tensor_count(const diffc_model *model);
DIFFC_API int diffc_model_tensor(const diffc_model *model, int position, const char **name,
                                 diffc_tensor **tensor, int *trainable);

/* How a session or trainer may rearrange sums for speed, by name. All add up in float32, and each gives the
 * same bits for any number of threads. Rounding errors of a convolution against the plain sum of its products
 * in float32:
 *   default   about twice as large (Winograd's filtering on tiles of 4 x 4 pixels)
 *   exact     no larger (plain sums, or tiles of 2 x 2)
 *   fast      about 20 times as large: 1e-5 of the output's rms (tiles of 7 x 7)
 *
 * How the values between layers, and in training their gradients, are stored:
 *   fp32      in float32
 *   bf16      in bfloat16 (8 significant bits, rounded to nearest) where convolutions, norms over the batch,
 *             activations and sums follow each other: half the memory. On CPUs with AVX-512 BF16 convolutions
 *             also multiply in bfloat16, with errors of 0.4 % (exact: tiles of 2 x 2) or 1.2 % (default and
 *             fast: tiles of 4 x 4) of the output's rms. Inputs, outputs, weights, sums and statistics stay
 *             float32. Models in float64 have no bf16. */

/* A model planned for a batch: all memory that a run needs is allocated here, and running allocates nothing.
 * Thread safety: one thread at a time. */
typedef struct diffc_session_options {
    size_t struct_size;
    int32_t batch;         /* largest N, 1 .. limits.batch, default 1 */
    int32_t conditions;    /* most queries that share one x, 1 .. 64, default 2; work that does not depend on
                              the condition is done once for all of them; the same bits for any number */
    int32_t training;      /* 1: batch norm uses the statistics of the batch (and does not record them) */
    int32_t image_height;  /* if_unet: multiples of 2^(levels - 1), at most 16384; default: sample_size */
    int32_t image_width;   /* default: image_height, or sample_size */
    int32_t text_tokens;   /* if_unet: tokens of every prompt, at most 4096; default 77 */
    const char *numerics;  /* default (NULL), exact, fast: see above */
    int64_t memory;        /* most bytes of the plan (ERR_LIMIT beyond), at most limits.memory; default: that
                              without the weights. With less than it would like a session packs weights in
                              every run instead of once, then computes conditions one after another: slower,
                              the same bits. Where not even one sample fits into a `memory` that is given,
                              convolutions take smaller tiles or none */
    const char *precision; /* fp32 (NULL), bf16: see above */
} diffc_session_options;

#define DIFFC_SESSION_OPTIONS DIFFC_OPTIONS_OF(diffc_session_options)

/* Bytes a session would take (session may be NULL), and the session. Weights are packed when it is made: a
 * session need not see later changes of the model until diffc_session_refresh(), which forgets the texts that
 * were set: they were computed with the earlier weights. ERR_ARG, ERR_LIMIT (the message
 * says the smallest memory that works), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_session_bytes(const diffc_model *model, const diffc_session_options *options,
                                  int64_t *bytes);
DIFFC_API int diffc_session_create(diffc_model *model, const diffc_session_options *options,
                                   diffc_session **session);
DIFFC_API int diffc_session_refresh(diffc_session *session);

/* One run of the network: named inputs and outputs (see the list of architectures), any float dtype and
 * strides, N <= batch the same in all; inputs that the model does not have are refused, inputs left out are
 * zeros, but an if_unet needs all of them. ERR_ARG, ERR_CONFIG, ERR_CANCELLED. Since 0.1. */
typedef struct diffc_binding {
    const char *name;
    diffc_tensor *tensor;
} diffc_binding;

DIFFC_API int diffc_session_run(diffc_session *session, const diffc_binding *inputs, int input_count,
                                const diffc_binding *outputs, int output_count);

/* The class labels of condition 0, one per sample (each in 0 .. classes - 1, or DIFFC_UNCONDITIONAL); copied.
 * Before the first call every sample is unconditional. if_unet with class_embed_type: noise levels of all
 * conditions, 0 .. 1000000, at least one; the last one holds for the samples behind. Else samples behind
 * `count` are unconditional, and it may be 0. ERR_ARG, ERR_CONFIG. Since 0.1. */
DIFFC_API int diffc_session_set_labels(diffc_session *session, const int32_t *labels, int count);

/* if_unet: the text states [1 or N, tokens, width] of a condition, any float dtype and strides, one for all
 * samples or one per sample; `condition` is a number of the caller's, DIFFC_UNCONDITIONAL for the empty or
 * negative prompt. What the network makes of the text alone is computed here, once for all steps; text is not
 * kept. Replaces an earlier text of that condition; a session holds 1024. ERR_ARG, ERR_CONFIG (a model
 * without text), ERR_LIMIT, ERR_NOMEM, ERR_CANCELLED. Since 0.1. */
DIFFC_API int diffc_session_set_text(diffc_session *session, int32_t condition, const diffc_tensor *text);

/* if_unet: what the denoiser feeds behind the channels of x, [1 or N, C - x's, H, W], any float dtype and
 * strides (super-resolution: the enlarged picture of the stage before); copied. NULL: nothing, x has all
 * channels. ERR_ARG, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_session_set_image(diffc_session *session, const diffc_tensor *image);

/* The session as a denoiser for samplers and guides: fills denoiser->struct_size bytes (initialise with
 * DIFFC_DENOISER), which borrow the session. t is fed as t / train_steps, or as it is when train_steps is 0
 * and to an if_unet. ERR_ARG, ERR_CONFIG (a classifier). Since 0.1. */
DIFFC_API int diffc_session_denoiser(diffc_session *session, diffc_denoiser *denoiser);

DIFFC_END

#endif
