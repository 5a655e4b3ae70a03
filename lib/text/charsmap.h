#ifndef DFI_TEXT_CHARSMAP_H
#define DFI_TEXT_CHARSMAP_H

#include "base/context.h"

/* SentencePiece's precompiled_charsmap (normalizer.cc): a double-array trie (Darts-clone) from byte
 * strings to replacements in a pool of NUL-terminated strings. Checked as a whole when it is read. */
struct dfi_charsmap {
    uint32_t *units;
    size_t unit_count; /* 0: no map */
    unsigned char *pool;
    size_t pool_size;
};

int dfi_charsmap_read(struct diffc_context *context, const char *name, const unsigned char *data, size_t size,
                      struct dfi_charsmap *map);
void dfi_charsmap_clear(struct diffc_context *context, struct dfi_charsmap *map);

/* The longest key that `text` begins with: its bytes, and what replaces it. 0: none. */
size_t dfi_charsmap_match(const struct dfi_charsmap *map, const unsigned char *text, size_t size,
                          const unsigned char **replacement, size_t *replacement_size);

#define DFI_CHARSMAP_MAX ((size_t)4 << 20) /* bytes */

#endif
