/* The caption cleaning of the DeepFloyd IF pipelines (diffusers, pipeline_if.py, _clean_caption()). */

#include <string.h>

#include "text/regex.h"
#include "base/utf8.h"

struct rule {
    const char *pattern, *replacement;
};

#define URL_TAIL "[a-zA-Z0-9.\\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\\w/-]*\\b/?(?!@)"

static const struct rule links[] = {
    { "<person>", "person" },
    { "\\b(?:https?:(?:/{1,3}|[a-zA-Z0-9%])|" URL_TAIL ")", "" },
    { "\\b(?:www:(?:/{1,3}|[a-zA-Z0-9%])|" URL_TAIL ")", "" },
};

static const struct rule signs[] = {
    { "@[\\w\\d]+\\b", "" },
    { "[\u31c0-\u31ef]+", "" },
    { "[\u31f0-\u31ff]+", "" },
    { "[\u3200-\u32ff]+", "" },
    { "[\u3300-\u33ff]+", "" },
    { "[\u3400-\u4dbf]+", "" },
    { "[\u4dc0-\u4dff]+", "" },
    { "[\u4e00-\u9fff]+", "" },
    { "[\\-\u058A\u05BE\u1400\u1806\u2010-\u2015\u2E17\u2E1A\u2E3A\u2E3B\u2E40\u301C\u3030\u30A0\uFE31\uFE32"
      "\uFE58\uFE63\uFF0D]+",
      "-" },
    { "[`\u00B4\u00AB\u00BB\u201C\u201D\u00A8]", "\"" },
    { "[\u2018\u2019]", "'" },
    { "&quot;?", "" },
    { "&amp", "" },
    { "\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}", " " },
    { "\\d:\\d\\d\\s+$", "" },
    { "\\\\n", " " },
    { "#\\d{1,3}\\b", "" },
    { "#\\d{5,}\\b", "" },
    { "\\b\\d{6,}\\b", "" },
    { "[\\S]+\\.(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)", "" },
    { "[\"']{2,}", "\"" },
    { "[.]{2,}", " " },
    { "[#\u00AE\u2022\u00A9\u2122&@\u00B7\u00BA\u00BD\u00BE\u00BF\u00A1\u00A7~)(\\]\\[}{|\\\\/*]{1,}", " " },
    { "\\s+\\.\\s+", " " },
};

static const struct rule joints[] = { { "[\\-_]", " " } };

static const struct rule words[] = {
    { "\\b[a-zA-Z]{1,3}\\d{3,15}\\b", "" },
    { "\\b[a-zA-Z]+\\d+[a-zA-Z]+\\b", "" },
    { "\\b\\d+[a-zA-Z]+\\d+\\b", "" },
    { "(?:worldwide\\s+)?(?:free\\s+)?shipping", "" },
    { "(?:free\\s)?download(?:\\sfree)?", "" },
    { "\\bclick\\b\\s(?:for|on)\\s\\w+", "" },
    { "\\b(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)(?:\\simage[s]?)?", "" },
    { "\\bpage\\s+\\d+\\b", "" },
    { "\\b\\d*[a-zA-Z]+\\d+[a-zA-Z]+\\d+[a-zA-Z\\d]*\\b", " " },
    { "\\b\\d+\\.?\\d*[x\u0445\u00D7]\\d+\\.?\\d*\\b", "" },
    { "\\b\\s+:\\s+", ": " },
    { "(\\D[,./])\\b", "\\1 " },
    { "\\s+", " " },
    { "^[\"']([\\w\\W]+)[\"']$", "\\1" },
    { "^['_,\\-:;]", "" },
    { "['_,\\-:+]$", "" },
    { "^\\.\\S+$", "" },
};

static struct dfi_bytes new_text(struct diffc_context *context, size_t limit)
{
    return (struct dfi_bytes) { .context = context, .limit = limit };
}

/* `result` takes the place of `text`. */
static void take(struct dfi_bytes *text, struct dfi_bytes *result)
{
    dfi_bytes_clear(text);
    *text = *result;
}

static int apply(struct dfi_bytes *text, const struct rule *rules, int count)
{
    struct dfi_regex *regex = dfi_alloc(text->context, sizeof(*regex));
    int status = regex ? DIFFC_OK : DIFFC_ERR_NOMEM;
    for (int i = 0; i < count && status == DIFFC_OK; i++) {
        struct dfi_bytes result = new_text(text->context, text->limit);
        if (dfi_regex_compile(rules[i].pattern, regex))
            status = dfi_fail(DIFFC_ERR_UNSUPPORTED, "pattern %s", rules[i].pattern);
        else
            status = dfi_regex_replace(text->context, regex, rules[i].replacement, text, &result);
        take(text, &result);
    }
    dfi_free(text->context, regex);
    return status;
}

static int apply_markup(struct dfi_bytes *text, int (*change)(const struct dfi_bytes *, struct dfi_bytes *))
{
    struct dfi_bytes result = new_text(text->context, text->limit);
    const int status = change(text, &result);
    take(text, &result);
    return status;
}

/* More than three '-' and '_': words joined by them. */
static int has_joints(const struct dfi_bytes *text)
{
    const uint32_t *characters = (const uint32_t *)(const void *)text->data;
    int found = 0;
    for (size_t i = 0; i < text->size / sizeof(*characters) && found <= 3; i++)
        found += characters[i] == '-' || characters[i] == '_';
    return found > 3;
}

/* What ftfy.fix_text() makes of single characters: several of them, one other, or none. */

