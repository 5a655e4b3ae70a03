#include <string.h>

#include "text/prepare.h"
#include "base/utf8.h"

struct lower_range {
    uint32_t first, last;
    int step, difference;
};

struct range {
    uint32_t first, last;
};

#include "text/case_table.h"

#define CAPITAL_SIGMA 0x3A3
#define FINAL_SIGMA 0x3C2
#define WRONG 0xFFFFFFFFu /* a byte that is not UTF-8 */

static int within(const struct range *ranges, int count, uint32_t character)
{
    int low = 0, high = count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (ranges[middle].last < character)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low].first <= character;
}

uint32_t dfi_character_lower(uint32_t character)
{
    int low = 0, high = DFI_COUNT(lower_ranges);
    while (low < high) {
        const int middle = (low + high) / 2;
        if (lower_ranges[middle].last < character)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == DFI_COUNT(lower_ranges) || character < lower_ranges[low].first)
        return character;
    const struct lower_range *range = &lower_ranges[low];
    if ((character - range->first) % (uint32_t)range->step)
        return character;
    return (uint32_t)((int64_t)character + range->difference);
}

int dfi_character_is_space(uint32_t character)
{
    return within(space_ranges, DFI_COUNT(space_ranges), character);
}

int dfi_character_is_word(uint32_t character)
{
    if (character < 0x80)
        return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
               (character >= '0' && character <= '9') || character == '_';
    return within(word_ranges, DFI_COUNT(word_ranges), character);
}

uint32_t dfi_character_width(uint32_t character)
{
    const uint32_t place = character - 0xFF01;
    return place < DFI_COUNT(width_forms) && width_forms[place] ? width_forms[place] : character;
}

int dfi_character_is_digit(uint32_t character)
{
    if (character < 0x80)
        return character >= '0' && character <= '9';
    return within(digit_ranges, DFI_COUNT(digit_ranges), character);
}

void dfi_bytes_put(struct dfi_bytes *bytes, const void *data, size_t size)
{
    if (bytes->status)
        return;
    if (size > bytes->limit - bytes->size) {
        bytes->status = dfi_fail(DIFFC_ERR_LIMIT, "text grows over %zu bytes", bytes->limit);
        return;
    }
    if (bytes->size + size > bytes->capacity) {
        size_t wanted = 2 * (bytes->size + size) + 64;
        wanted = wanted < bytes->limit ? wanted : bytes->limit;
        unsigned char *bigger = dfi_realloc(bytes->context, bytes->data, bytes->size, wanted);
        if (!bigger) {
            bytes->status = DIFFC_ERR_NOMEM;
            return;
        }
        bytes->data = bigger;
        bytes->capacity = wanted;
    }
    if (size)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

void dfi_bytes_put_character(struct dfi_bytes *bytes, uint32_t character)
{
    unsigned char text[4];
    dfi_bytes_put(bytes, text, dfi_utf8_encode(character, text));
}

void dfi_bytes_clear(struct dfi_bytes *bytes)
{
    dfi_free(bytes->context, bytes->data);
    bytes->data = NULL;
    bytes->size = bytes->capacity = 0;
}

static size_t decode(const unsigned char *text, size_t left, uint32_t *character)
{
    const size_t size = dfi_utf8_decode(text, left, character);
    if (size)
        return size;
    *character = WRONG;
    return 1;
}

/* Whether the first character that is not ignored, from `at` on, is cased. */
static int cased_follows(const unsigned char *text, size_t size, size_t at)
{
    while (at < size) {
        uint32_t character;
        at += decode(text + at, size - at, &character);
        if (!within(ignored_ranges, DFI_COUNT(ignored_ranges), character))
            return within(cased_ranges, DFI_COUNT(cased_ranges), character);
    }
    return 0;
}

static size_t skip_spaces(const unsigned char *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        uint32_t character;
        const size_t step = decode(text + at, size - at, &character);
        if (!dfi_character_is_space(character))
            break;
        at += step;
    }
    return at;
}

/* End of the last character that is no space. */
static size_t last_word(const unsigned char *text, size_t size)
{
    size_t end = 0;
    for (size_t at = 0; at < size;) {
        uint32_t character;
        at += decode(text + at, size - at, &character);
        if (!dfi_character_is_space(character))
            end = at;
    }
    return end;
}

/* Final_Sigma: a sigma behind a cased letter and not before one. */
int dfi_text_lower(struct diffc_context *context, const unsigned char *text, size_t size,
                   struct dfi_bytes *result)
{
    const size_t end = last_word(text, size);
    int after_cased = 0;
    *result = (struct dfi_bytes) { .context = context, .limit = 3 * size + 4 };
    for (size_t at = skip_spaces(text, end); at < end;) {
        uint32_t character;
        const size_t start = at;
        at += decode(text + at, end - at, &character);
        if (character == WRONG)
            dfi_bytes_put(result, text + start, at - start);
        else if (character == CAPITAL_SIGMA && after_cased && !cased_follows(text, end, at))
            dfi_bytes_put_character(result, FINAL_SIGMA);
        else if (character == 0x130)
            dfi_bytes_put(result, "i\xCC\x87", 3);
        else
            dfi_bytes_put_character(result, dfi_character_lower(character));
        if (!within(ignored_ranges, DFI_COUNT(ignored_ranges), character))
            after_cased = within(cased_ranges, DFI_COUNT(cased_ranges), character);
    }
    return result->status;
}

int dfi_text_check(const unsigned char *text, size_t size)
{
    const size_t at = dfi_utf8_span(text, size);
    if (at < size)
        return dfi_fail(DIFFC_ERR_FORMAT, "byte %zu of the text is not UTF-8", at);
    return DIFFC_OK;
}
