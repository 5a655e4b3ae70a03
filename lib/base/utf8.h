#ifndef DFI_BASE_UTF8_H
#define DFI_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The character at `p`: its bytes, or 0 if it is not well-formed (RFC 3629: no overlong form, no surrogate,
 * nothing over U+10FFFF, not cut short). */
static inline size_t dfi_utf8_decode(const unsigned char *p, size_t left, uint32_t *character)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (left == 0)
        return 0;
    const size_t length = p[0] < 0x80   ? 1
                          : p[0] < 0xC0 ? 0
                          : p[0] < 0xE0 ? 2
                          : p[0] < 0xF0 ? 3
                          : p[0] < 0xF8 ? 4
                                        : 0;
    if (length == 0 || length > left)
        return 0;
    uint32_t value = length == 1 ? p[0] : p[0] & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3F);
    }
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        return 0;
    *character = value;
    return length;
}

/* Writes a character of at most U+10FFFF; returns its 1 to 4 bytes. */
static inline size_t dfi_utf8_encode(uint32_t c, unsigned char out[4])
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    const size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = { 0, 0, 0xC0, 0xE0, 0xF0 };
    for (size_t i = length - 1; i > 0; i--, c >>= 6)
        out[i] = (unsigned char)(0x80 | (c & 0x3F));
    out[0] = (unsigned char)(lead[length] | c);
    return length;
}

/* First byte that is not well-formed; `size` if all is. */
static inline size_t dfi_utf8_span(const unsigned char *p, size_t size)
{
    uint32_t character;
    size_t at = 0;
    for (size_t step; at < size && (step = dfi_utf8_decode(p + at, size - at, &character)) > 0;)
        at += step;
    return at;
}

static inline int dfi_utf8_valid(const char *text, size_t length)
{
    return dfi_utf8_span((const unsigned char *)text, length) == length;
}

#endif
