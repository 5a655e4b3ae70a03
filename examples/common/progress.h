#ifndef EX_PROGRESS_H
#define EX_PROGRESS_H

#include "support.h"

/* A bar on a terminal, plain lines elsewhere (every 10 seconds or every tenth part), all on stderr. */
struct ex_progress {
    const char *label, *unit; /* "images/s" */
    double per_step;          /* units that one step makes */
    int64_t total, first;     /* steps; those that were already done */
    int quiet, terminal, tenth;
    double start, shown;
};

void ex_progress_start(struct ex_progress *progress, int64_t first);

/* `text` stands behind the rate, e.g. the loss. */
void ex_progress_show(struct ex_progress *progress, int64_t done, const char *text);

/* Other work took so long: it does not count in the rate. */
void ex_progress_skip(struct ex_progress *progress, double seconds);

/* Leaves the line of the bar. */
void ex_progress_end(struct ex_progress *progress);

#endif
