/* Prompts as text states. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "studio.h"

#define LENGTH 77 /* tokens of a prompt */

static int text_count(const struct ex_studio *s)
{
    int guided = s->guidance != 1 || (s->model2 && s->guidance2 != 1);
    return s->prompts.count + guided;
}

static const char *text_of(const struct ex_studio *s, int i)
{
    return i < s->prompts.count ? s->prompts.value[i] : s->negative;
}

static int find_all(struct ex_studio *s)
{
    diffc_archive *archive = NULL;
    int status = diffc_archive_open(s->context, s->embeddings, NULL, &archive);
    for (int i = 0; i < text_count(s) && !status; i++) {
        diffc_tensor *stored = NULL;
        status = diffc_embeddings_find(archive, text_of(s, i), &stored);
        if (!status)
            status = diffc_tensor_convert(stored, DIFFC_F32, &s->states[i]);
        diffc_release(&stored);
    }
    diffc_release(&archive);
    return status ? ex_failed(s->embeddings, status) : 0;
}

static void say_dropped(const struct ex_studio *s, const int64_t *dropped)
{
    for (int i = 0; i < text_count(s); i++)
        if (dropped[i] && i < s->prompts.count)
            fprintf(stderr, "%s: note: prompt %d is too long: its last %lld tokens are cut off\n",
                    program_invocation_short_name, i + 1, (long long)dropped[i]);
        else if (dropped[i])
            fprintf(stderr, "%s: note: --negative is too long: its last %lld tokens are cut off\n",
                    program_invocation_short_name, (long long)dropped[i]);
}

static int run_encoder(struct ex_studio *s, diffc_text_encoder *encoder, const diffc_tokenizer *tokenizer)
{
    const char *texts[EX_STRINGS_MAX + 1];
    int64_t dropped[EX_STRINGS_MAX + 1] = { 0 };
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    diffc_tensor *all = NULL;
    options.form = s->clean ? DIFFC_TEXT_CLEAN : DIFFC_TEXT_LOWER;
    for (int i = 0; i < text_count(s); i++)
        texts[i] = text_of(s, i);
    int status = diffc_text_encode(encoder, tokenizer, texts, text_count(s), &options, dropped, &all);
    for (int i = 0; i < text_count(s) && !status; i++)
        status = diffc_tensor_slice(all, 0, i, 1, 1, &s->states[i]);
    diffc_release(&all);
    say_dropped(s, dropped);
    return status;
}

static int encode_all(struct ex_studio *s)
{
    diffc_tokenizer *tokenizer = NULL;
    diffc_text_encoder *encoder = NULL;
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    char path[EX_PATH];
    options.length = LENGTH;
    options.variant = s->variant;
    options.precision = s->precision;
    int status = diffc_tokenizer_open(s->context, ex_path(path, s->model, "tokenizer/spiece.model"),
                                      &tokenizer);
    if (!status)
        status = diffc_text_encoder_open(s->context, ex_path(path, s->model, "text_encoder"), &options,
                                         &encoder);
    if (!status)
        status = run_encoder(s, encoder, tokenizer);
    diffc_release(&encoder); /* before the UNet wants memory */
    diffc_release(&tokenizer);
    return status ? ex_failed(path, status) : 0;
}

int ex_studio_encode(struct ex_studio *studio)
{
    double began = ex_seconds();
    studio->states = calloc((size_t)studio->prompts.count + 1, sizeof *studio->states);
    if (!studio->states)
        return ex_error(EX_FAILED, "prompts", "out of memory");
    int code = studio->embeddings ? find_all(studio) : encode_all(studio);
    if (!code)
        json_object_set_new(studio->metrics, "seconds_text", json_real(ex_seconds() - began));
    return code;
}
