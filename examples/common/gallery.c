#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gallery.h"

#define TEXTS 26      /* keys and values, and the end */
#define LINE_BYTES 44 /* of a label */

/* The last part of a path. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static uint64_t seed_of(const struct ex_studio *s, const struct ex_result *result)
{
    return result->stage ? ex_stage_seed(result->stage, result->number) : s->seed;
}

static int is_utf8(const char *text)
{
    json_t *string = json_string(text);
    int good = string != NULL;
    json_decref(string);
    return good;
}

/* Texts for the PNG file; `numbers` keeps those that are made here. */
static void make_texts(const struct ex_studio *s, const struct ex_result *result, const char *texts[TEXTS],
                       char numbers[6][32])
{
    int count = 0;
    snprintf(numbers[0], sizeof numbers[0], "libdiffc %s", diffc_version());
    texts[count++] = "Software", texts[count++] = numbers[0];
    texts[count++] = "program", texts[count++] = program_invocation_short_name;
    texts[count++] = "prompt", texts[count++] = result->prompt;
    snprintf(numbers[1], sizeof numbers[1], "%llu", (unsigned long long)seed_of(s, result));
    texts[count++] = "seed", texts[count++] = numbers[1];
    texts[count++] = "rng", texts[count++] = s->rng;
    if (result->stage) {
        const struct ex_stage *stage = result->stage;
        const char *folder = base_name(stage->number == 1 ? s->model : s->model2);
        snprintf(numbers[2], sizeof numbers[2], "%d", ex_stage_stream(stage, result->number));
        snprintf(numbers[3], sizeof numbers[3], "%g", stage->guidance);
        snprintf(numbers[4], sizeof numbers[4], "%d", result->steps);
        snprintf(numbers[5], sizeof numbers[5], "%d", stage->number);
        if (stage->guidance != 1)
            texts[count++] = "negative", texts[count++] = s->negative;
        texts[count++] = "sample", texts[count++] = numbers[2];
        texts[count++] = "guidance", texts[count++] = numbers[3];
        texts[count++] = "steps", texts[count++] = numbers[4];
        texts[count++] = "stage", texts[count++] = numbers[5];
        if (is_utf8(folder))
            texts[count++] = "model", texts[count++] = folder;
        texts[count++] = "model_hash", texts[count++] = stage->hash;
    }
    texts[count] = NULL;
}

static int write_png(const struct ex_studio *s, const struct ex_result *result, const diffc_tensor *image,
                     const char *path)
{
    const char *texts[TEXTS];
    char numbers[6][32];
    diffc_image_options options = DIFFC_IMAGE_OPTIONS;
    options.low = -1;
    options.high = 1;
    make_texts(s, result, texts, numbers);
    options.text = s->no_text ? NULL : texts;
    return diffc_image_write(image, path, &options);
}

static int add_entry(const struct ex_studio *s, const struct ex_result *result, const char *png,
                     const char *npy, json_t *more)
{
    const struct ex_stage *stage = result->stage;
    json_t *entry = json_pack("{s:s, s:I, s:i, s:i, s:i, s:s}", "prompt", result->prompt, "seed",
                              (json_int_t)seed_of(s, result), "sample",
                              stage ? ex_stage_stream(stage, result->number) : 0, "stage",
                              stage ? stage->number : 0, "steps", result->steps, "png", png);
    if (npy)
        json_object_set_new(entry, "npy", json_string(npy));
    if (more)
        json_object_update(entry, more);
    json_decref(more);
    return json_array_append_new(s->images, entry) ? ex_error(EX_FAILED, png, "no memory for its entry") : 0;
}

int ex_result_write(struct ex_studio *studio, const struct ex_result *result, json_t *more)
{
    char png[EX_PATH], npy[EX_PATH], path[EX_PATH];
    diffc_tensor *batch = NULL, *image = NULL;
    snprintf(png, sizeof png, "%s.png", result->name);
    snprintf(npy, sizeof npy, "%s.npy", result->name);
    int code = ex_studio_folder(studio);
    if (code) {
        json_decref(more);
        return code;
    }
    const int64_t shape[3] = { diffc_tensor_dim(result->images, 1), diffc_tensor_dim(result->images, 2),
                               diffc_tensor_dim(result->images, 3) };
    int status = diffc_tensor_slice(result->images, 0, result->index, 1, 1, &batch);
    if (!status)
        status = diffc_tensor_reshape(batch, 3, shape, &image);
    if (!status)
        status = write_png(studio, result, image, ex_path(path, studio->out, png));
    if (!status && studio->save_npy)
        status = diffc_npy_write(image, ex_path(path, studio->out, npy));
    diffc_release(&image);
    diffc_release(&batch);
    if (status) {
        json_decref(more);
        return ex_failed(path, status);
    }
    return add_entry(studio, result, png, studio->save_npy ? npy : NULL, more);
}

