/* HTML and URL escapes in captions. */

#include <string.h>

#include "text/prepare.h"
#include "base/utf8.h"

#include "text/entity_table.h"

#define REFERENCE_MAX 32 /* characters of the longest reference looked at */
#define REPLACEMENT 0xFFFD

static void put(struct dfi_bytes *to, uint32_t character)
{
    dfi_bytes_put(to, &character, sizeof(character));
}

static const uint32_t *characters(const struct dfi_bytes *text, size_t *count)
{
    *count = text->size / sizeof(uint32_t);
    return (const uint32_t *)(const void *)text->data;
}

static int hex_value(uint32_t c)
{
    return c >= '0' && c <= '9'   ? (int)(c - '0')
           : c >= 'a' && c <= 'f' ? (int)(c - 'a') + 10
           : c >= 'A' && c <= 'F' ? (int)(c - 'A') + 10
                                  : -1;
}

int dfi_markup_unquote(const unsigned char *text, size_t size, struct dfi_bytes *result)
{
    unsigned char bytes[4]; /* one character at a time, some of its bytes from escapes */
    size_t have = 0;
    for (size_t at = 0;;) {
        while (have < sizeof(bytes) && at < size) {
            const int escape = text[at] == '%' && size - at > 2 && hex_value(text[at + 1]) >= 0 &&
                               hex_value(text[at + 2]) >= 0;
            bytes[have++] = escape ? (unsigned char)(16 * hex_value(text[at + 1]) + hex_value(text[at + 2]))
                            : text[at] == '+' ? ' '
                                              : text[at];
            at += escape ? 3 : 1;
        }
        if (have == 0)
            return result->status;
        uint32_t character = REPLACEMENT;
        const size_t step = dfi_utf8_decode(bytes, have, &character), used = step ? step : 1;
        put(result, character);
        have -= used;
        memmove(bytes, bytes + used, have);
    }
}

/* What HTML takes the numbers 0x80 to 0x9F for: characters of Windows-1252 (HTML Living Standard, numeric
 * character reference end state). */
static const uint16_t windows_1252[32] = {
    0x20AC, 0x81,   0x201A, 0x192,  0x201E, 0x2026, 0x2020, 0x2021, 0x2C6,  0x2030, 0x160,
    0x2039, 0x152,  0x8D,   0x17D,  0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x2DC,  0x2122, 0x161,  0x203A, 0x153,  0x9D,   0x17E,  0x178,
};

/* &#123; and &#x7B;: the character, or 0. `used`: what it takes with its ampersand. */
static uint32_t numeric(const uint32_t *text, size_t count, size_t *used)
{
    const int hex = count > 2 && (text[2] == 'x' || text[2] == 'X');
    const size_t first = hex ? 3 : 2;
    uint32_t value = 0;
    size_t at = first;
    for (; at < count && at < REFERENCE_MAX; at++) {
        const int digit = hex_value(text[at]);
        if (digit < 0 || (!hex && digit > 9))
            break;
        value = value > 0x110000 ? value : value * (hex ? 16u : 10u) + (uint32_t)digit;
    }
    if (at == first)
        return 0;
    *used = at + (at < count && text[at] == ';');
    if (value >= 0x80 && value < 0xA0)
        return windows_1252[value - 0x80];
    return value == 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000) ? REPLACEMENT : value;
}

/* Letters and digits behind an ampersand. */
static size_t read_name(const uint32_t *text, size_t count, char name[REFERENCE_MAX])
{
    size_t length = 0;
    while (1 + length < count && length + 1 < REFERENCE_MAX && text[1 + length] < 0x80 &&
           dfi_character_is_word(text[1 + length]) && text[1 + length] != '_') {
        name[length] = (char)text[1 + length];
        length++;
    }
    name[length] = '\0';
    return length;
}

static uint32_t find_entity(const char *name, size_t length)
{
    for (int i = 0; i < DFI_COUNT(entities); i++)
        if (strlen(entities[i].name) == length && memcmp(entities[i].name, name, length) == 0)
            return entities[i].character;
    return 0;
}

