#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model/t5.h"
#include "text/encode.h"

static int read_options(const diffc_text_encoder_options *source, struct dfi_text_encoder_config *config)
{
    diffc_text_encoder_options options;
    DFI_TRY(dfi_options_read(&options, sizeof(options), source, "text_encoder_options"));
    config->length = options.length ? options.length : 77;
    config->batch = options.batch ? options.batch : 2;
    config->variant = options.variant;
    config->map = options.map != 0;
    config->finite = options.finite != 0;
    if (config->length < 1 || config->length > 4096)
        return dfi_fail(DIFFC_ERR_ARG, "text_encoder_options.length is %d, must be 1 to 4096",
                        config->length);
    if (config->batch < 1)
        return dfi_fail(DIFFC_ERR_ARG, "text_encoder_options.batch is %d, must be at least 1", config->batch);
    return dfi_precision_find(options.precision, &config->precision);
}

int diffc_text_encoder_bytes(diffc_context *context, const char *folder,
                             const diffc_text_encoder_options *options, int64_t *bytes)
{
    struct dfi_text_encoder_config config;
    uint64_t total = 0;
    DFI_REQUIRE(context);
    DFI_REQUIRE(folder);
    DFI_REQUIRE(bytes);
    DFI_TRY(read_options(options, &config));
    DFI_TRY(dfi_text_encoder_bytes(context, folder, &config, &total));
    *bytes = total > INT64_MAX ? INT64_MAX : (int64_t)total;
    return DIFFC_OK;
}

int diffc_text_encoder_open(diffc_context *context, const char *folder,
                            const diffc_text_encoder_options *options, diffc_text_encoder **encoder)
{
    struct dfi_text_encoder_config config;
    DFI_REQUIRE(context);
    DFI_REQUIRE(folder);
    DFI_REQUIRE(encoder);
    DFI_TRY(read_options(options, &config));
    return dfi_text_encoder_open(context, folder, &config, encoder);
}

int32_t diffc_text_encoder_width(const diffc_text_encoder *encoder)
{
    return encoder ? encoder->config.d_model : 0;
}

int32_t diffc_text_encoder_length(const diffc_text_encoder *encoder)
{
    return encoder ? encoder->length : 0;
}

static int check_count(int32_t count)
{
    if (count < 1)
        return dfi_fail(DIFFC_ERR_ARG, "count is %d, must be at least 1", (int)count);
    return DIFFC_OK;
}

int diffc_text_encoder_run(diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                           int32_t count, diffc_tensor **states)
{
    struct diffc_tensor *made = NULL;
    DFI_REQUIRE(encoder);
    DFI_REQUIRE(ids);
    DFI_REQUIRE(used);
    DFI_REQUIRE(states);
    DFI_TRY(check_count(count));
    const int64_t shape[3] = { count, encoder->length, encoder->config.d_model };
    DFI_TRY(dfi_tensor_create(encoder->object.context, DIFFC_F32, 3, shape, &made));
    const int status = dfi_text_encoder_run(encoder, ids, used, count, made->data);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *states = made;
    return DIFFC_OK;
}

/* Tokenises all prompts; `used` and `cut` have room for `count`. */
static int tokenize(const struct diffc_text_encoder *encoder, const struct diffc_tokenizer *tokenizer,
                    const char *const *prompts, int32_t count, const diffc_text_options *options,
                    int32_t *ids, int32_t *used, int64_t *cut)
{
    for (int32_t i = 0; i < count; i++) {
        if (!prompts[i])
            return dfi_fail(DIFFC_ERR_ARG, "prompt %d is NULL", (int)i);
        const int status = dfi_text_prompt(tokenizer, prompts[i], DIFFC_NUL_TERMINATED, options,
                                           encoder->length, ids + (int64_t)i * encoder->length, &used[i],
                                           &cut[i]);
        if (status < 0)
            return dfi_fail_in(status, "prompt %d", (int)i);
    }
    return DIFFC_OK;
}

