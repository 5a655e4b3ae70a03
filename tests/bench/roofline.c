/* Draws the 3x3 convolutions of a --json file of diffc-bench under the roof of the same run:
 *     roofline FILE.json PICTURE.png
 * One thread, AVX-512 if it is there. Work is counted as a direct computation makes it, bytes as float pixels
 * and weights that are read or written once. */

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plot.h"

#define MOST 256

static const struct {
    const char *algorithm;
    double colour[3];
} algorithms[] = { { "direct", { 0.35, 0.35, 0.35 } },
                   { "winograd-2x2", { 0.12, 0.47, 0.71 } },
                   { "winograd-4x4", { 0.17, 0.63, 0.17 } },
                   { "winograd-7x7", { 0.84, 0.15, 0.16 } } };
#define ALGORITHMS (int)(sizeof(algorithms) / sizeof(algorithms[0]))

struct points {
    int count;
    double x[MOST], y[MOST];
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

/* Operations per byte of a row's shape; 0 for other rows. */
static double intensity(const json_t *row)
{
    int h, w, from, to, batch;
    if (strncmp(text_of(row, "name"), "conv3x3_", 8) != 0 || strstr(text_of(row, "name"), "stride") ||
        sscanf(text_of(row, "shape"), "%dx%d %d->%d batch %d", &h, &w, &from, &to, &batch) != 5)
        return 0;
    const double pixels = (double)h * w * batch, weights = 9.0 * from * to;
    return 2 * pixels * weights / (4 * (pixels * (from + to) + weights));
}

static void add_point(struct points *points, double x, double y)
{
    if (points->count < MOST) {
        points->x[points->count] = log2(x);
        points->y[points->count++] = y;
    }
}

static int draw(const json_t *rows, const char *isa, const char *path)
{
    static struct points points[ALGORITHMS], roof;
    struct ex_chart chart = { .title = "3x3 convolutions, one thread",
                              .x_axis = "log2 of operations per byte",
                              .y_axis = "GFLOP/s, counted as direct",
                              .log_y = 1 };
    double peak = 0, bandwidth = 0;
    const json_t *row;
    size_t i;
    json_array_foreach (rows, i, row) {
        if (number_of(row, "threads") != 1 || strcmp(text_of(row, "isa"), isa) != 0 ||
            strcmp(text_of(row, "dtype"), "f32") != 0)
            continue;
        if (strcmp(text_of(row, "name"), "moments") == 0)
            bandwidth = number_of(row, "gigabytes_per_second");
        for (int k = 0; intensity(row) > 0 && k < ALGORITHMS; k++)
            if (strcmp(text_of(row, "algorithm"), algorithms[k].algorithm) == 0) {
                add_point(&points[k], intensity(row), number_of(row, "gflops"));
                peak = fmax(peak, number_of(row, "roof_gflops"));
            }
    }
    if (peak <= 0)
        return ex_error(EX_FAILED, path, "no 3x3 convolution of one thread with %s", isa);
    if (bandwidth > 0)
        add_point(&roof, 1, bandwidth);
    add_point(&roof, bandwidth > 0 ? peak / bandwidth : 1, peak);
    add_point(&roof, 256, peak);
    chart.series[chart.series_count++] = (struct ex_series) {
        .label = "roof", .count = roof.count, .x = roof.x, .y = roof.y, .line_width = 2
    };
    for (int k = 0; k < ALGORITHMS; k++)
        chart.series[chart.series_count++] = (struct ex_series) {
            .label = algorithms[k].algorithm,
            .count = points[k].count,
            .x = points[k].x,
            .y = points[k].y,
            .colour = { algorithms[k].colour[0], algorithms[k].colour[1], algorithms[k].colour[2] },
            .marks = 1
        };
    return ex_chart_write(&chart, path);
}

/* The widest vectors that the file has rows of. */
static const char *widest(const json_t *rows)
{
    const json_t *row;
    size_t i;
    json_array_foreach (rows, i, row)
        if (strcmp(text_of(row, "isa"), "avx512") == 0)
            return "avx512";
    return "avx2";
}

int main(int argc, char **argv)
{
    json_error_t error;
    if (argc != 3) {
        fprintf(stderr, "usage: roofline FILE.json PICTURE.png\n");
        return 2;
    }
    json_t *rows = json_load_file(argv[1], 0, &error);
    if (!json_is_array(rows)) {
        fprintf(stderr, "roofline: %s: %s\n", argv[1], rows ? "no array" : error.text);
        json_decref(rows);
        return 1;
    }
    const int code = draw(rows, widest(rows), argv[2]);
    json_decref(rows);
    return code;
}
