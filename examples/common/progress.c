#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"

#define BAR 24

void ex_progress_start(struct ex_progress *progress, int64_t first)
{
    progress->first = first;
    progress->terminal = isatty(STDERR_FILENO);
    progress->tenth = progress->total > 0 ? (int)(10 * first / progress->total) : 0;
    progress->start = progress->shown = ex_seconds();
}

static void print_time(char *text, size_t size, double seconds)
{
    long whole = (long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, size, "%ld:%02ld", whole / 60, whole % 60);
}

void ex_progress_show(struct ex_progress *progress, int64_t done, const char *text)
{
    if (progress->quiet || progress->total <= 0)
        return;
    double now = ex_seconds();
    int tenth = (int)(10 * done / progress->total);
    double pause = progress->terminal ? 0.2 : 10.0;
    int due = now - progress->shown >= pause || done == progress->total ||
              (!progress->terminal && tenth > progress->tenth);
    if (!due)
        return;
    progress->shown = now;
    progress->tenth = tenth;
    double elapsed = now - progress->start + 1e-9, made = (double)(done - progress->first);
    char left[32] = "?", bar[BAR + 1];
    if (made > 0)
        print_time(left, sizeof left, elapsed / made * (double)(progress->total - done));
    int filled = (int)(BAR * done / progress->total);
    memset(bar, ' ', BAR);
    memset(bar, '#', (size_t)filled);
    bar[BAR] = '\0';
    fprintf(stderr, progress->terminal ? "\r%s [%s] " : "%s%.0s ", progress->label, bar);
    double rate = made * progress->per_step / elapsed;
    fprintf(stderr, "%lld/%lld  %.*f %s%s%s  %s left", (long long)done, (long long)progress->total,
            rate < 10    ? 2
            : rate < 100 ? 1
                         : 0,
            rate, progress->unit, *text ? "  " : "", text, left);
    fputs(progress->terminal ? "\033[K" : "\n", stderr);
    fflush(stderr);
}

void ex_progress_skip(struct ex_progress *progress, double seconds)
{
    progress->start += seconds;
}

void ex_progress_end(struct ex_progress *progress)
{
    if (!progress->quiet && progress->terminal && progress->total > 0)
        fputc('\n', stderr);
}