int diffc_text_encode(diffc_text_encoder *encoder, const diffc_tokenizer *tokenizer,
                      const char *const *prompts, int32_t count, const diffc_text_options *options,
                      int64_t *dropped, diffc_tensor **states)
{
    diffc_text_options own;
    DFI_REQUIRE(encoder);
    DFI_REQUIRE(tokenizer);
    DFI_REQUIRE(prompts);
    DFI_REQUIRE(states);
    DFI_TRY(check_count(count));
    DFI_TRY(dfi_text_options_read(options, &own));
    struct diffc_context *context = encoder->object.context;
    const size_t prompt_ids = (size_t)count * (size_t)encoder->length;
    int32_t *ids = dfi_calloc(context, prompt_ids, sizeof(*ids));
    int32_t *used = dfi_calloc(context, (size_t)count, sizeof(*used));
    int64_t *cut = dfi_calloc(context, (size_t)count, sizeof(*cut));
    int status = ids && used && cut ? DIFFC_OK : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK)
        status = tokenize(encoder, tokenizer, prompts, count, &own, ids, used, cut);
    if (status == DIFFC_OK)
        status = diffc_text_encoder_run(encoder, ids, used, count, states);
    if (status == DIFFC_OK && dropped)
        memcpy(dropped, cut, (size_t)count * sizeof(*cut));
    dfi_free(context, ids);
    dfi_free(context, used);
    dfi_free(context, cut);
    return status;
}

/* Prompt embeddings. */

static const char *entry_name(int position, char name[32])
{
    (void)snprintf(name, 32, "prompt.%d", position);
    return name;
}

const char *diffc_embeddings_prompt(const diffc_archive *archive, int position)
{
    char name[32];
    return archive && position >= 0 ? dfi_archive_metadata(archive, entry_name(position, name)) : NULL;
}

/* Position of a text, or of the end with -1 - position. */
static int find_prompt(const diffc_archive *archive, const char *prompt)
{
    const char *text;
    int i;
    for (i = 0; (text = diffc_embeddings_prompt(archive, i)); i++)
        if (strcmp(text, prompt) == 0)
            return i;
    return -1 - i;
}

int diffc_embeddings_add(diffc_archive *archive, const char *prompt, const diffc_tensor *states)
{
    struct diffc_tensor *rows = NULL;
    char name[32], text[96];
    DFI_REQUIRE(archive);
    DFI_REQUIRE(prompt);
    DFI_REQUIRE(states);
    const int known = find_prompt(archive, prompt);
    if (known >= 0)
        return dfi_fail(DIFFC_ERR_ARG, "the archive has an embedding of \"%.40s\" already", prompt);
    if (!dfi_dtype_is_float(states->dtype) || states->dtype == DIFFC_F64 ||
        !(states->ndim == 2 || (states->ndim == 3 && states->shape[0] == 1)))
        return dfi_fail(DIFFC_ERR_ARG, "states is %s, expected floats [length, width] or [1, length, width]",
                        dfi_tensor_text(states, text, sizeof(text)));
    if (states->ndim == 2) {
        rows = dfi_retain(states);
    } else {
        const int64_t shape[2] = { states->shape[1], states->shape[2] };
        DFI_TRY(dfi_tensor_reshape(states, 2, shape, &rows));
    }
    entry_name(-1 - known, name);
    int status = dfi_archive_add(archive, name, rows);
    if (status == DIFFC_OK && (status = dfi_archive_set_metadata(archive, name, prompt)) < 0)
        dfi_archive_undo_add(archive);
    dfi_release(rows);
    return status;
}

int diffc_embeddings_find(const diffc_archive *archive, const char *prompt, diffc_tensor **states)
{
    struct diffc_tensor *found = NULL;
    char name[32], text[96];
    DFI_REQUIRE(archive);
    DFI_REQUIRE(prompt);
    DFI_REQUIRE(states);
    const int known = find_prompt(archive, prompt);
    const int position = dfi_archive_find(archive, known >= 0 ? entry_name(known, name) : prompt);
    if (position < 0)
        return dfi_fail(DIFFC_ERR_ARG, "the archive has no embedding of \"%.60s\"", prompt);
    DFI_TRY(dfi_archive_get(archive, position, &found));
    int status = DIFFC_OK;
    if (found->ndim == 2 || (found->ndim == 3 && found->shape[0] == 1)) {
        const int64_t shape[3] = { 1, found->shape[found->ndim - 2], found->shape[found->ndim - 1] };
        status = dfi_tensor_reshape(found, 3, shape, states);
    } else {
        status = dfi_fail(DIFFC_ERR_FORMAT, "the embedding of \"%.60s\" is %s, expected [length, width]",
                          prompt, dfi_tensor_text(found, text, sizeof(text)));
    }
    dfi_release(found);
    return status;
}
