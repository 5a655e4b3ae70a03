#ifndef EX_PLOT_H
#define EX_PLOT_H

#include <stdio.h>

#include <cairo.h>

#include "support.h"

#define EX_GRID_LABELS 64
#define EX_LABEL 40     /* bytes of a label */
#define EX_ROW_LABEL 80 /* of one that may have several lines */

/* Pictures in rows and columns with a label at each row and column. */
struct ex_grid {
    const char *title, *row_axis, *column_axis; /* NULL: none */
    int rows, columns;
    char row_label[EX_GRID_LABELS][EX_ROW_LABEL];
    char column_label[EX_GRID_LABELS][EX_LABEL];
    const diffc_tensor *images; /* F32 [rows * columns, 1 or 3, H, W] in [0, 1], row by row, contiguous */
    int scale;                  /* pixels of the picture per pixel of an image, 0: 2 */
};

/* Draws it; NULL when there is no memory. */
cairo_surface_t *ex_grid_draw(const struct ex_grid *grid);
int ex_grid_write(const struct ex_grid *grid, const char *path);

/* Copies image `index` of a batch to place `at` of another; both contiguous F32 [N, C, H, W] of one C, H, W.
 */
void ex_image_copy(diffc_tensor *to, int64_t at, const diffc_tensor *from, int64_t index);

struct ex_series {
    const char *label; /* NULL: not in the legend */
    int count;
    const double *x, *y;
    double colour[3], line_width;
    int marks; /* 1: a dot at each point */
};

#define EX_SERIES 6

struct ex_chart {
    const char *title, *x_axis, *y_axis; /* with units */
    int log_y;
    int series_count;
    struct ex_series series[EX_SERIES];
};

int ex_chart_write(const struct ex_chart *chart, const char *path);

/* PNG, by a temporary file and a rename. Gives the surface back, also on failure. */
int ex_surface_write(cairo_surface_t *surface, const char *path);

#endif
