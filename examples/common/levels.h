#ifndef EX_LEVELS_H
#define EX_LEVELS_H

#include "gallery.h"
#include "picture.h"

#define EX_LEVELS 6 /* as many curves as a chart has */

/* A picture, and the same picture noised to several timesteps. */
struct ex_levels {
    int count;
    float t[EX_LEVELS];
    double alpha_bar[EX_LEVELS];
    diffc_tensor *clean, *noisy[EX_LEVELS]; /* [1, 3, H, W] */
};

/* Is --timesteps a list of numbers? To be asked before long work. */
int ex_levels_check(const struct ex_studio *studio);

/* The timesteps are those of --timesteps, or 250, 500 and 750; the schedule that of the model, or without a
 * model squaredcos_cap_v2. */
int ex_levels_open(struct ex_studio *studio, const char *image, int64_t height, int64_t width,
                   struct ex_levels *levels);
void ex_levels_close(struct ex_levels *levels);

#endif
