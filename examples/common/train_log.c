#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "plot.h"
#include "train_log.h"

#define HEADER "step,epoch,loss,lr,grad_norm,seconds\n"
#define WINDOW 50 /* steps of the running mean; fewer in a short run */

/* Where the lines after `step`, or a torn one, begin. The seconds of the last line that stays go to *seconds.
 */
static long find_end(FILE *file, int64_t step, double *seconds)
{
    char line[256];
    long end = 0;
    while (fgets(line, sizeof line, file) && strchr(line, '\n')) {
        long long number;
        double spent;
        if (end > 0 && sscanf(line, "%lld,%*d,%*f,%*f,%*f,%lf", &number, &spent) != 2)
            break;
        if (end > 0 && number > step)
            break;
        if (end > 0)
            *seconds = spent;
        end = ftell(file);
    }
    return end;
}

int ex_log_open(struct ex_log *log, const char *directory, int create)
{
    ex_path(log->path, directory, "loss.csv");
    int fd = open(log->path, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
    if (fd < 0 && errno == ENOENT && !create)
        return 0;
    log->file = fd < 0 ? NULL : fdopen(fd, "r+");
    if (!log->file)
        return ex_error(EX_FAILED, log->path, "%s", strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB)) /* held until the file is closed */
        return ex_error(EX_FAILED, directory, "another program trains in it");
    return 0;
}

int ex_log_begin(struct ex_log *log, int64_t step)
{
    if (!log->file)
        return 0;
    long end = step > 0 ? find_end(log->file, step, &log->seconds) : 0;
    if (fseek(log->file, end, SEEK_SET) || ftruncate(fileno(log->file), end) ||
        (end == 0 && fputs(HEADER, log->file) < 0))
        return ex_error(EX_FAILED, log->path, "%s", strerror(errno));
    return 0;
}

int ex_log_add(struct ex_log *log, const diffc_train_report *report, double seconds)
{
    if (!log->file)
        return 0;
    log->seconds += seconds;
    int wrote = fprintf(log->file, "%lld,%d,%.9g,%.9g,%.6g,%.3f\n", (long long)report->step, report->epoch,
                        report->loss, report->learning_rate, report->gradient_norm, log->seconds);
    return wrote < 0 ? ex_error(EX_FAILED, log->path, "%s", strerror(errno)) : 0;
}

int ex_log_flush(struct ex_log *log)
{
    return log->file && fflush(log->file) ? ex_error(EX_FAILED, log->path, "%s", strerror(errno)) : 0;
}

void ex_log_close(struct ex_log *log)
{
    if (log->file)
        fclose(log->file);
    log->file = NULL;
}

int ex_losses_read(const char *path, struct ex_losses *losses)
{
    *losses = (struct ex_losses) { 0 };
    FILE *file = fopen(path, "r");
    if (!file)
        return ex_error(EX_FAILED, path, "%s", strerror(errno));
    char line[256];
    int room = 0, code = 0;
    while (!code && fgets(line, sizeof line, file)) {
        double step, loss;
        if (sscanf(line, "%lf,%*d,%lf", &step, &loss) != 2)
            continue;
        if (losses->count == room) {
            room = room ? 2 * room : 1024;
            double *steps = realloc(losses->step, (size_t)room * sizeof *steps);
            if (steps)
                losses->step = steps;
            double *values = realloc(losses->loss, (size_t)room * sizeof *values);
            if (values)
                losses->loss = values;
            if (!steps || !values) {
                code = ex_error(EX_FAILED, path, "no memory for %d lines", room);
                break;
            }
        }
        losses->step[losses->count] = step;
        losses->loss[losses->count++] = loss;
    }
    fclose(file);
    if (code)
        ex_losses_free(losses);
    return code;
}

void ex_losses_free(struct ex_losses *losses)
{
    free(losses->step);
    free(losses->loss);
    *losses = (struct ex_losses) { 0 };
}

double ex_losses_last(const struct ex_losses *losses, int count)
{
    double sum = 0;
    int first = losses->count > count ? losses->count - count : 0;
    for (int i = first; i < losses->count; i++)
        sum += losses->loss[i];
    return losses->count ? sum / (losses->count - first) : 0;
}

int ex_losses_chart(const struct ex_losses *losses, const char *title, const char *y_axis, const char *path)
{
    size_t count = (size_t)losses->count, window = count / 20 < WINDOW ? count / 20 : WINDOW;
    double *mean = malloc((count ? count : 1) * sizeof *mean), sum = 0;
    if (!mean)
        return ex_error(EX_FAILED, path, "no memory for %zu losses", count);
    /* The window grows from one step on, slower than the number of steps: the steep beginning stays steep. */
    for (size_t i = 0, used = 0; i < count && window; i++) {
        sum += losses->loss[i];
        size_t wanted = i / 4 + 1 < window ? i / 4 + 1 : window;
        for (used++; used > wanted; used--)
            sum -= losses->loss[i + 1 - used];
        mean[i] = sum / (double)used;
    }
    char label[48];
    snprintf(label, sizeof label, "mean of %zu steps", window);
    struct ex_chart chart = { .title = title, .x_axis = "training step", .y_axis = y_axis, .log_y = 1 };
    chart.series[0] = (struct ex_series) {
        "each step", losses->count, losses->step, losses->loss, { 0.62, 0.76, 0.92 }, 1, 0
    };
    chart.series[1] = (struct ex_series) {
        label, losses->count, losses->step, mean, { 0.75, 0.1, 0.1 }, 2, 0
    };
    chart.series_count = window > 1 ? 2 : 1;
    int code = ex_chart_write(&chart, path);
    free(mean);
    return code;
}
