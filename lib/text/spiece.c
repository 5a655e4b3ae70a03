/* Reads spiece.model: ModelProto of sentencepiece_model.proto, the fields that a unigram model needs. */

#include "text/spiece.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/wire.h"

#define PIECE_SIZE_MAX 4096
#define UNIGRAM 1

enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_SELF_TEST = 4 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_BYTE_FALLBACK = 35,
    TRAINER_UNK = 40,
    TRAINER_EOS = 42,
    TRAINER_PAD = 43
};
enum { NORMALIZER_CHARSMAP = 2, NORMALIZER_PREFIX = 3, NORMALIZER_WHITESPACE = 4, NORMALIZER_ESCAPE = 5 };
enum { SELF_TEST_SAMPLES = 1, SAMPLE_INPUT = 1, SAMPLE_EXPECTED = 2 };

static void destroy(void *handle)
{
    struct diffc_tokenizer *tokenizer = handle;
    struct diffc_context *context = tokenizer->object.context;
    dfi_free(context, tokenizer->texts);
    dfi_free(context, tokenizer->pieces);
    dfi_free(context, tokenizer->order);
    dfi_charsmap_clear(context, &tokenizer->charsmap);
    dfi_object_free(tokenizer);
}

#define SELF_TEST_MOST 1024

struct parse {
    const char *name;
    struct diffc_tokenizer *tokenizer;
    size_t text_bytes; /* used of tokenizer->texts */
    int64_t unk, eos, pad, model_type;
    int byte_fallback;
    const unsigned char *charsmap;
    size_t charsmap_size;
    size_t self_test_left; /* bytes of samples that are tried: a hostile file could make each take long */
};

static int fail_piece(const struct parse *parse, const struct dfi_wire_field *field, int status,
                      const char *what)
{
    return dfi_fail(status, "%s: byte %zu: piece %d: %s", parse->name, field->offset,
                    (int)parse->tokenizer->count, what);
}

/* First pass: how many pieces, and how long all their texts may be at most. */
static int count_pieces(struct dfi_wire wire, const diffc_limits *limits, size_t *pieces, size_t *bytes)
{
    struct dfi_wire_field field;
    int more;
    *pieces = *bytes = 0;
    while ((more = dfi_wire_next(&wire, &field)) > 0) {
        if (field.number != MODEL_PIECES)
            continue;
        DFI_TRY(dfi_wire_expect(&wire, &field, DFI_WIRE_BYTES));
        if (++*pieces > (size_t)limits->tokenizer_pieces)
            return dfi_fail(DIFFC_ERR_LIMIT, "%s: byte %zu: more pieces than limits.tokenizer_pieces = %lld",
                            wire.name, field.offset, (long long)limits->tokenizer_pieces);
        *bytes += field.size + 1;
    }
    return more;
}

static int take_text(struct parse *parse, const struct dfi_wire_field *field, struct dfi_piece *piece)
{
    if (field->size > PIECE_SIZE_MAX)
        return fail_piece(parse, field, DIFFC_ERR_LIMIT, "more than 4096 bytes");
    if (field->size == 0)
        return fail_piece(parse, field, DIFFC_ERR_FORMAT, "empty");
    if (dfi_utf8_span(field->data, field->size) != field->size)
        return fail_piece(parse, field, DIFFC_ERR_FORMAT, "not UTF-8");
    piece->text = field->data;
    piece->size = field->size;
    return DIFFC_OK;
}

static int take_score(struct parse *parse, const struct dfi_wire_field *field, struct dfi_piece *piece)
{
    const uint32_t bits = (uint32_t)field->value;
    memcpy(&piece->score, &bits, sizeof(bits));
    if (!isfinite(piece->score))
        return fail_piece(parse, field, DIFFC_ERR_FORMAT, "its score is not a number");
    return DIFFC_OK;
}

static int take_type(struct parse *parse, const struct dfi_wire_field *field, struct dfi_piece *piece)
{
    if (field->value < DFI_PIECE_NORMAL || field->value > DFI_PIECE_BYTE)
        return fail_piece(parse, field, DIFFC_ERR_FORMAT, "its type is not one of 1 to 6");
    piece->type = (int)field->value;
    return DIFFC_OK;
}

