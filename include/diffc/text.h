#ifndef DIFFC_TEXT_H
#define DIFFC_TEXT_H

#include <diffc/archive.h>

DIFFC_BEGIN

/* Text to token ids, as the T5 tokenizer of the DeepFloyd IF family makes them: a SentencePiece unigram model
 * (spiece.model). Texts are UTF-8 of `size` bytes, or up to their NUL with DIFFC_NUL_TERMINATED; of at most
 * limits.text_bytes. A NUL before `size` is a character like any other.
 *
 * Thread safety: a tokenizer does not change, any number of threads may use it at the same time. */

#define DIFFC_NUL_TERMINATED ((size_t)-1)

/* What is done with a text first. */
typedef enum diffc_text_form {
    DIFFC_TEXT_LOWER = 0, /* lower case, without white space around it: what the pipelines do by default */
    DIFFC_TEXT_RAW = 1,   /* nothing */
    DIFFC_TEXT_CLEAN = 2, /* clean_caption of the pipelines: links, markup, file names, sizes, odd signs and
                             such are taken out. Of ftfy, its guesses about encodings and the
                             composition of accents (NFC) are left out. */
    DIFFC_TEXT_FORM_MAX = 2147483647
} diffc_text_form;

typedef struct diffc_text_options {
    size_t struct_size;
    int32_t form;          /* a diffc_text_form */
    int32_t parse_special; /* 1: </s>, <pad>, <unk> and <extra_id_0> to <extra_id_99> typed in the text are
                              those tokens, as with T5Tokenizer; 0: plain text */
    int32_t strict; /* 1: text that is not UTF-8 is refused; 0: each wrong byte is an unknown character */
} diffc_text_options;

#define DIFFC_TEXT_OPTIONS DIFFC_OPTIONS_OF(diffc_text_options)

/* Reads a spiece.model, from a file or from memory (copied). It is checked as a whole: ERR_FORMAT, ERR_LIMIT
 * (limits.tokenizer_pieces, a piece of more than 4096 bytes, a character map of more than 4 MiB, a file of
 * more than 1 GiB), ERR_UNSUPPORTED (BPE, word and character models, byte fallback, no end-of-sentence
 * piece), ERR_ARG, ERR_IO, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_tokenizer_open(diffc_context *context, const char *path, diffc_tokenizer **tokenizer);
DIFFC_API int diffc_tokenizer_open_memory(diffc_context *context, const void *data, size_t size,
                                          diffc_tokenizer **tokenizer);

/* Number of pieces of the model, without the 100 <extra_id_N> that follow them. Since 0.1. */
DIFFC_API int32_t diffc_tokenizer_count(const diffc_tokenizer *tokenizer);

/* A piece by its id: UTF-8 with a NUL behind it; `size` (may be NULL) is its bytes, for pieces that hold a
 * NUL themselves. NULL for an id out of range. Since 0.1. */
DIFFC_API const char *diffc_tokenizer_piece(const diffc_tokenizer *tokenizer, int32_t id, size_t *size);

/* All ids of a text, with the end-of-sentence id behind them (no second one behind a parsed </s>). `count`
 * is how many they are, on success and when `capacity` is too small: then ERR_LIMIT, and `ids` is untouched.
 * ids NULL with capacity 0 asks for the count alone: DIFFC_OK. ERR_ARG, ERR_FORMAT (strict), ERR_LIMIT,
 * ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_tokenizer_encode(const diffc_tokenizer *tokenizer, const char *text, size_t size,
                                     const diffc_text_options *options, int32_t *ids, int64_t capacity,
                                     int64_t *count);

/* A prompt of exactly `length` ids, as text encoders take it: cut so that the end-of-sentence id has room,
 * filled up with the padding id. `used` (may be NULL): ids before the padding; `dropped` (may be NULL): ids
 * that were cut off, which is more than 0 when the prompt was too long. DeepFloyd IF: length 77. ERR_ARG,
 * ERR_FORMAT (strict), ERR_LIMIT, ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_tokenizer_prompt(const diffc_tokenizer *tokenizer, const char *text, size_t size,
                                     const diffc_text_options *options, int32_t length, int32_t *ids,
                                     int32_t *used, int64_t *dropped);

/* What a text becomes before it is tokenised (options->form; wrong bytes stay): `count` bytes and a NUL into
 * `out`, if capacity is more than count; else as with diffc_tokenizer_encode(). Since 0.1. */