/* html.unescape(): &name; and, of those that HTML knows without a semicolon (Latin 1), the longest &name. */
static uint32_t named(const uint32_t *text, size_t count, size_t *used)
{
    char name[REFERENCE_MAX];
    const size_t length = read_name(text, count, name);
    const int ended = 1 + length < count && text[1 + length] == ';';
    for (size_t tried = length; tried > 0; tried--) {
        const int whole = tried == length && ended;
        const uint32_t found = find_entity(name, tried);
        if (!found || (!whole && found > 0xFF))
            continue;
        *used = 1 + tried + (size_t)whole;
        return found;
    }
    return 0;
}

int dfi_markup_unescape(const struct dfi_bytes *from, struct dfi_bytes *result)
{
    size_t count;
    const uint32_t *text = characters(from, &count);
    for (size_t at = 0; at < count;) {
        size_t used = 1;
        uint32_t character = 0;
        if (text[at] == '&' && count - at > 1)
            character = (text[at + 1] == '#' ? numeric : named)(text + at, count - at, &used);
        put(result, character ? character : text[at]);
        at += character ? used : 1;
    }
    return result->status;
}

static int begins(const uint32_t *text, size_t count, const char *with)
{
    for (size_t i = 0; with[i]; i++)
        if (i >= count || text[i] != (uint32_t)(unsigned char)with[i])
            return 0;
    return 1;
}

/* Behind `end`, from `at` on; `count` if it does not come. */
static size_t behind(const uint32_t *text, size_t count, size_t at, const char *end)
{
    while (at < count && !begins(text + at, count - at, end))
        at++;
    return at < count ? at + strlen(end) : count;
}

/* Length of the tag at a '<', with '>' in quotes; 0 if it is none. */
static size_t tag(const uint32_t *text, size_t count)
{
    const uint32_t next = count > 1 ? text[1] : 0;
    const int letter = (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z');
    uint32_t quote = 0;
    if (begins(text, count, "<!--"))
        return behind(text, count, 4, "-->");
    if (next == '!' || next == '?')
        return behind(text, count, 2, ">");
    if (!letter && !(next == '/' && count > 2))
        return 0;
    for (size_t at = 1; at < count; at++) {
        if (quote ? text[at] == quote : text[at] == '>') {
            if (!quote)
                return at + 1;
            quote = 0;
        } else if (!quote && (text[at] == '"' || text[at] == '\'') && text[at - 1] == '=') {
            quote = text[at];
        }
    }
    return 0;
}

/* A reference as html.parser reads it in text: by its whole name, and not at the very end, where a single
 * letter costs the ampersand. Returns how much of the text is used up. */
static size_t put_reference(const uint32_t *text, size_t count, struct dfi_bytes *result)
{
    char name[REFERENCE_MAX];
    size_t used = 1;
    const uint32_t next = count > 1 ? text[1] : 0;
    uint32_t character = 0;
    if (count == 2 &&
        (next == '#' || (next < 0x80 && dfi_character_is_word(next) && next != '_' && next > '9')))
        return 1;
    if (next == '#') {
        character = numeric(text, count, &used);
    } else {
        const size_t length = read_name(text, count, name);
        character = find_entity(name, length);
        used = 1 + length + (1 + length < count && text[1 + length] == ';');
    }
    const int at_end = used == count && text[used - 1] != ';';
    put(result, character && !at_end ? character : '&');
    return character && !at_end ? used : 1;
}

int dfi_markup_strip(const struct dfi_bytes *from, struct dfi_bytes *result)
{
    size_t count;
    const uint32_t *text = characters(from, &count);
    size_t last = count; /* the last '>': a '<' behind it is no tag */
    while (last > 0 && text[last - 1] != '>')
        last--;
    for (size_t at = 0; at < count;) {
        const size_t length = text[at] == '<' && at < last ? tag(text + at, last - at) : 0;
        if (length) {
            at += length;
        } else if (text[at] == '&') {
            at += put_reference(text + at, count - at, result);
        } else {
            put(result, text[at]);
            at++;
        }
    }
    return result->status;
}