static int read_piece(struct parse *parse, struct dfi_wire *wire, const struct dfi_wire_field *message)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    struct dfi_piece piece = { .type = DFI_PIECE_NORMAL };
    struct dfi_wire_field field;
    struct dfi_wire inner;
    int more;
    DFI_TRY(dfi_wire_enter(wire, message, &inner));
    while ((more = dfi_wire_next(&inner, &field)) > 0) {
        if (field.number < PIECE_TEXT || field.number > PIECE_TYPE)
            continue;
        static const int types[] = { 0, DFI_WIRE_BYTES, DFI_WIRE_FIXED32, DFI_WIRE_VARINT };
        DFI_TRY(dfi_wire_expect(&inner, &field, types[field.number]));
        DFI_TRY((field.number == PIECE_TEXT    ? take_text
                 : field.number == PIECE_SCORE ? take_score
                                               : take_type)(parse, &field, &piece));
    }
    if (more < 0)
        return more;
    if (!piece.text)
        return fail_piece(parse, message, DIFFC_ERR_FORMAT, "empty");
    unsigned char *copy = tokenizer->texts + parse->text_bytes;
    memcpy(copy, piece.text, piece.size);
    copy[piece.size] = 0;
    parse->text_bytes += piece.size + 1;
    piece.text = copy;
    tokenizer->pieces[tokenizer->count++] = piece;
    return DIFFC_OK;
}

static int read_trainer(struct parse *parse, const struct dfi_wire *wire,
                        const struct dfi_wire_field *message)
{
    struct dfi_wire_field field;
    struct dfi_wire inner;
    int more;
    DFI_TRY(dfi_wire_enter(wire, message, &inner));
    while ((more = dfi_wire_next(&inner, &field)) > 0) {
        int64_t *target = field.number == TRAINER_UNK          ? &parse->unk
                          : field.number == TRAINER_EOS        ? &parse->eos
                          : field.number == TRAINER_PAD        ? &parse->pad
                          : field.number == TRAINER_MODEL_TYPE ? &parse->model_type
                                                               : NULL;
        if (!target && field.number != TRAINER_BYTE_FALLBACK)
            continue;
        DFI_TRY(dfi_wire_expect(&inner, &field, DFI_WIRE_VARINT));
        if (target)
            memcpy(target, &field.value, sizeof(*target)); /* two's complement */
        else
            parse->byte_fallback = field.value != 0;
    }
    return more;
}

static int read_normalizer(struct parse *parse, const struct dfi_wire *wire,
                           const struct dfi_wire_field *message)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    struct dfi_wire_field field;
    struct dfi_wire inner;
    int more;
    DFI_TRY(dfi_wire_enter(wire, message, &inner));
    while ((more = dfi_wire_next(&inner, &field)) > 0) {
        int *flag = field.number == NORMALIZER_PREFIX       ? &tokenizer->add_dummy_prefix
                    : field.number == NORMALIZER_WHITESPACE ? &tokenizer->remove_extra_whitespaces
                    : field.number == NORMALIZER_ESCAPE     ? &tokenizer->escape_whitespaces
                                                            : NULL;
        if (!flag && field.number != NORMALIZER_CHARSMAP)
            continue;
        DFI_TRY(dfi_wire_expect(&inner, &field, flag ? DFI_WIRE_VARINT : DFI_WIRE_BYTES));
        if (flag) {
            *flag = field.value != 0;
        } else {
            parse->charsmap = field.data;
            parse->charsmap_size = field.size;
        }
    }
    return more;
}

static int read_fields(struct parse *parse, struct dfi_wire wire)
{
    struct dfi_wire_field field;
    int more;
    while ((more = dfi_wire_next(&wire, &field)) > 0) {
        if (field.number == MODEL_PIECES)
            DFI_TRY(read_piece(parse, &wire, &field));
        else if (field.number == MODEL_TRAINER)
            DFI_TRY(read_trainer(parse, &wire, &field));
        else if (field.number == MODEL_NORMALIZER)
            DFI_TRY(read_normalizer(parse, &wire, &field));
    }
    return more;
}

/* The ids that the trainer recorded: each within the pieces, or negative for none. */
static int check_id(const struct parse *parse, const char *what, int64_t id)
{
    if (id >= parse->tokenizer->count)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: %s is %lld, but it has %d pieces", parse->name, what,
                        (long long)id, (int)parse->tokenizer->count);
    return DIFFC_OK;
}

static int find_unknown(const struct parse *parse)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    int found = 0;
    for (int32_t i = 0; i < tokenizer->count; i++)
        if (tokenizer->pieces[i].type == DFI_PIECE_UNKNOWN) {
            tokenizer->unk = i;
            found++;
        }
    if (found != 1)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: %d pieces are of type unknown, must be one", parse->name,
                        found);
    if (parse->unk >= 0 && parse->unk != tokenizer->unk)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: unk_id is %lld, but the unknown piece is %d", parse->name,
                        (long long)parse->unk, (int)tokenizer->unk);
    return DIFFC_OK;
}

