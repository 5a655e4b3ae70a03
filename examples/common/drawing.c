/* Small drawings of our own, so that every program has something to start from. */

#include <math.h>
#include <string.h>

#include <cairo.h>

#include "picture.h"

#define SIDE 256

const char *const ex_drawings[EX_DRAWINGS] = { "drawing:house", "drawing:boat", "drawing:face" };

/* Coordinates are those of a unit square. */
static void fill_with(cairo_t *cr, double red, double green, double blue)
{
    cairo_set_source_rgb(cr, red, green, blue);
    cairo_fill(cr);
}

static void disc(cairo_t *cr, double x, double y, double radius, double red, double green, double blue)
{
    cairo_arc(cr, x, y, radius, 0, 2 * M_PI);
    fill_with(cr, red, green, blue);
}

static void box(cairo_t *cr, double x, double y, double width, double height, double red, double green,
                double blue)
{
    cairo_rectangle(cr, x, y, width, height);
    fill_with(cr, red, green, blue);
}

static void triangle(cairo_t *cr, const double corners[6], double red, double green, double blue)
{
    cairo_move_to(cr, corners[0], corners[1]);
    cairo_line_to(cr, corners[2], corners[3]);
    cairo_line_to(cr, corners[4], corners[5]);
    cairo_close_path(cr);
    fill_with(cr, red, green, blue);
}

/* From one colour above to another below. */
static void sky(cairo_t *cr, const double above[3], const double below[3])
{
    cairo_pattern_t *gradient = cairo_pattern_create_linear(0, 0, 0, 1);
    cairo_pattern_add_color_stop_rgb(gradient, 0, above[0], above[1], above[2]);
    cairo_pattern_add_color_stop_rgb(gradient, 1, below[0], below[1], below[2]);
    cairo_set_source(cr, gradient);
    cairo_paint(cr);
    cairo_pattern_destroy(gradient);
}

static void draw_house(cairo_t *cr)
{
    sky(cr, (const double[]) { 0.35, 0.6, 0.9 }, (const double[]) { 0.85, 0.92, 1 });
    disc(cr, 0.82, 0.18, 0.09, 1, 0.85, 0.3);
    box(cr, 0, 0.72, 1, 0.28, 0.35, 0.6, 0.25);
    box(cr, 0.22, 0.45, 0.4, 0.37, 0.85, 0.7, 0.5);
    triangle(cr, (const double[]) { 0.16, 0.46, 0.42, 0.22, 0.68, 0.46 }, 0.65, 0.2, 0.15);
    box(cr, 0.37, 0.6, 0.11, 0.22, 0.35, 0.2, 0.12);
    box(cr, 0.26, 0.53, 0.08, 0.09, 0.6, 0.8, 0.95);
    box(cr, 0.51, 0.53, 0.08, 0.09, 0.6, 0.8, 0.95);
    box(cr, 0.79, 0.55, 0.05, 0.25, 0.4, 0.26, 0.15);
    disc(cr, 0.815, 0.48, 0.13, 0.15, 0.45, 0.18);
}

static void draw_boat(cairo_t *cr)
{
    sky(cr, (const double[]) { 0.95, 0.55, 0.35 }, (const double[]) { 1, 0.85, 0.6 });
    disc(cr, 0.3, 0.55, 0.12, 1, 0.95, 0.75);
    box(cr, 0, 0.6, 1, 0.4, 0.12, 0.25, 0.45);
    for (int i = 0; i < 6; i++)
        box(cr, 0.1 + 0.13 * i, 0.84 + 0.04 * (i % 3), 0.1, 0.012, 0.4, 0.55, 0.7);
    triangle(cr, (const double[]) { 0.6, 0.2, 0.6, 0.62, 0.86, 0.62 }, 0.97, 0.95, 0.9);
    triangle(cr, (const double[]) { 0.57, 0.28, 0.57, 0.62, 0.4, 0.62 }, 0.9, 0.85, 0.8);
    cairo_move_to(cr, 0.34, 0.65);
    cairo_line_to(cr, 0.92, 0.65);
    cairo_curve_to(cr, 0.88, 0.8, 0.76, 0.8, 0.6, 0.8);
    cairo_curve_to(cr, 0.48, 0.8, 0.38, 0.76, 0.34, 0.65);
    fill_with(cr, 0.5, 0.15, 0.12);
}

static void draw_face(cairo_t *cr)
{
    sky(cr, (const double[]) { 0.55, 0.65, 0.6 }, (const double[]) { 0.3, 0.4, 0.4 });
    box(cr, 0.2, 0.86, 0.6, 0.14, 0.2, 0.25, 0.5);
    disc(cr, 0.5, 0.45, 0.31, 0.25, 0.15, 0.1);
    box(cr, 0.43, 0.7, 0.14, 0.18, 0.85, 0.65, 0.52);
    cairo_save(cr);
    cairo_translate(cr, 0.5, 0.52);
    cairo_scale(cr, 0.24, 0.3);
    disc(cr, 0, 0, 1, 0.93, 0.74, 0.6);
    cairo_restore(cr);
    for (int side = -1; side <= 1; side += 2) {
        disc(cr, 0.5 + 0.1 * side, 0.47, 0.045, 1, 1, 1);
        disc(cr, 0.5 + 0.1 * side, 0.47, 0.02, 0.15, 0.25, 0.35);
        box(cr, 0.5 + 0.1 * side - 0.05, 0.395, 0.1, 0.015, 0.25, 0.15, 0.1);
    }
    triangle(cr, (const double[]) { 0.5, 0.5, 0.46, 0.62, 0.54, 0.62 }, 0.82, 0.6, 0.48);
    cairo_arc(cr, 0.5, 0.66, 0.09, 0.15 * M_PI, 0.85 * M_PI);
    cairo_set_line_width(cr, 0.025);
    cairo_set_source_rgb(cr, 0.7, 0.25, 0.25);
    cairo_stroke(cr);
}

/* Pixels of cairo, 0xRRGGBB in words, as planes. */
static int take_bytes(diffc_context *context, cairo_surface_t *surface, diffc_tensor **bytes)
{
    const int64_t shape[3] = { 3, SIDE, SIDE };
    int status = diffc_tensor_create(context, DIFFC_U8, 3, shape, bytes);
    if (status)
        return ex_failed("drawing", status);
    cairo_surface_flush(surface);
    unsigned char *to = diffc_tensor_data(*bytes);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            uint32_t pixel;
            memcpy(&pixel,
                   cairo_image_surface_get_data(surface) + y * cairo_image_surface_get_stride(surface) +
                       4 * x,
                   sizeof pixel);
            for (int c = 0; c < 3; c++)
                to[(c * SIDE + y) * SIDE + x] = (unsigned char)(pixel >> (16 - 8 * c));
        }
    return 0;
}

int ex_drawing_draw(diffc_context *context, const char *name, diffc_tensor **bytes)
{
    static void (*const draw[EX_DRAWINGS])(cairo_t *) = { draw_house, draw_boat, draw_face };
    int which = 0;
    while (which < EX_DRAWINGS && strcmp(ex_drawings[which] + strlen("drawing:"), name))
        which++;
    if (which == EX_DRAWINGS)
        return ex_error(EX_FAILED, "drawing", "\"%s\" is not house, boat or face", name);
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, SIDE, SIDE);
    cairo_t *cr = cairo_create(surface);
    cairo_scale(cr, SIDE, SIDE);
    draw[which](cr);
    int code = cairo_status(cr) == CAIRO_STATUS_SUCCESS ? take_bytes(context, surface, bytes)
                                                        : ex_error(EX_FAILED, "drawing", "no memory for it");
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return code;
}
