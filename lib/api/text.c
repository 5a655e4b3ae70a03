#include <diffc/text.h>
#include <string.h>

#include "base/file.h"
#include "text/encode.h"

#define FILE_MAX ((size_t)1 << 30)

int diffc_tokenizer_open(diffc_context *context, const char *path, diffc_tokenizer **tokenizer)
{
    void *data = NULL;
    size_t size = 0;
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    DFI_REQUIRE(tokenizer);
    DFI_TRY(dfi_file_load(context, path, FILE_MAX, &data, &size));
    const int status = dfi_tokenizer_parse(context, path, data, size, tokenizer);
    dfi_free(context, data);
    return status;
}

int diffc_tokenizer_open_memory(diffc_context *context, const void *data, size_t size,
                                diffc_tokenizer **tokenizer)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(tokenizer);
    if (size)
        DFI_REQUIRE(data);
    return dfi_tokenizer_parse(context, "memory", data, size, tokenizer);
}

int32_t diffc_tokenizer_count(const diffc_tokenizer *tokenizer)
{
    return tokenizer ? tokenizer->count : 0;
}

const char *diffc_tokenizer_piece(const diffc_tokenizer *tokenizer, int32_t id, size_t *size)
{
    if (!tokenizer || id < 0 || id >= tokenizer->count)
        return NULL;
    if (size)
        *size = tokenizer->pieces[id].size;
    return (const char *)tokenizer->pieces[id].text;
}

int diffc_tokenizer_encode(const diffc_tokenizer *tokenizer, const char *text, size_t size,
                           const diffc_text_options *options, int32_t *ids, int64_t capacity, int64_t *count)
{
    diffc_text_options own;
    struct dfi_bytes found;
    DFI_REQUIRE(tokenizer);
    DFI_REQUIRE(text);
    DFI_REQUIRE(count);
    if (capacity < 0)
        return dfi_fail(DIFFC_ERR_ARG, "capacity is %lld, must not be negative", (long long)capacity);
    if (capacity)
        DFI_REQUIRE(ids);
    DFI_TRY(dfi_text_options_read(options, &own));
    int status = dfi_text_encode(tokenizer, text, size, &own, &found);
    if (status == DIFFC_OK) {
        const int64_t pieces = (int64_t)(found.size / sizeof(*ids));
        const int32_t *all = (const int32_t *)(void *)found.data;
        const int ended = pieces > 0 && all[pieces - 1] == tokenizer->eos;
        const int64_t total = pieces + !ended;
        if (ids && capacity < total)
            status = dfi_fail(DIFFC_ERR_LIMIT, "%lld ids, room for %lld", (long long)total,
                              (long long)capacity);
        else if (ids) {
            if (pieces)
                memcpy(ids, all, found.size);
            if (!ended)
                ids[pieces] = tokenizer->eos;
        }
        *count = total;
    }
    dfi_bytes_clear(&found);
    return status;
}

int diffc_tokenizer_prompt(const diffc_tokenizer *tokenizer, const char *text, size_t size,
                           const diffc_text_options *options, int32_t length, int32_t *ids, int32_t *used,
                           int64_t *dropped)
{
    diffc_text_options own;
    DFI_REQUIRE(tokenizer);
    DFI_REQUIRE(text);
    DFI_REQUIRE(ids);
    if (length < 1)
        return dfi_fail(DIFFC_ERR_ARG, "length is %d, must be at least 1", (int)length);
    DFI_TRY(dfi_text_options_read(options, &own));
    return dfi_text_prompt(tokenizer, text, size, &own, length, ids, used, dropped);
}

int diffc_text_prepare(diffc_context *context, const char *text, size_t size,
                       const diffc_text_options *options, char *out, size_t capacity, size_t *count)
{
    diffc_text_options own;
    struct dfi_bytes found;
    DFI_REQUIRE(context);
    DFI_REQUIRE(text);
    DFI_REQUIRE(count);
    if (capacity)
        DFI_REQUIRE(out);
    DFI_TRY(dfi_text_options_read(options, &own));
    int status = dfi_text_prepare(context, text, size, &own, &found);
    if (status == DIFFC_OK) {
        if (out && capacity <= found.size)
            status = dfi_fail(DIFFC_ERR_LIMIT, "%zu bytes and a NUL, room for %zu", found.size, capacity);
        else if (out) {
            if (found.size)
                memcpy(out, found.data, found.size);
            out[found.size] = '\0';
        }
        *count = found.size;
    }
    dfi_bytes_clear(&found);
    return status;
}