/* T5's names come before what the trainer recorded, as in T5Tokenizer. */
static int choose_ids(const struct parse *parse)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    DFI_TRY(check_id(parse, "unk_id", parse->unk));
    DFI_TRY(check_id(parse, "eos_id", parse->eos));
    DFI_TRY(check_id(parse, "pad_id", parse->pad));
    DFI_TRY(find_unknown(parse));
    const int32_t eos = dfi_piece_special(tokenizer, "</s>"), pad = dfi_piece_special(tokenizer, "<pad>");
    tokenizer->eos = eos >= 0 ? eos : parse->eos >= 0 ? (int32_t)parse->eos : -1;
    tokenizer->pad = pad >= 0 ? pad : parse->pad >= 0 ? (int32_t)parse->pad : 0;
    if (tokenizer->eos < 0)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: a model without an end-of-sentence piece", parse->name);
    return DIFFC_OK;
}

static int by_bytes(const struct dfi_piece *a, const struct dfi_piece *b)
{
    const size_t size = a->size < b->size ? a->size : b->size;
    const int order = memcmp(a->text, b->text, size);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare(const void *a, const void *b)
{
    return by_bytes(*(const struct dfi_piece *const *)a, *(const struct dfi_piece *const *)b);
}

/* The same text twice is an error wherever it stands; then those that text may become are kept. */
static int sort_pieces(const struct parse *parse, const struct dfi_piece **sorted)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    for (int32_t i = 0; i < tokenizer->count; i++)
        sorted[i] = &tokenizer->pieces[i];
    qsort(sorted, (size_t)tokenizer->count, sizeof(*sorted), compare);
    for (int32_t i = 1; i < tokenizer->count; i++)
        if (by_bytes(sorted[i - 1], sorted[i]) == 0)
            return dfi_fail(DIFFC_ERR_FORMAT, "%s: pieces %d and %d are the same", parse->name,
                            (int)(sorted[i - 1] - tokenizer->pieces), (int)(sorted[i] - tokenizer->pieces));
    for (int32_t i = 0, placed = 0; i < tokenizer->count; i++) {
        if (sorted[i]->type != DFI_PIECE_NORMAL && sorted[i]->type != DFI_PIECE_USER_DEFINED)
            continue;
        tokenizer->first[sorted[i]->text[0] + 1]++;
        tokenizer->order[placed++] = (int32_t)(sorted[i] - tokenizer->pieces);
    }
    for (int b = 0; b < 256; b++)
        tokenizer->first[b + 1] += tokenizer->first[b];
    return DIFFC_OK;
}

static int index_pieces(const struct parse *parse)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    struct diffc_context *context = tokenizer->object.context;
    const struct dfi_piece **sorted = dfi_calloc(context, (size_t)tokenizer->count, sizeof(*sorted));
    tokenizer->order = dfi_calloc(context, (size_t)tokenizer->count, sizeof(*tokenizer->order));
    const int status = sorted && tokenizer->order ? sort_pieces(parse, sorted) : DIFFC_ERR_NOMEM;
    dfi_free(context, sorted);
    return status;
}

/* The scores of what has none of its own: kUnkPenalty and the rule for user-defined pieces of
 * unigram_model.cc in SentencePiece. */
static void set_scores(struct diffc_tokenizer *tokenizer)
{
    float least = INFINITY, most = -INFINITY;
    for (int32_t i = 0; i < tokenizer->count; i++)
        if (tokenizer->pieces[i].type == DFI_PIECE_NORMAL) {
            least = fminf(least, tokenizer->pieces[i].score);
            most = fmaxf(most, tokenizer->pieces[i].score);
        }
    tokenizer->unk_score = isfinite(least) ? least - 10 : -10;
    tokenizer->max_score = isfinite(most) ? most : 0;
    for (int32_t i = 0; i < tokenizer->count; i++) {
        struct dfi_piece *piece = &tokenizer->pieces[i];
        if (piece->type != DFI_PIECE_USER_DEFINED)
            continue;
        piece->score = (float)piece->size * tokenizer->max_score - 0.1f;
        tokenizer->has_user_defined = 1;
    }
}

/* Whether the pieces of a text, with blanks between them, are `expected`. */
static int reproduces(const unsigned char *text, const size_t *starts, size_t count,
                      const struct dfi_wire_field *expected)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t size = starts[i + 1] - starts[i];
        if (i > 0 && (at == expected->size || expected->data[at++] != ' '))
            return 0;
        if (size > expected->size - at || memcmp(text + starts[i], expected->data + at, size) != 0)
            return 0;
        at += size;
    }
    return at == expected->size;
}

