#include <string.h>

#include "text/spiece.h"

static int byte_at(const struct diffc_tokenizer *tokenizer, int32_t place, size_t depth)
{
    const struct dfi_piece *piece = &tokenizer->pieces[tokenizer->order[place]];
    return depth < piece->size ? piece->text[depth] : -1; /* the shorter one comes first */
}

/* First place in [low, high) whose byte at `depth` is at least `byte`. */
static int32_t lower_bound(const struct diffc_tokenizer *tokenizer, int32_t low, int32_t high, size_t depth,
                           int byte)
{
    while (low < high) {
        const int32_t middle = low + (high - low) / 2;
        if (byte_at(tokenizer, middle, depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int dfi_piece_next(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                   struct dfi_piece_search *search)
{
    while (search->depth < size) {
        const int byte = text[search->depth];
        if (search->depth == 0) {
            search->low = tokenizer->first[byte];
            search->high = tokenizer->first[byte + 1];
        } else {
            const int32_t low = lower_bound(tokenizer, search->low, search->high, search->depth, byte);
            search->high = lower_bound(tokenizer, low, search->high, search->depth, byte + 1);
            search->low = low;
        }
        if (search->low >= search->high)
            return 0;
        search->depth++;
        search->piece = tokenizer->order[search->low];
        if (tokenizer->pieces[search->piece].size == search->depth)
            return 1;
    }
    return 0;
}

int32_t dfi_piece_special(const struct diffc_tokenizer *tokenizer, const char *text)
{
    const size_t size = strlen(text);
    for (int32_t i = 0; i < tokenizer->count; i++) {
        const struct dfi_piece *piece = &tokenizer->pieces[i];
        if ((piece->type == DFI_PIECE_CONTROL || piece->type == DFI_PIECE_UNKNOWN) && piece->size == size &&
            memcmp(piece->text, text, size) == 0)
            return i;
    }
    return -1;
}
