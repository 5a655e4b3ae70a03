#ifndef TESTS_SPIECE_CASE_H
#define TESTS_SPIECE_CASE_H

/* Makes spiece.model files, good and bad, byte by byte. */

#include "io_case.h"

static inline void pb_varint(struct bytes *to, uint64_t value)
{
    do {
        const unsigned char byte = (unsigned char)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        bytes_put(to, &byte, 1);
        value >>= 7;
    } while (value);
}

static inline void pb_number(struct bytes *to, int field, uint64_t value)
{
    pb_varint(to, (uint64_t)field << 3);
    pb_varint(to, value);
}

static inline void pb_block(struct bytes *to, int field, const void *data, size_t size)
{
    pb_varint(to, (uint64_t)field << 3 | 2);
    pb_varint(to, size);
    bytes_put(to, data, size);
}

static inline void pb_float(struct bytes *to, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    pb_varint(to, (uint64_t)field << 3 | 5);
    bytes_le(to, bits, 4);
}

/* type 0: left out, as writers do for normal pieces. */
static inline void add_piece(struct bytes *model, const char *text, size_t size, float score, int type)
{
    struct bytes piece = { 0 };
    pb_block(&piece, 1, text, size);
    pb_float(&piece, 2, score);
    if (type)
        pb_number(&piece, 3, (uint64_t)type);
    pb_block(model, 1, piece.data, piece.size);
    bytes_free(&piece);
}

enum { PIECES = 10, UNITS = 768, CHILD = 0x100 ^ 'A', LEAF = 0x200 };

static inline void add_pieces(struct bytes *model)
{
    static const char *const texts[] = { "\342\226\201", "a", "b", "\342\226\201a", "ab", "\303\251", "bb" };
    add_piece(model, "<pad>", 5, 0, 3);
    add_piece(model, "</s>", 4, 0, 3);
    add_piece(model, "<unk>", 5, 0, 2);
    for (int i = 0; i < PIECES - 3; i++)
        add_piece(model, texts[i], strlen(texts[i]), -1 - (float)i / 4, i % 2);
}

/* A map of one rule, "A" to "a": the units of a double array by hand. */
static inline void make_units(uint32_t units[UNITS])
{
    memset(units, 0, UNITS * sizeof(*units));
    units[0] = 0x100u << 10;
    units[CHILD] = 'A' | 0x100u | (uint32_t)(CHILD ^ LEAF) << 10;
    units[LEAF] = 0x80000000u;
}

static inline struct bytes make_charsmap(const uint32_t units[UNITS], size_t trie, const char *pool,
                                         size_t pool_size)
{
    struct bytes map = { 0 };
    bytes_le(&map, trie, 4);
    for (int i = 0; i < UNITS; i++)
        bytes_le(&map, units[i], 4);
    bytes_put(&map, pool, pool_size);
    return map;
}

static inline void add_normalizer(struct bytes *model, const struct bytes *map)
{
    struct bytes normalizer = { 0 };
    pb_block(&normalizer, 1, "test", 4);
    pb_block(&normalizer, 2, map->data, map->size);
    pb_block(model, 3, normalizer.data, normalizer.size);
    bytes_free(&normalizer);
}

static inline void add_trainer(struct bytes *model, int field, uint64_t value)
{
    struct bytes trainer = { 0 };
    pb_number(&trainer, field, value);
    pb_block(model, 2, trainer.data, trainer.size);
    bytes_free(&trainer);
}

static inline void add_self_test(struct bytes *model, const char *input, const char *expected)
{
    struct bytes sample = { 0 }, all = { 0 };
    pb_block(&sample, 1, input, strlen(input));
    pb_block(&sample, 2, expected, strlen(expected));
    pb_block(&all, 1, sample.data, sample.size);
    pb_block(model, 4, all.data, all.size);
    bytes_free(&sample);
    bytes_free(&all);
}

/* A whole model that is right. */
static inline struct bytes make_model(void)
{
    uint32_t units[UNITS];
    struct bytes model = { 0 };
    make_units(units);
    struct bytes map = make_charsmap(units, sizeof(units), "a", 2);
    add_pieces(&model);
    add_trainer(&model, 3, 1);
    add_trainer(&model, 40, 2);
    add_trainer(&model, 41, UINT64_MAX); /* no bos */
    add_normalizer(&model, &map);
    add_self_test(&model, "aA b",
                  "\xE2\x96\x81"
                  "a a \xE2\x96\x81 b");
    bytes_free(&map);
    return model;
}

#endif
