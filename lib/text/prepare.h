#ifndef DFI_TEXT_PREPARE_H
#define DFI_TEXT_PREPARE_H

#include "base/context.h"

/* Bytes that grow, of the context's allocator, up to a limit. The first failure sticks. */
struct dfi_bytes {
    struct diffc_context *context;
    unsigned char *data;
    size_t size, capacity, limit;
    int status;
};
void dfi_bytes_put(struct dfi_bytes *bytes, const void *data, size_t size);
void dfi_bytes_put_character(struct dfi_bytes *bytes, uint32_t character);
void dfi_bytes_clear(struct dfi_bytes *bytes);

/* Unicode properties, as Python has them. */
uint32_t dfi_character_lower(uint32_t character); /* of one character alone */
int dfi_character_is_space(uint32_t character);
int dfi_character_is_word(uint32_t character);    /* \w of re */
int dfi_character_is_digit(uint32_t character);   /* \d */
uint32_t dfi_character_width(uint32_t character); /* a full-width or half-width form: the usual one */

/* What the pipelines do with a prompt: text.lower().strip() of Python. Bytes that are not UTF-8 stay. */
int dfi_text_lower(struct diffc_context *context, const unsigned char *text, size_t size,
                   struct dfi_bytes *result);

/* What the pipelines do with clean_caption: _clean_caption() of diffusers twice. Of ftfy.fix_text()
 * what concerns single characters (curled quotes, ligatures, full-width forms); it guesses no encodings and
 * composes no accents. Of HTML the references that HTML 4 names. */
int dfi_text_clean(struct diffc_context *context, const unsigned char *text, size_t size,
                   struct dfi_bytes *result);

/* markup.c: `text` and `result` hold characters (uint32_t). Text of HTML without tags and comments, with
 * references replaced; references alone; and %XX with + for a blank, from bytes to characters. */
int dfi_markup_strip(const struct dfi_bytes *text, struct dfi_bytes *result);
int dfi_markup_unescape(const struct dfi_bytes *text, struct dfi_bytes *result);
int dfi_markup_unquote(const unsigned char *text, size_t size, struct dfi_bytes *result);

/* ERR_FORMAT with the offset of the first byte that is not UTF-8. */
int dfi_text_check(const unsigned char *text, size_t size);

#endif
