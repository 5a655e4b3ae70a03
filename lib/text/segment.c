/* The most probable segmentation under a unigram model, by Viterbi's algorithm (Kudo 2018;
 * EncodeOptimized() of unigram_model.cc). */

#include "text/spiece.h"
#include "base/utf8.h"

/* The best way to each byte position. */
struct best {
    float score;
    int32_t id;   /* of the piece that ends here; -1: not reached */
    size_t start; /* where it starts */
};

static void offer(struct best *end, float score, int32_t id, size_t start)
{
    *end = (struct best) { score, id, start };
}

/* Sums and comparisons in double, stored as float, as SentencePiece 0.1.99 to 0.2.1 does: it decides ties. */
static void extend(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size, size_t at,
                   size_t character_size, struct best *best)
{
    struct dfi_piece_search search = { 0 };
    const float here = best[at].score;
    int covered = 0;
    while (dfi_piece_next(tokenizer, text + at, size - at, &search)) {
        struct best *end = &best[at + search.depth];
        const double score = (double)tokenizer->pieces[search.piece].score + (double)here;
        if (end->id < 0 || score > (double)end->score)
            offer(end, (float)score, search.piece, at);
        covered |= search.depth == character_size;
    }
    if (!covered) {
        struct best *end = &best[at + character_size];
        const float score = tokenizer->unk_score + here;
        if (end->id < 0 || score > end->score)
            offer(end, score, tokenizer->unk, at);
    }
}

/* The path to the end, and one id for each run of unknown characters. */
static void walk_back(const struct diffc_tokenizer *tokenizer, const struct best *best, size_t size,
                      int32_t *ids, size_t *starts, size_t *count)
{
    size_t used = 0, kept = 0;
    for (size_t at = size; at > 0; at = best[at].start)
        used++;
    for (size_t at = size, i = used; at > 0; at = best[at].start) {
        ids[--i] = best[at].id;
        if (starts)
            starts[i] = best[at].start;
    }
    for (size_t i = 0; i < used; i++) {
        if (i > 0 && ids[i] == tokenizer->unk && ids[kept - 1] == tokenizer->unk)
            continue;
        ids[kept] = ids[i];
        if (starts)
            starts[kept] = starts[i];
        kept++;
    }
    if (starts)
        starts[kept] = size;
    *count = kept;
}

int dfi_segment(const struct diffc_tokenizer *tokenizer, const unsigned char *text, size_t size, int32_t *ids,
                size_t *starts, size_t *count)
{
    struct diffc_context *context = tokenizer->object.context;
    struct best *best = dfi_alloc(context, (size + 1) * sizeof(*best));
    if (!best)
        return DIFFC_ERR_NOMEM;
    for (size_t i = 0; i <= size; i++)
        best[i] = (struct best) { 0, -1, 0 };
    for (size_t at = 0; at < size;) {
        uint32_t character;
        const size_t decoded = dfi_utf8_decode(text + at, size - at, &character),
                     step = decoded ? decoded : 1;
        extend(tokenizer, text, size, at, step, best);
        at += step;
    }
    walk_back(tokenizer, best, size, ids, starts, count);
    dfi_free(context, best);
    return DIFFC_OK;
}
