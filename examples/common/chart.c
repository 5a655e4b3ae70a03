#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plot.h"

#define WIDTH 900
#define HEIGHT 540
#define LEFT 90.0
#define RIGHT 24.0
#define TOP 64.0 /* title and legend, a line each */
#define BOTTOM 60.0

struct axes {
    double x_low, x_high, y_low, y_high; /* y as log10 when log_y */
    int log_y;
};

static double map_x(const struct axes *a, double x)
{
    return LEFT + (x - a->x_low) / (a->x_high - a->x_low) * (WIDTH - LEFT - RIGHT);
}

static double map_y(const struct axes *a, double y)
{
    double place = a->log_y ? log10(y) : y;
    return HEIGHT - BOTTOM - (place - a->y_low) / (a->y_high - a->y_low) * (HEIGHT - TOP - BOTTOM);
}

static int drawable(const struct axes *a, double y)
{
    return isfinite(y) && (!a->log_y || y > 0);
}

/* The range of all points with a margin; never empty. */
static struct axes range(const struct ex_chart *chart)
{
    struct axes a = { HUGE_VAL, -HUGE_VAL, HUGE_VAL, -HUGE_VAL, chart->log_y };
    for (int s = 0; s < chart->series_count; s++) {
        const struct ex_series *series = &chart->series[s];
        for (int i = 0; i < series->count; i++) {
            if (!drawable(&a, series->y[i]))
                continue;
            double y = a.log_y ? log10(series->y[i]) : series->y[i];
            a.x_low = fmin(a.x_low, series->x[i]);
            a.x_high = fmax(a.x_high, series->x[i]);
            a.y_low = fmin(a.y_low, y);
            a.y_high = fmax(a.y_high, y);
        }
    }
    if (a.x_low > a.x_high)
        a.x_low = a.y_low = 0, a.x_high = a.y_high = 1;
    if (a.x_high - a.x_low < 1e-9)
        a.x_high = a.x_low + 1;
    double margin = fmax((a.y_high - a.y_low) * 0.06, a.log_y ? 0.05 : 1e-6);
    a.y_low -= margin;
    a.y_high += margin;
    return a;
}

static void put_text(cairo_t *cr, double x, double y, double align, const char *text)
{
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    cairo_move_to(cr, x - align * extents.x_advance, y);
    cairo_show_text(cr, text);
}

static void rule(cairo_t *cr, double x1, double y1, double x2, double y2, double grey)
{
    cairo_set_source_rgb(cr, grey, grey, grey);
    cairo_set_line_width(cr, 1);
    cairo_move_to(cr, floor(x1) + 0.5, floor(y1) + 0.5);
    cairo_line_to(cr, floor(x2) + 0.5, floor(y2) + 0.5);
    cairo_stroke(cr);
    cairo_set_source_rgb(cr, 0, 0, 0);
}

