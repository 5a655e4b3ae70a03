/* Text to token ids and to the text states that the UNets of DeepFloyd IF models take.
 *
 *   encode_prompt --model DIR --prompt TEXT --out FILE.npy     one prompt: [1, 77, E] float32
 *   encode_prompt --model DIR --prompts FILE.json --out ...    a JSON array of N strings: [N, 77, E]
 *   encode_prompt --model DIR --prompt TEXT --ids              the token ids, as a JSON array of arrays
 *
 * DIR has tokenizer/spiece.model (or a folder of it has, beside unet/) and, unless only ids are asked for,
 * text_encoder/. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/options.h"
#include "common/stages.h"

#define LENGTH 77 /* ids of a prompt */

struct settings {
    struct ex_options common;
    const char *model, *prompt, *prompts, *variant, *embeddings;
    int ids, raw, clean, parse_special;
};

struct work {
    const struct settings *settings;
    diffc_context *context;
    diffc_tokenizer *tokenizer;
    json_t *texts; /* array of strings */
    int32_t *ids;  /* [count][LENGTH] */
    int32_t *used; /* [count] */
    int32_t count;
};

static int read_texts(const struct settings *s, json_t **texts)
{
    json_error_t error;
    size_t i;
    json_t *text;
    if (s->prompt) {
        *texts = json_pack("[s]", s->prompt);
        return *texts ? 0 : ex_error(EX_USAGE, "--prompt", "not UTF-8");
    }
    *texts = json_load_file(s->prompts, JSON_ALLOW_NUL, &error);
    if (!*texts && error.line < 0) /* could not be read */
        return ex_error(EX_FAILED, s->prompts, "%s", error.text);
    if (!*texts)
        return ex_error(EX_FAILED, s->prompts, "%s (line %d, column %d)", error.text, error.line,
                        error.column);
    if (!json_is_array(*texts) || json_array_size(*texts) == 0 || json_array_size(*texts) > 65536)
        return ex_error(EX_FAILED, s->prompts, "must be a JSON array of 1 to 65536 strings");
    json_array_foreach (*texts, i, text) {
        if (!json_is_string(text))
            return ex_error(EX_FAILED, s->prompts, "entry %zu is not a string", i);
        if (s->embeddings && strlen(json_string_value(text)) != json_string_length(text))
            return ex_error(EX_FAILED, s->prompts, "entry %zu has a NUL, which --embeddings cannot name", i);
    }
    return 0;
}

static int tokenize(struct work *work)
{
    const struct settings *s = work->settings;
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    options.form = s->raw ? DIFFC_TEXT_RAW : s->clean ? DIFFC_TEXT_CLEAN : DIFFC_TEXT_LOWER;
    options.parse_special = s->parse_special;
    for (int32_t i = 0; i < work->count; i++) {
        const json_t *text = json_array_get(work->texts, (size_t)i);
        int64_t dropped = 0;
        int status = diffc_tokenizer_prompt(work->tokenizer, json_string_value(text),
                                            json_string_length(text), &options, LENGTH,
                                            work->ids + (size_t)i * LENGTH, &work->used[i], &dropped);
        if (status)
            return ex_failed("prompt", status);
        if (dropped)
            fprintf(stderr, "%s: note: prompt %d is too long: its last %lld tokens are cut off\n",
                    program_invocation_short_name, (int)i + 1, (long long)dropped);
    }
    return 0;
}

static int print_ids(const struct work *work)
{
    putchar('[');
    for (int32_t i = 0; i < work->count; i++) {
        printf("%s[", i ? ", " : "");
        for (int32_t k = 0; k < work->used[i]; k++)
            printf("%s%d", k ? ", " : "", (int)work->ids[(size_t)i * LENGTH + (size_t)k]);
        putchar(']');
    }
    printf("]\n");
    return 0;
}

/* The states by their texts, for programs that are given --embeddings. */
static int save_embeddings(const struct work *work, const diffc_tensor *states)
{
    diffc_archive *archive = NULL;
    int status = diffc_archive_create(work->context, &archive);
    for (int32_t i = 0; i < work->count && !status; i++) {
        const char *text = json_string_value(json_array_get(work->texts, (size_t)i));
        diffc_tensor *one = NULL, *known = NULL;
        if (diffc_embeddings_find(archive, text, &known) == DIFFC_OK) { /* the same text twice */
            diffc_release(&known);
            continue;
        }
        status = diffc_tensor_slice(states, 0, i, 1, 1, &one);
        if (!status)
            status = diffc_embeddings_add(archive, text, one);
        diffc_release(&one);
    }
    if (!status)
        status = diffc_archive_save(archive, work->settings->embeddings);
    diffc_release(&archive);
    return status ? ex_failed(work->settings->embeddings, status) : 0;
}