static const struct {
    uint32_t character;
    const char *several;
} ligatures[] = {
    { 0x132, "IJ" },       { 0x133, "ij" },      { 0x149, "\u02BCn" },  { 0x1C4, "D\u017D" },
    { 0x1C5, "D\u017E" },  { 0x1C6, "d\u017E" }, { 0x1C7, "LJ" },       { 0x1C8, "Lj" },
    { 0x1C9, "lj" },       { 0x1CA, "NJ" },      { 0x1CB, "Nj" },       { 0x1CC, "nj" },
    { 0x1F1, "DZ" },       { 0x1F2, "Dz" },      { 0x1F3, "dz" },       { 0xFB00, "ff" },
    { 0xFB01, "fi" },      { 0xFB02, "fl" },     { 0xFB03, "ffi" },     { 0xFB04, "ffl" },
    { 0xFB05, "\u017Ft" }, { 0xFB06, "st" },     { 0xFFE3, " \u0304" },
};

static const char *several_of(uint32_t c)
{
    for (int i = 0; i < DFI_COUNT(ligatures); i++)
        if (ligatures[i].character == c)
            return ligatures[i].several;
    return NULL;
}

static int is_control(uint32_t c)
{
    return c < 0x09 || c == 0x0B || (c >= 0x0E && c < 0x20) || c == 0x7F || (c >= 0x206A && c <= 0x206F) ||
           c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFC);
}

static uint32_t plain_form(uint32_t c)
{
    if (c == 0x3000)
        return ' ';
    if ((c >= 0x2018 && c <= 0x201B) || c == 0x02BC)
        return '\'';
    if (c >= 0x201C && c <= 0x201F)
        return '"';
    return c == 0x2028 || c == 0x2029 || c == 0x85 ? '\n' : dfi_character_width(c);
}

static void put_several(struct dfi_bytes *result, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t left = strlen(text); left > 0;) {
        uint32_t character = 0;
        const size_t step = dfi_utf8_decode(p, left, &character);
        character = plain_form(character);
        dfi_bytes_put(result, &character, sizeof(character));
        p += step;
        left -= step;
    }
}

static int fix_characters(const struct dfi_bytes *text, struct dfi_bytes *result)
{
    const uint32_t *characters = (const uint32_t *)(const void *)text->data;
    for (size_t i = 0; i < text->size / sizeof(*characters); i++) {
        const char *several = several_of(characters[i]);
        const uint32_t c = plain_form(characters[i]);
        if (several)
            put_several(result, several);
        else if (!is_control(c))
            dfi_bytes_put(result, &c, sizeof(c));
    }
    return result->status;
}

static int to_bytes(const struct dfi_bytes *text, struct dfi_bytes *result)
{
    const uint32_t *characters = (const uint32_t *)(const void *)text->data;
    for (size_t i = 0; i < text->size / sizeof(*characters); i++)
        dfi_bytes_put_character(result, characters[i]);
    return result->status;
}

static int to_characters(const unsigned char *bytes, size_t size, struct dfi_bytes *result)
{
    for (size_t at = 0; at < size;) {
        uint32_t character = 0xFFFD;
        const size_t step = dfi_utf8_decode(bytes + at, size - at, &character);
        dfi_bytes_put(result, &character, sizeof(character));
        at += step ? step : 1;
    }
    return result->status;
}

/* lower().strip(): by way of bytes. */
static int lower(struct dfi_bytes *text)
{
    struct dfi_bytes bytes = new_text(text->context, text->limit), low = { .context = text->context };
    struct dfi_bytes result = new_text(text->context, text->limit);
    int status = to_bytes(text, &bytes);
    if (status == DIFFC_OK)
        status = dfi_text_lower(text->context, bytes.data, bytes.size, &low);
    if (status == DIFFC_OK)
        status = to_characters(low.data, low.size, &result);
    dfi_bytes_clear(&bytes);
    dfi_bytes_clear(&low);
    take(text, &result);
    return status;
}

static int clean_once(struct dfi_bytes *text)
{
    DFI_TRY(lower(text));
    DFI_TRY(apply(text, links, DFI_COUNT(links)));
    DFI_TRY(apply_markup(text, dfi_markup_strip));
    DFI_TRY(apply(text, signs, DFI_COUNT(signs)));
    if (has_joints(text))
        DFI_TRY(apply(text, joints, DFI_COUNT(joints)));
    DFI_TRY(apply_markup(text, fix_characters));
    DFI_TRY(apply_markup(text, dfi_markup_unescape));
    DFI_TRY(apply_markup(text, dfi_markup_unescape));
    return apply(text, words, DFI_COUNT(words));
}

static int clean_twice(struct dfi_bytes *text, const unsigned char *bytes, size_t size)
{
    DFI_TRY(dfi_markup_unquote(bytes, size, text));
    DFI_TRY(clean_once(text));
    struct dfi_bytes again = new_text(text->context, text->limit), second = again;
    int status = to_bytes(text, &again);
    if (status == DIFFC_OK)
        status = dfi_markup_unquote(again.data, again.size, &second);
    dfi_bytes_clear(&again);
    take(text, &second);
    return status < 0 ? status : clean_once(text);
}

/* A rule may make three characters of two, so there is a limit. */
int dfi_text_clean(struct diffc_context *context, const unsigned char *bytes, size_t size,
                   struct dfi_bytes *result)
{
    struct dfi_bytes text = new_text(context, 64 * (size + 64)), plain = text;
    int status = clean_twice(&text, bytes, size);
    if (status == DIFFC_OK)
        status = to_bytes(&text, &plain);
    *result = new_text(context, 0);
    if (status == DIFFC_OK) /* strip(): lower() has been */
        status = dfi_text_lower(context, plain.data, plain.size, result);
    dfi_bytes_clear(&plain);
    dfi_bytes_clear(&text);
    return status;
}
