#ifndef EX_GALLERY_H
#define EX_GALLERY_H

#include "plot.h"
#include "stage.h"

/* Results as files: single pictures with all that one needs to make them again, and sheets of them. Values of
 * pictures are nominally in [-1, 1]. */

/* One result and where it comes from. */
struct ex_result {
    const char *name;           /* of its files, without .png */
    const diffc_tensor *images; /* [N, 3, H, W] */
    int index;                  /* which of them */
    const char *prompt;
    const struct ex_stage *stage; /* NULL: made without a network */
    int number;                   /* of the picture under its prompt: see ex_stage_seed() */
    int steps;
};

/* Writes NAME.png, with --save-npy NAME.npy, and an entry of the array `images` of the metrics. `more` (taken
 * over, may be NULL) has further fields of that entry. */
int ex_result_write(struct ex_studio *studio, const struct ex_result *result, json_t *more);

/* Prompts with `between` between them, to be freed; NULL without memory. */
char *ex_join_prompts(const struct ex_studio *studio, const int *prompts, int count, const char *between);

/* A sheet of pictures in rows and columns, with labels. */
struct ex_sheet {
    struct ex_grid grid;
    diffc_tensor *cells;
};

/* Cells of height x width, into which pictures of other sizes are drawn. Rows and columns beyond 64 are left
 * out. */
int ex_sheet_open(struct ex_sheet *sheet, struct ex_studio *studio, const char *title, int rows, int columns,
                  int64_t height, int64_t width);

/* Labels, cut to their room; those of rows may have several lines. */
void ex_sheet_row(struct ex_sheet *sheet, int row, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ex_sheet_column(struct ex_sheet *sheet, int column, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Picture `index` of [N, 1 or 3, h, w] into a cell. */
void ex_sheet_put(struct ex_sheet *sheet, int row, int column, const diffc_tensor *images, int index);

/* Writes it into the folder of results and gives it back. */
int ex_sheet_close(struct ex_sheet *sheet, struct ex_studio *studio, int code, const char *name);

#endif
