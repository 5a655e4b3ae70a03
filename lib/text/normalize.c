/* SentencePiece's normaliser (normalizer.cc). */

#include <string.h>

#include "text/spiece.h"
#include "base/utf8.h"

#define GROWTH_MAX \
    64 /* bytes out per byte in, of all the text: U+FDFA, the longest in NFKC, makes 33 of 3 \
        */
static const unsigned char space_symbol[3] = { 0xE2, 0x96, 0x81 };
static const unsigned char replacement_character[3] = { 0xEF, 0xBF, 0xBD };

struct output {
    unsigned char *data; /* NULL: count only */
    size_t size, limit;
};

static void put(struct output *out, const unsigned char *bytes, size_t size)
{
    if (out->data)
        memcpy(out->data + out->size, bytes, size);
    out->size += size;
}

static void put_space(const struct diffc_tokenizer *tokenizer, struct output *out)
{
    if (tokenizer->escape_whitespaces)
        put(out, space_symbol, sizeof(space_symbol));
    else
        put(out, (const unsigned char *)" ", 1);
}

/* The longest user-defined piece that the text begins with: it is kept as it is. */
static size_t user_defined(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size)
{
    struct dfi_piece_search search = { 0 };
    size_t longest = 0;
    while (tokenizer->has_user_defined && dfi_piece_next(tokenizer, text, size, &search))
        if (tokenizer->pieces[search.piece].type == DFI_PIECE_USER_DEFINED)
            longest = search.depth;
    return longest;
}

/* What the next bytes of the text become; returns how many they are. */
static size_t next_unit(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                        const unsigned char **unit, size_t *unit_size)
{
    uint32_t character;
    size_t taken = user_defined(tokenizer, text, size);
    if (!taken) {
        taken = dfi_charsmap_match(&tokenizer->charsmap, text, size, unit, unit_size);
        if (taken)
            return taken;
        taken = dfi_utf8_decode(text, size, &character);
    }
    *unit = taken ? text : replacement_character;
    *unit_size = taken ? taken : sizeof(replacement_character);
    return taken ? taken : 1;
}

static size_t skip_spaces(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size)
{
    const unsigned char *unit;
    size_t at = 0, unit_size;
    while (at < size) {
        const size_t taken = next_unit(tokenizer, text + at, size - at, &unit, &unit_size);
        if (unit_size != 1 || unit[0] != ' ')
            break;
        at += taken;
    }
    return at;
}

static void put_unit(const struct diffc_tokenizer *tokenizer, const unsigned char *unit, size_t size,
                     int *after_space, struct output *out)
{
    while (*after_space && size > 0 && unit[0] == ' ') {
        unit++;
        size--;
    }
    for (size_t i = 0; i < size; i++) {
        if (unit[i] == ' ')
            put_space(tokenizer, out);
        else
            put(out, unit + i, 1);
    }
    if (size > 0)
        *after_space = unit[size - 1] == ' ';
    if (!tokenizer->remove_extra_whitespaces)
        *after_space = 0;
}

static void run(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                struct output *out)
{
    int after_space = tokenizer->remove_extra_whitespaces;
    size_t at = after_space ? skip_spaces(tokenizer, text, size) : 0;
    if (at == size)
        return;
    if (tokenizer->add_dummy_prefix)
        put_space(tokenizer, out);
    while (at < size && out->size <= out->limit) {
        const unsigned char *unit;
        size_t unit_size;
        at += next_unit(tokenizer, text + at, size - at, &unit, &unit_size);
        put_unit(tokenizer, unit, unit_size, &after_space, out);
    }
}

static size_t without_last_spaces(const struct diffc_tokenizer *tokenizer, const struct output *out)
{
    const unsigned char *space = tokenizer->escape_whitespaces ? space_symbol : (const unsigned char *)" ";
    const size_t width = tokenizer->escape_whitespaces ? sizeof(space_symbol) : 1;
    size_t size = out->size;
    while (tokenizer->remove_extra_whitespaces && size >= width &&
           memcmp(out->data + size - width, space, width) == 0)
        size -= width;
    return size;
}

int dfi_normalize(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                  unsigned char **normalized, size_t *normalized_size)
{
    struct output out = { NULL, 0, GROWTH_MAX * size + 64 };
    run(tokenizer, text, size, &out);
    if (out.size > out.limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "text of %zu bytes becomes more than %zu by normalisation", size,
                        out.limit);
    out.data = dfi_alloc(tokenizer->object.context, out.size + 1);
    if (!out.data)
        return DIFFC_ERR_NOMEM;
    out.size = 0;
    run(tokenizer, text, size, &out);
    *normalized_size = without_last_spaces(tokenizer, &out);
    out.data[*normalized_size] = 0;
    *normalized = out.data;
    return DIFFC_OK;
}
