#include "text/encode.h"

#include <string.h>

#define EXTRA_IDS 100 /* sentinels that T5Tokenizer puts behind the pieces, the last one first */

int dfi_text_options_read(const diffc_text_options *source, diffc_text_options *options)
{
    DFI_TRY(dfi_options_read(options, sizeof(*options), source, "text_options"));
    if (options->form < DIFFC_TEXT_LOWER || options->form > DIFFC_TEXT_CLEAN)
        return dfi_fail(DIFFC_ERR_ARG, "text_options.form is %d, must be a diffc_text_form", options->form);
    return DIFFC_OK;
}

int dfi_text_prepare(struct diffc_context *context, const char *text, size_t size,
                     const diffc_text_options *options, struct dfi_bytes *result)
{
    const unsigned char *const bytes = (const unsigned char *)text;
    if (size == DIFFC_NUL_TERMINATED)
        size = strlen(text);
    *result = (struct dfi_bytes) { .context = context, .limit = size };
    if (size > (size_t)context->limits.text_bytes)
        return dfi_fail(DIFFC_ERR_LIMIT, "text of %zu bytes, more than limits.text_bytes = %lld", size,
                        (long long)context->limits.text_bytes);
    if (options->strict)
        DFI_TRY(dfi_text_check(bytes, size));
    if (options->form == DIFFC_TEXT_LOWER)
        return dfi_text_lower(context, bytes, size, result);
    if (options->form == DIFFC_TEXT_CLEAN)
        return dfi_text_clean(context, bytes, size, result);
    dfi_bytes_put(result, bytes, size);
    return result->status;
}

static void put_id(struct dfi_bytes *ids, int32_t id)
{
    dfi_bytes_put(ids, &id, sizeof(id));
}

static int encode_plain(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                        struct dfi_bytes *result)
{
    struct diffc_context *context = tokenizer->object.context;
    unsigned char *normalized = NULL;
    size_t normalized_size = 0, count = 0;
    DFI_TRY(dfi_normalize(tokenizer, text, size, &normalized, &normalized_size));
    int32_t *ids = dfi_calloc(context, normalized_size, sizeof(*ids));
    int status = ids ? dfi_segment(tokenizer, normalized, normalized_size, ids, NULL, &count)
                     : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK) {
        dfi_bytes_put(result, ids, count * sizeof(*ids));
        status = result->status;
    }
    dfi_free(context, ids);
    dfi_free(context, normalized);
    return status;
}

/* <extra_id_N> with N from 0 to 99, written as Python writes it. */
static size_t match_extra(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                          int32_t *id)
{
    static const char prefix[] = "<extra_id_";
    size_t at = sizeof(prefix) - 1;
    int number = 0, digits = 0;
    if (size <= at || memcmp(text, prefix, at) != 0)
        return 0;
    for (; at < size && text[at] >= '0' && text[at] <= '9' && digits < 2; at++, digits++)
        number = 10 * number + (text[at] - '0');
    if (digits == 0 || at == size || text[at] != '>' || (digits == 2 && number < 10))
        return 0;
    *id = tokenizer->count + EXTRA_IDS - 1 - number;
    return at + 1;
}

/* A special token at the start of `text`: its bytes, or 0. */
static size_t match_special(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                            int32_t *id)
{
    static const char *const names[] = { "</s>", "<pad>", "<unk>" };
    for (int i = 0; i < DFI_COUNT(names); i++) {
        const size_t length = strlen(names[i]);
        if (size < length || memcmp(text, names[i], length) != 0)
            continue;
        *id = i == 0 ? tokenizer->eos : i == 1 ? tokenizer->pad : tokenizer->unk;
        return length;
    }
    return match_extra(tokenizer, text, size, id);
}

static int encode_special(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                          struct dfi_bytes *result)
{
    size_t start = 0;
    for (size_t at = 0; at < size;) {
        int32_t id;
        const size_t length = text[at] == '<' ? match_special(tokenizer, text + at, size - at, &id) : 0;
        if (!length) {
            at++;
            continue;
        }
        DFI_TRY(encode_plain(tokenizer, text + start, at - start, result));
        put_id(result, id);
        start = at += length;
    }
    DFI_TRY(encode_plain(tokenizer, text + start, size - start, result));
    return result->status;
}

int dfi_text_encode(const struct diffc_tokenizer *tokenizer, const char *text, size_t size,
                    const diffc_text_options *options, struct dfi_bytes *result)
{
    struct diffc_context *context = tokenizer->object.context;
    struct dfi_bytes prepared;
    int status = dfi_text_prepare(context, text, size, options, &prepared);
    *result = (struct dfi_bytes) { .context = context, .limit = PTRDIFF_MAX };
    if (status == DIFFC_OK)
        status = (options->parse_special ? encode_special : encode_plain)(
            tokenizer, prepared.data ? prepared.data : (const unsigned char *)"", prepared.size, result);
    dfi_bytes_clear(&prepared);
    return status;
}

/* T5Tokenizer adds an end-of-sentence only where the text does not bring its own. */
int dfi_text_prompt(const struct diffc_tokenizer *tokenizer, const char *text, size_t size,
                    const diffc_text_options *options, int32_t length, int32_t *ids, int32_t *used,
                    int64_t *dropped)
{
    struct dfi_bytes found;
    const int status = dfi_text_encode(tokenizer, text, size, options, &found);
    if (status == DIFFC_OK) {
        const size_t count = found.size / sizeof(*ids), room = (size_t)length - 1;
        size_t kept = count < room ? count : room;
        if (kept)
            memcpy(ids, found.data, kept * sizeof(*ids));
        if (kept == 0 || ids[kept - 1] != tokenizer->eos)
            ids[kept++] = tokenizer->eos;
        for (size_t i = kept; i < (size_t)length; i++)
            ids[i] = tokenizer->pad;
        if (used)
            *used = (int32_t)kept;
        if (dropped)
            *dropped = (int64_t)(count > room ? count - room : 0);
    }
    dfi_bytes_clear(&found);
    return status;
}
