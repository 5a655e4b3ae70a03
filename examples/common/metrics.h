#ifndef EX_METRICS_H
#define EX_METRICS_H

#include <jansson.h>

#include "support.h"

/* The figures of a run: each is printed and kept for metrics.json. Memory errors show when it is saved. */

/* An empty set, or with `resume` what DIRECTORY/metrics.json has. NULL without memory. */
json_t *ex_metrics_open(const char *directory, int resume);

/* Prints "name  value" and keeps the pair. */
void ex_metric(json_t *metrics, const char *name, double value);
void ex_metric_integer(json_t *metrics, const char *name, int64_t value);
void ex_metric_text(json_t *metrics, const char *name, const char *value);

/* Writes DIRECTORY/metrics.json by a temporary file and a rename. */
int ex_metrics_save(const json_t *metrics, const char *directory);

#endif
