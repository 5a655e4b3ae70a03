#include "text/charsmap.h"

#include <string.h>

#include "base/utf8.h"

static int has_leaf(uint32_t unit)
{
    return unit >> 8 & 1;
}

/* Of a unit that is no leaf; a leaf's has bit 31 and equals no byte. */
static uint32_t label(uint32_t unit)
{
    return unit & 0x800000FFu;
}

static size_t offset(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & 0x200) >> 6);
}

static uint32_t leaf_value(uint32_t unit)
{
    return unit & 0x7FFFFFFFu;
}

static uint32_t load_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

size_t dfi_charsmap_match(const struct dfi_charsmap *map, const unsigned char *text, size_t size,
                          const unsigned char **replacement, size_t *replacement_size)
{
    size_t longest = 0;
    if (map->unit_count == 0)
        return 0;
    size_t node = offset(map->units[0]);
    for (size_t i = 0; i < size && text[i]; i++) {
        node ^= text[i];
        if (node >= map->unit_count || label(map->units[node]) != text[i])
            break;
        const uint32_t unit = map->units[node];
        node ^= offset(unit);
        if (has_leaf(unit)) {
            longest = i + 1;
            *replacement = map->pool + leaf_value(map->units[node]);
        }
    }
    if (longest)
        *replacement_size = strlen((const char *)*replacement);
    return longest;
}

/* The check: a walk through all that a lookup can reach. */

enum { NEW, OPEN, DONE };

struct walk {
    const char *name;
    const struct dfi_charsmap *map;
    unsigned char *state; /* of every unit: NEW, OPEN (on the path from the root), DONE */
    struct step {
        size_t unit, base; /* children are at base ^ byte */
        int next;          /* byte to look at */
    } * path;
    size_t depth;
};

#define MAX_DEPTH 4096       /* bytes of the longest key */
#define MAX_REPLACEMENT 1024 /* and of what stands for it */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int fail(const struct walk *walk, size_t unit, const char *what)
{
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: precompiled_charsmap: unit %zu of %zu: %s", walk->name, unit,
                    walk->map->unit_count, what);
}

static int check_leaf(const struct walk *walk, size_t unit, size_t base)
{
    const struct dfi_charsmap *map = walk->map;
    const uint32_t value = leaf_value(map->units[base]);
    if (value >= map->pool_size)
        return fail(walk, unit, "its replacement lies beyond the strings");
    if (!memchr(map->pool + value, 0, smaller(map->pool_size - value, MAX_REPLACEMENT + 1)))
        return fail(walk, unit, "a replacement of more than 1024 bytes");
    if ((map->pool[value] & 0xC0) == 0x80)
        return fail(walk, unit, "its replacement begins inside a character");
    return DIFFC_OK;
}

static int enter(struct walk *walk, size_t unit)
{
    const struct dfi_charsmap *map = walk->map;
    const size_t base = unit ^ offset(map->units[unit]);
    if (walk->depth == MAX_DEPTH)
        return fail(walk, unit, "a key of more than 4096 bytes");
    if (base >= map->unit_count)
        return fail(walk, unit, "its offset leads outside");
    if (has_leaf(map->units[unit]))
        DFI_TRY(check_leaf(walk, unit, base));
    walk->state[unit] = OPEN;
    walk->path[walk->depth++] = (struct step) { unit, base, 1 };
    return DIFFC_OK;
}

/* Goes on to the next child of the step on top, or back to its parent. */
static int advance(struct walk *walk)
{
    const struct dfi_charsmap *map = walk->map;
    struct step *top = &walk->path[walk->depth - 1];
    while (top->next < 256) {
        const uint32_t byte = (uint32_t)top->next++;
        const size_t child = top->base ^ byte;
        if (child >= map->unit_count || label(map->units[child]) != byte || walk->state[child] == DONE)
            continue;
        if (walk->state[child] == OPEN)
            return fail(walk, child, "it is its own ancestor");
        return enter(walk, child);
    }
    walk->state[top->unit] = DONE;
    walk->depth--;
    return DIFFC_OK;
}

static int check_units(struct diffc_context *context, const char *name, const struct dfi_charsmap *map)
{
    struct walk walk = { name, map, dfi_calloc(context, map->unit_count, 1),
                         dfi_alloc(context, MAX_DEPTH * sizeof(struct step)), 0 };
    int status = walk.state && walk.path ? DIFFC_OK : DIFFC_ERR_NOMEM;
    if (status == DIFFC_OK)
        status = enter(&walk, 0);
    while (status == DIFFC_OK && walk.depth > 0)
        status = advance(&walk);
    dfi_free(context, walk.path);
    dfi_free(context, walk.state);
    return status;
}

/* Cuts the blob in two and copies the parts. */
static int copy_parts(struct diffc_context *context, const char *name, const unsigned char *data, size_t size,
                      struct dfi_charsmap *map)
{
    if (size > DFI_CHARSMAP_MAX)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: precompiled_charsmap of %zu bytes, at most %zu are read", name,
                        size, DFI_CHARSMAP_MAX);
    const size_t trie = size < 4 ? 0 : load_u32(data);
    if (size < 4 || trie == 0 || trie % 4 || trie > size - 4)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: precompiled_charsmap of %zu bytes with a trie of %zu", name,
                        size, trie);
    map->pool_size = size - 4 - trie;
    const unsigned char *pool = data + 4 + trie;
    if (map->pool_size == 0 || pool[map->pool_size - 1] != 0 ||
        dfi_utf8_span(pool, map->pool_size) != map->pool_size)
        return dfi_fail(DIFFC_ERR_FORMAT,
                        "%s: precompiled_charsmap: its strings are not UTF-8, each ended with 0", name);
    map->units = dfi_alloc(context, trie);
    map->pool = dfi_alloc(context, map->pool_size);
    if (!map->units || !map->pool)
        return DIFFC_ERR_NOMEM;
    map->unit_count = trie / 4;
    for (size_t i = 0; i < map->unit_count; i++)
        map->units[i] = load_u32(data + 4 + 4 * i);
    memcpy(map->pool, pool, map->pool_size);
    return DIFFC_OK;
}

int dfi_charsmap_read(struct diffc_context *context, const char *name, const unsigned char *data, size_t size,
                      struct dfi_charsmap *map)
{
    memset(map, 0, sizeof(*map));
    if (size == 0)
        return DIFFC_OK;
    int status = copy_parts(context, name, data, size, map);
    if (status == DIFFC_OK)
        status = check_units(context, name, map);
    if (status < 0)
        dfi_charsmap_clear(context, map);
    return status;
}

void dfi_charsmap_clear(struct diffc_context *context, struct dfi_charsmap *map)
{
    dfi_free(context, map->units);
    dfi_free(context, map->pool);
    memset(map, 0, sizeof(*map));
}
