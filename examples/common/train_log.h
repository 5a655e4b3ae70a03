#ifndef EX_TRAIN_LOG_H
#define EX_TRAIN_LOG_H

#include <stdio.h>

#include "support.h"

/* loss.csv: one line per step. */
struct ex_log {
    FILE *file;
    char path[EX_PATH];
    double seconds; /* of training, over all sessions */
};

/* Takes the folder for this program alone by the lock on its loss.csv, made if asked for. Without one the log
 * stays closed: nothing is written. */
int ex_log_open(struct ex_log *log, const char *directory, int create);
/* Keeps the lines up to `step` (0: starts afresh). */
int ex_log_begin(struct ex_log *log, int64_t step);
int ex_log_add(struct ex_log *log, const diffc_train_report *report, double seconds);
int ex_log_flush(struct ex_log *log);
void ex_log_close(struct ex_log *log);

struct ex_losses {
    int count;
    double *step, *loss;
};

/* All losses of a file; free with ex_losses_free(). */
int ex_losses_read(const char *path, struct ex_losses *losses);
void ex_losses_free(struct ex_losses *losses);

/* Mean of the last `count` losses (fewer if there are not that many). */
double ex_losses_last(const struct ex_losses *losses, int count);

/* The loss curve on a logarithmic scale, with a running mean. */
int ex_losses_chart(const struct ex_losses *losses, const char *title, const char *y_axis, const char *path);

#endif