static int check_sample(struct parse *parse, const struct dfi_wire_field *input,
                        const struct dfi_wire_field *expected)
{
    const struct diffc_tokenizer *tokenizer = parse->tokenizer;
    struct diffc_context *context = tokenizer->object.context;
    unsigned char *text = NULL;
    size_t size = 0, count = 0;
    if (input->size > (size_t)context->limits.text_bytes || input->size > parse->self_test_left)
        return DIFFC_OK;
    parse->self_test_left -= input->size;
    DFI_TRY(dfi_normalize(tokenizer, input->data, input->size, &text, &size));
    int32_t *ids = dfi_calloc(context, size + 1, sizeof(*ids));
    size_t *starts = dfi_calloc(context, size + 2, sizeof(*starts));
    int status = ids && starts ? dfi_segment(tokenizer, text, size, ids, starts, &count) : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK && !reproduces(text, starts, count, expected))
        status = dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: self_test_data does not reproduce", parse->name,
                          input->offset);
    dfi_free(context, starts);
    dfi_free(context, ids);
    dfi_free(context, text);
    return status;
}

static int read_sample(struct parse *parse, const struct dfi_wire *wire, const struct dfi_wire_field *message)
{
    struct dfi_wire_field field, parts[3] = { { 0 } };
    struct dfi_wire inner;
    int more;
    DFI_TRY(dfi_wire_enter(wire, message, &inner));
    while ((more = dfi_wire_next(&inner, &field)) > 0)
        if (field.number == SAMPLE_INPUT || field.number == SAMPLE_EXPECTED) {
            DFI_TRY(dfi_wire_expect(&inner, &field, DFI_WIRE_BYTES));
            parts[field.number] = field;
        }
    return more < 0 ? more : check_sample(parse, &parts[SAMPLE_INPUT], &parts[SAMPLE_EXPECTED]);
}

static int self_test(struct parse *parse, struct dfi_wire wire)
{
    struct dfi_wire_field field, sample;
    struct dfi_wire inner;
    int more, more_samples;
    while ((more = dfi_wire_next(&wire, &field)) > 0) {
        if (field.number != MODEL_SELF_TEST)
            continue;
        DFI_TRY(dfi_wire_enter(&wire, &field, &inner));
        while ((more_samples = dfi_wire_next(&inner, &sample)) > 0)
            if (sample.number == SELF_TEST_SAMPLES)
                DFI_TRY(read_sample(parse, &inner, &sample));
        if (more_samples < 0)
            return more_samples;
    }
    return more;
}

static int read_model(struct parse *parse, const struct dfi_wire *wire)
{
    struct diffc_tokenizer *tokenizer = parse->tokenizer;
    struct diffc_context *context = tokenizer->object.context;
    size_t pieces, bytes;
    DFI_TRY(count_pieces(*wire, &context->limits, &pieces, &bytes));
    if (pieces == 0 || pieces > INT32_MAX)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: no pieces: not a SentencePiece model", parse->name);
    tokenizer->texts = dfi_alloc(context, bytes);
    tokenizer->pieces = dfi_calloc(context, pieces, sizeof(*tokenizer->pieces));
    if (!tokenizer->texts || !tokenizer->pieces)
        return DIFFC_ERR_NOMEM;
    DFI_TRY(read_fields(parse, *wire));
    if (parse->model_type != UNIGRAM)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: model_type is %lld, only unigram (1) is supported",
                        parse->name, (long long)parse->model_type);
    if (parse->byte_fallback)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: byte_fallback is not supported", parse->name);
    DFI_TRY(choose_ids(parse));
    DFI_TRY(index_pieces(parse));
    set_scores(tokenizer);
    DFI_TRY(
        dfi_charsmap_read(context, parse->name, parse->charsmap, parse->charsmap_size, &tokenizer->charsmap));
    return self_test(parse, *wire);
}

int dfi_tokenizer_parse(struct diffc_context *context, const char *name, const void *data, size_t size,
                        struct diffc_tokenizer **tokenizer)
{
    const struct dfi_wire wire = { name, data, size, 0, 0 };
    struct diffc_tokenizer *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->add_dummy_prefix = made->remove_extra_whitespaces = made->escape_whitespaces = 1;
    /* Defaults of TrainerSpec: unk_id 0, eos_id 2, pad_id -1, model_type unigram. What is recorded is
     * checked, what is not is not. */
    struct parse parse = { .name = name,
                           .tokenizer = made,
                           .unk = -1,
                           .eos = -1,
                           .pad = -1,
                           .model_type = UNIGRAM,
                           .self_test_left = SELF_TEST_MOST };
    const int status = read_model(&parse, &wire);
    if (status < 0) {
        dfi_release(made);
        return status;
    }
    *tokenizer = made;
    return DIFFC_OK;
}
