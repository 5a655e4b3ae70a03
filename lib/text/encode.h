#ifndef DFI_TEXT_ENCODE_H
#define DFI_TEXT_ENCODE_H

#include "text/prepare.h"
#include "text/spiece.h"

/* Options of the current version, checked. */
int dfi_text_options_read(const diffc_text_options *source, diffc_text_options *options);

/* The text in the form that the options ask for; `result` is to be cleared also after a failure. */
int dfi_text_prepare(struct diffc_context *context, const char *text, size_t size,
                     const diffc_text_options *options, struct dfi_bytes *result);

/* Ids without an end-of-sentence of their own, as int32_t in `result`, which is to be cleared. */
int dfi_text_encode(const struct diffc_tokenizer *tokenizer, const char *text, size_t size,
                    const diffc_text_options *options, struct dfi_bytes *result);

/* A prompt of `length` ids; see diffc_tokenizer_prompt(). */
int dfi_text_prompt(const struct diffc_tokenizer *tokenizer, const char *text, size_t size,
                    const diffc_text_options *options, int32_t length, int32_t *ids, int32_t *used,
                    int64_t *dropped);

#endif