char *ex_join_prompts(const struct ex_studio *studio, const int *prompts, int count, const char *between)
{
    size_t size = 1;
    for (int i = 0; i < count; i++)
        size += strlen(studio->prompts.value[prompts[i]]) + strlen(between);
    char *text = calloc(1, size), *end = text;
    for (int i = 0; text && i < count; i++)
        end = stpcpy(stpcpy(end, i ? between : ""), studio->prompts.value[prompts[i]]);
    return text;
}

/* ---- sheets ---- */

/* A sheet is an overview: what it has no room for is still in its own file. */
static int cut_to_room(const char *what, int count)
{
    if (count > EX_GRID_LABELS)
        fprintf(stderr, "%s: note: the sheet shows %d of %d %s\n", program_invocation_short_name,
                EX_GRID_LABELS, count, what);
    return count < EX_GRID_LABELS ? count : EX_GRID_LABELS;
}

int ex_sheet_open(struct ex_sheet *sheet, struct ex_studio *studio, const char *title, int rows, int columns,
                  int64_t height, int64_t width)
{
    *sheet = (struct ex_sheet) { .grid = { .title = title } };
    sheet->grid.rows = cut_to_room("rows", rows);
    sheet->grid.columns = cut_to_room("columns", columns);
    const int64_t shape[4] = { (int64_t)sheet->grid.rows * sheet->grid.columns, 3, height, width };
    int status = diffc_tensor_create(studio->context, DIFFC_F32, 4, shape, &sheet->cells);
    if (!status)
        status = diffc_tensor_fill(sheet->cells, 1); /* white where there is no picture */
    sheet->grid.images = sheet->cells;
    sheet->grid.scale = height >= 128 ? 1 : height >= 48 ? 2 : 4;
    return status ? ex_failed("sheet", status) : 0;
}

/* The length of text, at most `room`, that does not end within a character of UTF-8. */
static size_t whole_length(const char *text, size_t room)
{
    size_t length = strlen(text);
    if (length <= room)
        return length;
    for (length = room; length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;)
        length--;
    return length;
}

static void set_label(char *label, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

/* Cuts every line, and says so with an ellipsis. */
static void set_label(char *label, size_t size, const char *format, va_list arguments)
{
    char text[512];
    size_t used = 0;
    vsnprintf(text, sizeof text, format, arguments);
    text[whole_length(text, sizeof text - 2)] = '\0'; /* may have been cut anywhere */
    for (char *rest = text, *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        size_t room = size - used - 5 < LINE_BYTES ? size - used - 5 : LINE_BYTES;
        size_t length = whole_length(line, room);
        used += (size_t)snprintf(label + used, size - used, "%s%.*s%s", line > text ? "\n" : "", (int)length,
                                 line, line[length] ? "\xe2\x80\xa6" : "");
        if (used + 10 > size)
            break;
    }
}

void ex_sheet_row(struct ex_sheet *sheet, int row, const char *format, ...)
{
    va_list arguments;
    if (row >= sheet->grid.rows)
        return;
    va_start(arguments, format);
    set_label(sheet->grid.row_label[row], EX_ROW_LABEL, format, arguments);
    va_end(arguments);
}

void ex_sheet_column(struct ex_sheet *sheet, int column, const char *format, ...)
{
    va_list arguments;
    if (column >= sheet->grid.columns)
        return;
    va_start(arguments, format);
    set_label(sheet->grid.column_label[column], EX_LABEL, format, arguments);
    va_end(arguments);
}

/* Pixel (y, x) of a cell shows pixel (y h / H, x w / W) of the picture, with -1 as black and 1 as white. */
void ex_sheet_put(struct ex_sheet *sheet, int row, int column, const diffc_tensor *images, int index)
{
    const int64_t channels = diffc_tensor_dim(images, 1), h = diffc_tensor_dim(images, 2);
    const int64_t w = diffc_tensor_dim(images, 3), height = diffc_tensor_dim(sheet->cells, 2);
    const int64_t width = diffc_tensor_dim(sheet->cells, 3);
    if (row >= sheet->grid.rows || column >= sheet->grid.columns)
        return;
    const float *from = (const float *)diffc_tensor_data(images) + index * channels * h * w;
    float *to = (float *)diffc_tensor_data(sheet->cells) +
                (row * sheet->grid.columns + column) * 3 * height * width;
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++)
                *to++ = 0.5f +
                        0.5f * from[((channels == 3 ? c : 0) * h + y * h / height) * w + x * w / width];
}

int ex_sheet_close(struct ex_sheet *sheet, struct ex_studio *studio, int code, const char *name)
{
    char path[EX_PATH];
    if (!code)
        code = ex_studio_folder(studio);
    if (!code)
        code = ex_grid_write(&sheet->grid, ex_path(path, studio->out, name));
    diffc_release(&sheet->cells);
    return code;
}
