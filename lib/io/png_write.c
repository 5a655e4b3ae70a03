#include <string.h>

#include "base/checked.h"
#include "base/file.h"
#include "base/utf8.h"

#include "io/json.h"
#include "io/png.h"
#include "io/png_parts.h"

enum { MAX_KEY = 79 };

struct png_save {
    struct dfi_png_job job;
    const struct dfi_png_picture *picture;
    struct dfi_atomic_file file;
    png_structp png;
    png_infop info;
    png_text *texts;
    int text_count;
    unsigned char *row;
};

static void write_bytes(png_structp png, png_bytep data, size_t size)
{
    struct png_save *const save = png_get_io_ptr(png);
    const int status = dfi_atomic_append(&save->file, data, size);
    if (status) {
        save->job.status = status;
        png_error(png, "cannot write");
    }
}

static void flush_bytes(png_structp png)
{
    (void)png;
}

/* PNG specification, 11.3.4.2: 1 to 79 characters, no spaces at the ends or twice in a row. ASCII only here.
 */
static int check_key(const char *key)
{
    const size_t length = strlen(key);
    int good = length >= 1 && length <= MAX_KEY && key[0] != ' ' && key[length - 1] != ' ';
    for (size_t i = 0; i < length && good; i++)
        good = key[i] >= 0x20 && key[i] < 0x7F && !(key[i] == ' ' && key[i + 1] == ' ');
    char text[MAX_KEY + 4];
    return good ? DIFFC_OK
                : dfi_fail(DIFFC_ERR_ARG, "text key \"%s\" is no PNG keyword: 1 to 79 ASCII characters",
                           dfi_clip(key, text, sizeof(text)));
}

static int is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return !*text;
}

static int make_text(struct png_save *save, const char *key, const char *value)
{
    png_text *const text = &save->texts[save->text_count];
    DFI_TRY(check_key(key));
    if (!dfi_utf8_valid(value, strlen(value)))
        return dfi_fail(DIFFC_ERR_ARG, "text \"%s\": its value is not UTF-8", key);
    *text = (png_text) { .compression = is_ascii(value) ? PNG_TEXT_COMPRESSION_NONE
                                                        : PNG_ITXT_COMPRESSION_NONE };
    text->key = (char *)(uintptr_t)key;
    text->text = (char *)(uintptr_t)value;
    text->text_length = strlen(value);
    save->text_count++;
    return DIFFC_OK;
}

static int make_texts(struct png_save *save)
{
    const char *const *const text = save->picture->text;
    size_t count = 0;
    while (text && text[2 * count] && text[2 * count + 1])
        count++;
    if (text && text[2 * count]) {
        DFI_TRY(check_key(text[2 * count]));
        return dfi_fail(DIFFC_ERR_ARG, "text \"%s\": its value is missing", text[2 * count]);
    }
    save->texts = dfi_calloc(save->job.context, count, sizeof(*save->texts));
    if (!save->texts)
        return DIFFC_ERR_NOMEM;
    for (size_t i = 0; i < count; i++)
        DFI_TRY(make_text(save, text[2 * i], text[2 * i + 1]));
    return DIFFC_OK;
}

static int make_row(struct png_save *save)
{
    const struct dfi_png_picture *const picture = save->picture;
    const diffc_limits *const limits = &save->job.context->limits;
    size_t bytes;
    if (picture->width > limits->image_width || picture->height > limits->image_height ||
        picture->width > PNG_UINT_31_MAX || picture->height > PNG_UINT_31_MAX ||
        dfi_ck_mul((size_t)picture->width, (size_t)picture->channels, &bytes))
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "picture of %lld x %lld pixels, limits.image_width x image_height is %lld x %lld",
                        (long long)picture->width, (long long)picture->height, (long long)limits->image_width,
                        (long long)limits->image_height);
    save->row = dfi_alloc(save->job.context, bytes);
    return save->row ? DIFFC_OK : DIFFC_ERR_NOMEM;
}

static int write_rows(struct png_save *save)
{
    const struct dfi_png_picture *const picture = save->picture;
    const int colour = picture->channels == 1   ? PNG_COLOR_TYPE_GRAY
                       : picture->channels == 3 ? PNG_COLOR_TYPE_RGB
                                                : PNG_COLOR_TYPE_RGB_ALPHA;
    if (setjmp(png_jmpbuf(save->png)))
        return save->job.status;
    png_set_write_fn(save->png, save, write_bytes, flush_bytes);
    png_set_user_limits(save->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* checked before */
    png_set_IHDR(save->png, save->info, (png_uint_32)picture->width, (png_uint_32)picture->height, 8, colour,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (save->text_count)
        png_set_text(save->png, save->info, save->texts, save->text_count);
    png_write_info(save->png, save->info);
    for (int64_t y = 0; y < picture->height; y++) {
        picture->row(picture->work, y, save->row);
        png_write_row(save->png, save->row);
    }
    png_write_end(save->png, NULL);
    /* The chunks of a text that found no memory are left out with a warning only. */
    return save->job.status;
}

static int write_file(struct png_save *save, const char *path)
{
    DFI_TRY(make_row(save));
    DFI_TRY(make_texts(save));
    save->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &save->job, dfi_png_error, dfi_png_warn,
                                          &save->job, dfi_png_alloc, dfi_png_free);
    save->info = save->png ? png_create_info_struct(save->png) : NULL;
    if (!save->info)
        return save->job.status ? save->job.status
                                : dfi_fail(DIFFC_ERR_NOMEM, "%s: no memory for libpng", path);
    DFI_TRY(dfi_atomic_begin(save->job.context, path, 0, &save->file));
    int status = write_rows(save);
    if (!status)
        status = dfi_atomic_commit(&save->file);
    dfi_atomic_abort(&save->file);
    return status;
}

int dfi_png_write(struct diffc_context *context, const struct dfi_png_picture *picture, const char *path)
{
    struct png_save save = { .job = { .context = context, .name = path } };
    save.picture = picture;
    const int status = write_file(&save, path);
    if (save.png)
        png_destroy_write_struct(&save.png, &save.info);
    dfi_free(context, save.texts);
    dfi_free(context, save.row);
    return status;
}