/* A step of 1, 2 or 5 times a power of ten that gives at most `most` intervals. */
static double nice_step(double span, int most)
{
    double raw = span / most, power = pow(10, floor(log10(raw))), part = raw / power;
    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

static void y_tick(cairo_t *cr, const struct axes *a, double value, int labelled)
{
    char text[32];
    double y = map_y(a, value);
    rule(cr, LEFT, y, WIDTH - RIGHT, y, labelled ? 0.82 : 0.92);
    if (!labelled)
        return;
    snprintf(text, sizeof text, "%.6g", fabs(value) < 1e-12 ? 0.0 : value);
    put_text(cr, LEFT - 8, y + 4.5, 1, text);
}

static void draw_ticks(cairo_t *cr, const struct axes *a)
{
    char text[32];
    double step = fmax(nice_step(a->x_high - a->x_low, 10), 1e-9);
    for (double x = ceil(a->x_low / step - 1e-9) * step; x <= a->x_high + 1e-9 * step; x += step) {
        rule(cr, map_x(a, x), TOP, map_x(a, x), HEIGHT - BOTTOM, 0.88);
        snprintf(text, sizeof text, "%.6g", fabs(x) < 1e-12 ? 0.0 : x);
        put_text(cr, map_x(a, x), HEIGHT - BOTTOM + 18, 0.5, text);
    }
    if (!a->log_y) {
        step = nice_step(a->y_high - a->y_low, 8);
        for (double y = ceil(a->y_low / step) * step; y <= a->y_high; y += step)
            y_tick(cr, a, y, 1);
        return;
    }
    /* Within one decade every digit is named, further out 1, 2, 5 or the powers alone. */
    double decades = a->y_high - a->y_low;
    for (int power = (int)floor(a->y_low); power <= (int)ceil(a->y_high); power++)
        for (int digit = 1; digit <= 9; digit++) {
            double y = digit * pow(10, power);
            if (log10(y) < a->y_low || log10(y) > a->y_high)
                continue;
            y_tick(cr, a, y, digit == 1 || decades < 0.8 || (decades < 2.2 && (digit == 2 || digit == 5)));
        }
}

static void draw_series(cairo_t *cr, const struct axes *a, const struct ex_series *series)
{
    cairo_set_source_rgb(cr, series->colour[0], series->colour[1], series->colour[2]);
    cairo_set_line_width(cr, series->line_width);
    cairo_new_path(cr); /* text leaves a current point behind */
    for (int i = 0; i < series->count; i++)
        if (drawable(a, series->y[i]))
            cairo_line_to(cr, map_x(a, series->x[i]), map_y(a, series->y[i]));
    cairo_stroke(cr);
    for (int i = 0; series->marks && i < series->count; i++) {
        if (!drawable(a, series->y[i]))
            continue;
        cairo_new_path(cr);
        cairo_arc(cr, map_x(a, series->x[i]), map_y(a, series->y[i]), 4, 0, 2 * M_PI);
        cairo_fill(cr);
    }
}

/* Below the title, at the right, where no curve runs. */
static void draw_legend(cairo_t *cr, const struct ex_chart *chart)
{
    double x = WIDTH - RIGHT, y = TOP - 16;
    for (int s = chart->series_count - 1; s >= 0; s--) {
        const struct ex_series *series = &chart->series[s];
        cairo_text_extents_t extents;
        if (!series->label)
            continue;
        cairo_text_extents(cr, series->label, &extents);
        x -= extents.x_advance;
        put_text(cr, x, y, 0, series->label);
        cairo_set_source_rgb(cr, series->colour[0], series->colour[1], series->colour[2]);
        cairo_set_line_width(cr, fmax(series->line_width, 2));
        cairo_new_path(cr);
        cairo_move_to(cr, x - 32, y - 4);
        cairo_line_to(cr, x - 8, y - 4);
        cairo_stroke(cr);
        cairo_set_source_rgb(cr, 0, 0, 0);
        x -= 52;
    }
}

static void draw_frame(cairo_t *cr, const struct ex_chart *chart)
{
    rule(cr, LEFT, TOP, LEFT, HEIGHT - BOTTOM, 0);
    rule(cr, LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, 0);
    put_text(cr, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, 0.5, chart->x_axis);
    cairo_save(cr);
    cairo_translate(cr, 24, (TOP + HEIGHT - BOTTOM) / 2);
    cairo_rotate(cr, -M_PI / 2);
    put_text(cr, 0, 0, 0.5, chart->y_axis);
    cairo_restore(cr);
    cairo_set_font_size(cr, 15);
    put_text(cr, LEFT, TOP - 40, 0, chart->title);
    cairo_set_font_size(cr, 13);
}

int ex_chart_write(const struct ex_chart *chart, const char *path)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, WIDTH, HEIGHT);
    cairo_t *cr = cairo_create(surface);
    struct axes a = range(chart);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, 13);
    draw_ticks(cr, &a);
    for (int s = 0; s < chart->series_count; s++)
        draw_series(cr, &a, &chart->series[s]);
    draw_frame(cr, chart);
    draw_legend(cr, chart);
    cairo_destroy(cr);
    return ex_surface_write(surface, path);
}
