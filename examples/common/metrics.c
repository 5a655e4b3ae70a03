#include <stdio.h>

#include "metrics.h"
#include "ranks.h"

json_t *ex_metrics_open(const char *directory, int resume)
{
    char path[EX_PATH];
    json_t *found = resume ? json_load_file(ex_path(path, directory, "metrics.json"), 0, NULL) : NULL;
    if (json_is_object(found))
        return found;
    json_decref(found);
    return json_object();
}

void ex_metric(json_t *metrics, const char *name, double value)
{
    /* Six digits are what is printed; the file has the same figure in full. */
    printf("%-28s %.6g\n", name, value);
    json_object_set_new(metrics, name, json_real(value)); /* NaN is no number in JSON: it is left out */
}

void ex_metric_integer(json_t *metrics, const char *name, int64_t value)
{
    printf("%-28s %lld\n", name, (long long)value);
    json_object_set_new(metrics, name, json_integer(value));
}

void ex_metric_text(json_t *metrics, const char *name, const char *value)
{
    printf("%-28s %s\n", name, value);
    json_object_set_new(metrics, name, json_string(value));
}

int ex_metrics_save(const json_t *metrics, const char *directory)
{
    if (ex_ranks()->rank > 0)
        return 0;
    char path[EX_PATH], temporary[EX_PATH + 8];
    ex_path(path, directory, "metrics.json");
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (!metrics || json_dump_file(metrics, temporary, JSON_INDENT(2)) || rename(temporary, path)) {
        remove(temporary);
        return ex_error(EX_FAILED, path, "cannot be written");
    }
    return 0;
}
