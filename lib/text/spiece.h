#ifndef DFI_TEXT_SPIECE_H
#define DFI_TEXT_SPIECE_H

#include <diffc/text.h>

#include "base/context.h"
#include "text/charsmap.h"

enum dfi_piece_type { /* of sentencepiece_model.proto */
                      DFI_PIECE_NORMAL = 1,
                      DFI_PIECE_UNKNOWN = 2,
                      DFI_PIECE_CONTROL = 3,
                      DFI_PIECE_USER_DEFINED = 4,
                      DFI_PIECE_UNUSED = 5,
                      DFI_PIECE_BYTE = 6
};

struct dfi_piece {
    const unsigned char *text; /* within diffc_tokenizer.texts, with a 0 behind it */
    size_t size;
    float score;
    int type;
};

/* A SentencePiece unigram model. Nothing in it changes after it was made. */
struct diffc_tokenizer {
    struct dfi_object object;
    unsigned char *texts;
    struct dfi_piece *pieces;
    int32_t count;
    int32_t *order; /* pieces that text may become, sorted by their bytes */
    int32_t first[257]; /* order[first[b] .. first[b + 1]): those that begin with byte b */
    int32_t unk, eos, pad;
    int has_user_defined;
    float unk_score, max_score;
    struct dfi_charsmap charsmap;
    int add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces;
};

int dfi_tokenizer_parse(struct diffc_context *context, const char *name, const void *data, size_t size,
                        struct diffc_tokenizer **tokenizer);

/* The pieces that a text begins with, shortest first: start with a zeroed search; 0 when there are no more.
 */
struct dfi_piece_search {
    int32_t low, high;
    size_t depth;
    int32_t piece; /* found; its size is depth */
};
int dfi_piece_next(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                   struct dfi_piece_search *search);

/* Number of the piece with exactly these bytes that text may not become (CONTROL or UNKNOWN), or -1. */
int32_t dfi_piece_special(const struct diffc_tokenizer *tokenizer, const char *text);

/* normalize.c: normalised bytes of a text, of the context's allocator. */
int dfi_normalize(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size,
                  unsigned char **normalized, size_t *normalized_size);

/* segment.c: the best segmentation of normalised text. `ids` has room for one id per byte. With `starts`
 * (room for one more) also where the pieces begin. */
int dfi_segment(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size, int32_t *ids,
                size_t *starts, size_t *count);

#endif
