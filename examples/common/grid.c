#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plot.h"

#define FONT_SIZE 13.0
#define LINE 18
#define GAP 4
#define MIN_WIDTH 320

struct layout {
    int scale, cell_width, cell_height, left, top, width, height;
};

static double text_width(cairo_t *cr, const char *text)
{
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    return extents.x_advance;
}

/* The next line of a label into `line`; what follows it, NULL at the end. */
static const char *next_line(const char *text, char line[EX_ROW_LABEL])
{
    const char *end = strchr(text, '\n');
    snprintf(line, EX_ROW_LABEL, "%.*s", (int)(end ? end - text : (long)strlen(text)), text);
    return end ? end + 1 : NULL;
}

static double lines_width(cairo_t *cr, const char *text)
{
    char line[EX_ROW_LABEL];
    double widest = 0;
    while (text) {
        text = next_line(text, line);
        widest = fmax(widest, text_width(cr, line));
    }
    return widest;
}

static void put_text(cairo_t *cr, double x, double y, const char *text)
{
    cairo_move_to(cr, x, y);
    cairo_show_text(cr, text);
}

/* Lines that end at x, around the height y. */
static void put_lines(cairo_t *cr, double x, double y, const char *text)
{
    char line[EX_ROW_LABEL];
    int rows = 0;
    for (const char *at = text; at; at = next_line(at, line))
        rows++;
    for (y -= (rows - 1) * LINE / 2.0; text; y += LINE) {
        text = next_line(text, line);
        put_text(cr, x - text_width(cr, line), y, line);
    }
}

static void set_font(cairo_t *cr)
{
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, FONT_SIZE);
    cairo_set_source_rgb(cr, 0, 0, 0);
}

/* Cells grow until the longest column label has room. */
static struct layout plan(const struct ex_grid *grid)
{
    struct layout l = { .scale = grid->scale > 0 ? grid->scale : 2 };
    cairo_surface_t *probe = cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1);
    cairo_t *cr = cairo_create(probe);
    set_font(cr);
    double widest_row = 0, widest_column = 0;
    for (int i = 0; i < grid->rows; i++)
        widest_row = fmax(widest_row, lines_width(cr, grid->row_label[i]));
    for (int i = 0; i < grid->columns; i++)
        widest_column = fmax(widest_column, text_width(cr, grid->column_label[i]));
    int image_width = (int)diffc_tensor_dim(grid->images, 3) * l.scale;
    l.cell_width = GAP + (widest_column + 6 > image_width ? (int)widest_column + 6 : image_width);
    l.cell_height = GAP + (int)diffc_tensor_dim(grid->images, 2) * l.scale;
    l.left = 10 + (grid->row_axis ? LINE + 4 : 0) + (int)ceil(widest_row) + 6;
    l.top = 8 + (grid->title ? LINE + 4 : 0) + (grid->column_axis ? LINE : 0) +
            (widest_column > 0 ? LINE : 0);
    l.width = l.left + grid->columns * l.cell_width + 10;
    int title_width = grid->title ? (int)(text_width(cr, grid->title) * 1.1) + 20 : 0;
    if (l.width < title_width)
        l.width = title_width;
    if (l.width < MIN_WIDTH) /* frames of an animation keep one width whatever number stands in the title */
        l.width = MIN_WIDTH;
    l.height = l.top + grid->rows * l.cell_height + 8;
    cairo_destroy(cr);
    cairo_surface_destroy(probe);
    return l;
}

static unsigned level(float value)
{
    if (!(value > 0.0f))
        return 0;
    return value >= 1.0f ? 255u : (unsigned)lrintf(value * 255.0f);
}

