#ifndef EX_ANIMATE_H
#define EX_ANIMATE_H

#include "plot.h"

/* An animated PNG (grey, 8 bits) that is written frame by frame; viewers that know only PNG show the first.
 */
struct ex_animation {
    FILE *file;
    char path[EX_PATH], temporary[EX_PATH + 8];
    uint32_t frames, sequence;
    int width, height, failed;
};

/* `frames` is how many will be added; all of one size. */
int ex_animation_open(struct ex_animation *animation, const char *path, int frames);

/* Adds one, shown for `milliseconds`. Gives the surface back. */
void ex_animation_add(struct ex_animation *animation, cairo_surface_t *surface, int milliseconds);

/* Ends the file and gives it its name, unless `code` says that a frame is missing; reports what failed on the
 * way. */
int ex_animation_close(struct ex_animation *animation, int code);

#endif