static int encode(const struct work *work)
{
    const struct settings *s = work->settings;
    diffc_text_encoder *encoder = NULL;
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    diffc_tensor *states = NULL;
    char path[EX_PATH];
    options.length = LENGTH;
    options.variant = s->variant;
    options.precision = s->common.precision;
    int status = diffc_text_encoder_open(work->context, ex_path(path, s->model, "text_encoder"), &options,
                                         &encoder);
    if (!status)
        status = diffc_text_encoder_run(encoder, work->ids, work->used, work->count, &states);
    diffc_release(&encoder); /* before anything else wants memory */
    int code = status ? ex_failed("text_encoder", status) : 0;
    if (!code && s->common.out && (status = diffc_npy_write(states, s->common.out)))
        code = ex_failed(s->common.out, status);
    if (!code && s->embeddings)
        code = save_embeddings(work, states);
    diffc_release(&states);
    return code;
}

static int run(struct work *work)
{
    const struct settings *s = work->settings;
    char path[EX_PATH];
    int code = read_texts(s, &work->texts);
    if (code)
        return code;
    work->count = (int32_t)json_array_size(work->texts);
    work->ids = calloc((size_t)work->count * LENGTH, sizeof *work->ids);
    work->used = calloc((size_t)work->count, sizeof *work->used);
    if (!work->ids || !work->used)
        return ex_error(EX_FAILED, "prompts", "out of memory");
    int status = diffc_tokenizer_open(work->context, ex_path(path, s->model, "tokenizer/spiece.model"),
                                      &work->tokenizer);
    if (status)
        return ex_failed("tokenizer", status);
    code = tokenize(work);
    if (!code && s->ids)
        code = print_ids(work);
    if (!code && (s->common.out || s->embeddings))
        code = encode(work);
    return code;
}

/* In a folder that holds both stages the encoder is that of stage I. */
static int find_encoder(struct settings *s)
{
    static struct ex_stages stages;
    char path[EX_PATH];
    if (ex_exists(ex_path(path, s->model, "tokenizer")) || ex_stage_number(s->model) || !ex_exists(s->model))
        return 0;
    int code = ex_stages_find(s->model, &stages);
    s->model = stages.first[0] ? stages.first : s->model;
    return code;
}

static int check(struct settings *s)
{
    if (!s->model)
        return ex_error(EX_USAGE, "--model", "must be given");
    if (!s->prompt == !s->prompts)
        return ex_error(EX_USAGE, "--prompt", "give either --prompt or --prompts");
    if (!s->common.out && !s->embeddings && !s->ids)
        return ex_error(EX_USAGE, "--out", "give --out, --embeddings or --ids");
    return find_encoder(s);
}

int main(int argc, char **argv)
{
    struct settings s = { 0 };
    const struct ex_option own[] = {
        { "model", EX_TEXT, &s.model, 0, 0, "DIR", "folder with tokenizer/ and text_encoder/" },
        { "prompt", EX_STRING, &s.prompt, 0, 0, "TEXT", "the prompt; may be empty" },
        { "prompts", EX_TEXT, &s.prompts, 0, 0, "FILE", "a JSON array of prompts" },
        { "ids", EX_FLAG, &s.ids, 0, 0, NULL, "print the token ids, at most 77 of each prompt" },
        { "raw", EX_FLAG, &s.raw, 0, 0, NULL, "take the text as it is, not in lower case and stripped" },
        { "clean", EX_FLAG, &s.clean, 0, 0, NULL, "clean the text as the pipelines do with clean_caption" },
        { "parse-special", EX_FLAG, &s.parse_special, 0, 0, NULL,
          "read </s>, <pad>, <unk> and <extra_id_N> as tokens" },
        { "variant", EX_TEXT, &s.variant, 0, 0, "NAME", "of the weights, such as fp16" },
        { "embeddings", EX_TEXT, &s.embeddings, 0, 0, "FILE", "write the states by prompt, as safetensors" },
    };
    const struct ex_program program = {
        .about = "Encodes prompts with the tokenizer and the text encoder of a DeepFloyd IF model.\n"
                 "--out names a file here: [N, 77, E] float32, as npy.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
        .unused = "data weights seed numerics epochs batch lr width time timesteps guidance resume",
    };
    struct work work = { .settings = &s };
    ex_begin();
    int code = ex_options_read(&s.common, &program, argc, argv);
    if (code >= 0)
        return code;
    code = check(&s);
    if (!code)
        code = ex_context_open(&s.common, &work.context);
    if (!code) {
        ex_cancel_on_signal(work.context);
        code = run(&work);
        ex_cancel_on_signal(NULL);
    }
    json_decref(work.texts);
    free(work.ids);
    free(work.used);
    diffc_release(&work.tokenizer);
    diffc_release(&work.context);
    return ex_end(code, NULL);
}