/* Writes image `number` straight into the surface, each pixel as a square. */
static void put_image(cairo_surface_t *surface, const struct ex_grid *grid, int number,
                      const struct layout *l)
{
    int channels = (int)diffc_tensor_dim(grid->images, 1), height = (int)diffc_tensor_dim(grid->images, 2);
    int width = (int)diffc_tensor_dim(grid->images, 3), plane = height * width;
    const float *image = (const float *)diffc_tensor_data(grid->images) +
                         (size_t)number * (size_t)(channels * plane);
    int x0 = l->left + number % grid->columns * l->cell_width + (l->cell_width - GAP - width * l->scale) / 2;
    int y0 = l->top + number / grid->columns * l->cell_height;
    unsigned char *bytes = cairo_image_surface_get_data(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    for (int y = 0; y < height * l->scale; y++) {
        uint32_t *line = (uint32_t *)(void *)(bytes + (size_t)(y0 + y) * stride) + x0;
        for (int x = 0; x < width * l->scale; x++) {
            const float *pixel = image + y / l->scale * width + x / l->scale;
            unsigned red = level(pixel[0]);
            unsigned green = channels == 3 ? level(pixel[plane]) : red;
            unsigned blue = channels == 3 ? level(pixel[2 * plane]) : red;
            line[x] = red << 16 | green << 8 | blue;
        }
    }
}

static void put_labels(cairo_t *cr, const struct ex_grid *grid, const struct layout *l)
{
    int y = 8;
    if (grid->title) {
        cairo_set_font_size(cr, FONT_SIZE * 1.1);
        put_text(cr, 10, y + 14, grid->title);
        cairo_set_font_size(cr, FONT_SIZE);
        y += LINE + 4;
    }
    double middle = l->left + grid->columns * l->cell_width / 2.0;
    if (grid->column_axis)
        put_text(cr, fmax(middle - text_width(cr, grid->column_axis) / 2, 10), y + 12, grid->column_axis);
    for (int i = 0; i < grid->columns; i++) {
        double centre = l->left + (i + 0.5) * l->cell_width - GAP / 2.0;
        put_text(cr, centre - text_width(cr, grid->column_label[i]) / 2, l->top - 6, grid->column_label[i]);
    }
    for (int i = 0; i < grid->rows; i++)
        put_lines(cr, l->left - 6, l->top + (i + 0.5) * l->cell_height + 3, grid->row_label[i]);
    if (grid->row_axis) {
        cairo_save(cr);
        cairo_move_to(cr, 22,
                      l->top + grid->rows * l->cell_height / 2.0 + text_width(cr, grid->row_axis) / 2);
        cairo_rotate(cr, -M_PI / 2);
        cairo_show_text(cr, grid->row_axis);
        cairo_restore(cr);
    }
}

cairo_surface_t *ex_grid_draw(const struct ex_grid *grid)
{
    struct layout l = plan(grid);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, l.width, l.height);
    if (cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) {
        cairo_surface_destroy(surface);
        return NULL;
    }
    cairo_t *cr = cairo_create(surface);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    set_font(cr);
    put_labels(cr, grid, &l);
    cairo_destroy(cr);
    cairo_surface_flush(surface);
    for (int i = 0; i < grid->rows * grid->columns; i++)
        put_image(surface, grid, i, &l);
    cairo_surface_mark_dirty(surface);
    return surface;
}

void ex_image_copy(diffc_tensor *to, int64_t at, const diffc_tensor *from, int64_t index)
{
    size_t size = (size_t)(diffc_tensor_stride(from, 0));
    float *target = diffc_tensor_data(to);
    const float *source = diffc_tensor_data(from);
    memcpy(target + (size_t)at * size, source + (size_t)index * size, size * sizeof *target);
}

int ex_surface_write(cairo_surface_t *surface, const char *path)
{
    if (!surface)
        return ex_error(EX_FAILED, path, "no memory for the picture");
    char temporary[EX_PATH + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    cairo_status_t status = cairo_surface_write_to_png(surface, temporary);
    cairo_surface_destroy(surface);
    if (status != CAIRO_STATUS_SUCCESS || rename(temporary, path)) {
        remove(temporary);
        return ex_error(EX_FAILED, path, "%s",
                        status != CAIRO_STATUS_SUCCESS ? cairo_status_to_string(status)
                                                       : "cannot be renamed");
    }
    return 0;
}

int ex_grid_write(const struct ex_grid *grid, const char *path)
{
    return ex_surface_write(ex_grid_draw(grid), path);
}
