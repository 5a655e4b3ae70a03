#ifndef DIFFC_MODEL_H
#define DIFFC_MODEL_H

#include <diffc/guidance.h>

DIFFC_BEGIN

/* An architecture with its weights (F32 while loaded).
 *   cs180_unet  the course's small UNet. Inputs x [N, C, H, W]; t [N] with a time condition, fed as given;
 * class [N, classes] one-hot rows, a zero row for no class. Output out [N, C, H, W]. lenet       classifier
 * of LeNet size. Input x [N, C, H, W]; outputs features [N, 84], logits [N, classes]. Thread safety: sessions
 * of one model may run at the same time on different threads, while nobody trains it. */

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
} diffc_model_options;

#define DIFFC_MODEL_OPTIONS DIFFC_OPTIONS_OF(diffc_model_options)

/* A model with fresh weights. ERR_ARG, ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_model_create(diffc_context *context, const char *architecture,
                                 const diffc_model_options *options, diffc_model **model);

/* A model from a safetensors file, F32, F16, BF16 or F64. The architecture and its settings come from the
 * metadata, or follow from the tensors' names and shapes where there is none (then `options` gives what
 * shapes cannot tell: image size, time_mode, train_steps; it is otherwise ignored). Running statistics that
 * the file lacks are mean 0 and variance 1. A missing or misshapen tensor is ERR_CONFIG and named; further
 * tensors are accepted. ERR_IO, ERR_FORMAT, ... as diffc_archive_open(). Since 0.1. */
DIFFC_API int diffc_model_open(diffc_context *context, const char *path, const diffc_model_options *options,
                               diffc_model **model);
DIFFC_API int diffc_model_from_archive(const diffc_archive *archive, const diffc_model_options *options,
                                       diffc_model **model);

/* Writes weights in `dtype` (F32, F16 or BF16; running statistics stay F32) with the metadata that
 * diffc_model_open() reads. Atomic, as diffc_archive_save(). Since 0.1. */
DIFFC_API int diffc_model_save(const diffc_model *model, const char *path, int dtype);

/* The settings in force; fills at most options->struct_size bytes; strings are static. Since 0.1. */
DIFFC_API int diffc_model_describe(const diffc_model *model, const char **architecture,
                                   diffc_model_options *options);

/* Metadata strings that are saved with the model: the value of a key, or NULL. set: value NULL removes. Since
 * 0.1. */
DIFFC_API const char *diffc_model_metadata(const diffc_model *model, const char *key);
DIFFC_API int diffc_model_set_metadata(diffc_model *model, const char *key, const char *value);

/* Number of trainable values. Tensors by position: parameters in the order of the network, then running
 * statistics. `tensor` is a view of the model's memory in the layout of PyTorch (O, I, H, W; transposed
 * convolutions I, O, H, W); writing to it changes the model. `trainable` (may be NULL) tells parameters from
 * statistics. Past the end: ERR_ARG. Since 0.1. */
DIFFC_API int64_t diffc_model_parameter_count(const diffc_model *model);
DIFFC_API int diffc_model_tensor_count(const diffc_model *model);
DIFFC_API int diffc_model_tensor(const diffc_model *model, int position, const char **name,
                                 diffc_tensor **tensor, int *trainable);

/* A model planned for a batch: all memory that a run needs is allocated here, and running allocates nothing.
 * Thread safety: one thread at a time. */
typedef struct diffc_session_options {
    size_t struct_size;
    int32_t batch;      /* largest N, default 1 */
    int32_t conditions; /* most queries that share one x, default 2; work that does not depend on the
                           condition is done once for all of them */
    int32_t training;   /* 1: batch norm uses the statistics of the batch (and does not record them) */
} diffc_session_options;

#define DIFFC_SESSION_OPTIONS DIFFC_OPTIONS_OF(diffc_session_options)

/* Bytes a session would take (session may be NULL), and the session. Weights are packed when it is made: a
 * session does not see later changes of the model until diffc_session_refresh(). ERR_ARG, ERR_LIMIT (the
 * message says the bytes), ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_session_bytes(const diffc_model *model, const diffc_session_options *options,
                                  int64_t *bytes);
DIFFC_API int diffc_session_create(diffc_model *model, const diffc_session_options *options,
                                   diffc_session **session);
DIFFC_API int diffc_session_refresh(diffc_session *session);

/* One run of the network: named inputs and outputs (see the list of architectures), any float dtype and
 * strides, N <= batch the same in all; inputs that the model does not have are refused, inputs left out are
 * zeros. ERR_ARG, ERR_CONFIG, ERR_CANCELLED. Since 0.1. */
typedef struct diffc_binding {
    const char *name;
    diffc_tensor *tensor;
} diffc_binding;

DIFFC_API int diffc_session_run(diffc_session *session, const diffc_binding *inputs, int input_count,
                                const diffc_binding *outputs, int output_count);

/* The class labels of condition 0, one per sample (each in 0 .. classes - 1, or DIFFC_UNCONDITIONAL); copied.
 * Before the first call every sample is unconditional. ERR_ARG. Since 0.1. */
DIFFC_API int diffc_session_set_labels(diffc_session *session, const int32_t *labels, int count);

/* The session as a denoiser for samplers and guides; `denoiser` is filled in and borrows the session. t is
 * fed as t / train_steps, or as it is when train_steps is 0. Since 0.1. */
DIFFC_API int diffc_session_denoiser(diffc_session *session, diffc_denoiser *denoiser);

DIFFC_END

#endif