DIFFC_API int diffc_text_prepare(diffc_context *context, const char *text, size_t size,
                                 const diffc_text_options *options, char *out, size_t capacity,
                                 size_t *count);

/* A T5 encoder (v1.1 or the first) of a folder in the layout of transformers, such as text_encoder/ of a
 * DeepFloyd IF model: config.json and safetensors, F32, F16, BF16 or mixed, in one file or several. Weights
 * stay in memory as the files have them; results are those of float arithmetic. Release the encoder when all
 * prompts are encoded: the states are small, the encoder is not.
 *
 * Thread safety: one thread at a time. */
typedef struct diffc_text_encoder_options {
    size_t struct_size;
    int32_t length;      /* ids of a prompt, padding included, 1 to 4096; default 77 */
    int32_t batch;       /* prompts of full length that one run has room for, of shorter ones more; a larger
                            one needs more memory and gives no other results; default 2 */
    const char *variant; /* such as "fp16": model.fp16.safetensors; default none */
    int32_t map;         /* 1: map the files instead of reading them; they must not change while in use */
    const char
        *precision; /* fp32 (default); bf16: on CPUs with AVX-512 BF16 linear layers multiply in bfloat16 */
    int32_t finite; /* 1: weights of NaN or infinity are refused; see diffc_archive_options */
} diffc_text_encoder_options;

#define DIFFC_TEXT_ENCODER_OPTIONS DIFFC_OPTIONS_OF(diffc_text_encoder_options)

/* Bytes that an encoder would take, without loading it; and the encoder. ERR_ARG, ERR_IO, ERR_FORMAT,
 * ERR_CONFIG (a setting that makes no sense, a tensor missing or of another shape: named), ERR_UNSUPPORTED
 * (another kind of model, pickled weights), ERR_LIMIT (limits.memory), ERR_NONFINITE (finite), ERR_NOMEM.
 * Since 0.1. */
DIFFC_API int diffc_text_encoder_bytes(diffc_context *context, const char *folder,
                                       const diffc_text_encoder_options *options, int64_t *bytes);
DIFFC_API int diffc_text_encoder_open(diffc_context *context, const char *folder,
                                      const diffc_text_encoder_options *options,
                                      diffc_text_encoder **encoder);

/* Values per token (d_model), and ids of a prompt. Since 0.1. */
DIFFC_API int32_t diffc_text_encoder_width(const diffc_text_encoder *encoder);
DIFFC_API int32_t diffc_text_encoder_length(const diffc_text_encoder *encoder);

/* Text states of `count` prompts: ids [count, length] as diffc_tokenizer_prompt() makes them, of which the
 * first used[i] of each are attended to. `states` is a new F32 tensor [count, length, width], the padding's
 * states included, as the pipelines use them. ERR_ARG (an id out of range is named), ERR_CANCELLED,
 * ERR_NOMEM. Since 0.1. */
DIFFC_API int diffc_text_encoder_run(diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                                     int32_t count, diffc_tensor **states);

/* The same from texts, ended by a NUL each; `dropped` ([count], may be NULL) as in diffc_tokenizer_prompt().
 * "" is the unconditional prompt. Errors of both. Since 0.1. */
DIFFC_API int diffc_text_encode(diffc_text_encoder *encoder, const diffc_tokenizer *tokenizer,
                                const char *const *prompts, int32_t count, const diffc_text_options *options,
                                int64_t *dropped, diffc_tensor **states);

/* Prompt embeddings in a safetensors archive, so that they outlive the encoder: tensors "prompt.0",
 * "prompt.1", ... [length, width], each with its text as the metadata of that name.
 *
 * add: states [length, width] or [1, length, width], F32, F16 or BF16, kept by reference as
 * diffc_archive_add() does. ERR_ARG for another shape and for a text that is there already. find: a view
 * [1, length, width] in the stored dtype, by text; a tensor whose own name is the text is found too. ERR_ARG
 * when there is none, ERR_FORMAT when it has another shape, ERR_NOMEM. prompt: the text at `position` (from
 * 0), NULL past the end. Since 0.1. */
DIFFC_API int diffc_embeddings_add(diffc_archive *archive, const char *prompt, const diffc_tensor *states);
DIFFC_API int diffc_embeddings_find(const diffc_archive *archive, const char *prompt, diffc_tensor **states);
DIFFC_API const char *diffc_embeddings_prompt(const diffc_archive *archive, int position);

DIFFC_END

#endif
