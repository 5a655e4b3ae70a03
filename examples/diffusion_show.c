#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/animate.h"
#include "common/models.h"
#include "common/ranks.h"
#include "diffusion_show.h"

#define COLUMNS 10
#define STRIP_COLUMNS 11
#define STRIP_ROWS 10

struct facts { /* of a model */
    diffc_model_options options;
    int has_class, flow;
};

static struct facts facts_of(const diffc_model *model)
{
    struct facts f = { .options = DIFFC_MODEL_OPTIONS };
    const char *architecture = "";
    diffc_model_describe(model, &architecture, &f.options);
    f.has_class = f.options.condition && !strcmp(f.options.condition, "class");
    f.flow = ex_is_flow(model);
    return f;
}

/* The course's B3.2 takes 300 steps of Euler's rule, B3.1 50. */
static int steps_of(const struct diffusion_show *show, const struct facts *facts)
{
    return show->steps > 0 ? show->steps : facts->flow && facts->has_class ? 300 : 0;
}

static int draw_samples(const struct diffusion_show *show, diffc_model *model, const struct facts *facts,
                        struct ex_sampling *sampling)
{
    int32_t labels[600];
    int columns = facts->has_class ? facts->options.classes : COLUMNS;
    for (int i = 0; i < show->samples; i++)
        labels[i] = i % columns;
    sampling->context = show->context;
    sampling->model = model;
    sampling->count = show->samples;
    sampling->labels = facts->has_class ? labels : NULL;
    sampling->guidance = show->guidance;
    sampling->steps = steps_of(show, facts);
    sampling->clip = show->clip;
    sampling->numerics = show->numerics;
    sampling->precision = show->precision;
    sampling->seed = show->seed;
    sampling->quiet = show->quiet;
    sampling->label = "sampling";
    int code = ex_sample(sampling);
    sampling->labels = NULL; /* they end with this function */
    return code;
}

/* Has the picture room for all samples? */
static int check_room(const struct diffusion_show *show, const struct facts *facts)
{
    int columns = facts->has_class ? facts->options.classes : COLUMNS;
    if (columns > EX_GRID_LABELS)
        return ex_error(EX_FAILED, "weights", "%d classes, pictures have room for %d", columns,
                        EX_GRID_LABELS);
    if (show->samples > columns * EX_GRID_LABELS)
        return ex_error(EX_FAILED, "--samples", "%d, in rows of %d pictures have room for %d", show->samples,
                        columns, columns * EX_GRID_LABELS);
    return 0;
}

/* Sample i stands in row i / columns; cells after the last sample stay black. */
static int fill_grid(const struct diffusion_show *show, const struct facts *facts, const diffc_tensor *images,
                     struct ex_grid *grid, diffc_tensor **cells)
{
    grid->columns = facts->has_class ? facts->options.classes : COLUMNS;
    grid->rows = (show->samples + grid->columns - 1) / grid->columns;
    grid->column_axis = facts->has_class ? "digit asked for" : "sample";
    grid->row_axis = facts->has_class ? "sample" : NULL;
    int64_t shape[4] = { (int64_t)grid->rows * grid->columns, facts->options.image_channels,
                         facts->options.image_height, facts->options.image_width };
    int status = diffc_tensor_create(show->context, DIFFC_F32, 4, shape, cells);
    if (status)
        return ex_failed("picture", status);
    for (int i = 0; i < show->samples; i++)
        ex_image_copy(*cells, i, images, i);
    for (int i = 0; i < grid->columns; i++)
        snprintf(grid->column_label[i], EX_LABEL, "%d", facts->has_class ? i : i + 1);
    for (int i = 0; i < grid->rows; i++)
        snprintf(grid->row_label[i], EX_LABEL, facts->has_class ? "%d" : "from %d",
                 facts->has_class ? i + 1 : i * COLUMNS + 1);
    grid->images = *cells;
    return 0;
}

static int write_samples(const struct diffusion_show *show, const struct facts *facts,
                         const diffc_tensor *images, const char *title, const char *name)
{
    struct ex_grid grid = { .title = title };
    char path[EX_PATH];
    diffc_tensor *cells = NULL;
    int code = fill_grid(show, facts, images, &grid, &cells);
    if (!code)
        code = ex_grid_write(&grid, ex_path(path, show->out, name));
    diffc_release(&cells);
    return code;
}

static void name_model(const struct diffusion_show *show, const struct facts *facts, const char *extra,
                       char *title, size_t size)
{
    char guidance[48] = "";
    if (facts->has_class)
        snprintf(guidance, sizeof guidance, ", guidance %g", show->guidance);
    int steps = steps_of(show, facts);
    snprintf(title, size, "%s%s, %d steps%s", facts->flow ? "Flow matching" : "DDPM", guidance,
             steps         ? steps
             : facts->flow ? 50
                           : facts->options.train_steps,
             extra);
}

int diffusion_show_epoch(void *opaque, diffc_model *model, int epoch)
{
    const struct diffusion_show *show = opaque;
    struct facts facts = facts_of(model);
    struct ex_sampling sampling = { 0 };
    char extra[48], title[128], name[32];
    int code = draw_samples(show, model, &facts, &sampling);
    if (code)
        return code;
    snprintf(extra, sizeof extra, ", after epoch %d", epoch);
    name_model(show, &facts, extra, title, sizeof title);
    snprintf(name, sizeof name, "epoch-%02d.png", epoch);
    if (!ex_ranks()->rank)
        code = write_samples(show, &facts, sampling.images, title, name);
    ex_sample_free(&sampling);
    return code;
}

static void name_time(const struct facts *facts, float t, char *text, size_t size)
{
    snprintf(text, size, facts->flow ? "t = %.2f" : "t = %.0f", (double)t);
}

/* Moments of the loop from left to right, one digit in each row. */
static int write_strip(const struct diffusion_show *show, const struct facts *facts,
                       const struct ex_sampling *sampling, const char *title)
{
    struct ex_grid grid = { .title = title, .column_axis = "image after the step at timestep t" };
    char path[EX_PATH];
    diffc_tensor *cells = NULL;
    grid.columns = sampling->frame_count < STRIP_COLUMNS ? sampling->frame_count : STRIP_COLUMNS;
    grid.rows = show->samples < STRIP_ROWS ? show->samples : STRIP_ROWS;
    int64_t shape[4] = { (int64_t)grid.rows * grid.columns, facts->options.image_channels,
                         facts->options.image_height, facts->options.image_width };
    int status = diffc_tensor_create(show->context, DIFFC_F32, 4, shape, &cells);
    if (status)
        return ex_failed("picture", status);
    for (int k = 0; k < grid.columns; k++) {
        int frame = grid.columns > 1 ? k * (sampling->frame_count - 1) / (grid.columns - 1) : 0;
        name_time(facts, sampling->frame_time[frame], grid.column_label[k], EX_LABEL);
        for (int row = 0; row < grid.rows; row++)
            ex_image_copy(cells, row * grid.columns + k, sampling->frame[frame], row);
    }
    for (int row = 0; row < grid.rows; row++)
        snprintf(grid.row_label[row], EX_LABEL, facts->has_class ? "digit %d" : "sample %d",
                 facts->has_class ? row % facts->options.classes : row + 1);
    grid.images = cells;
    int code = ex_grid_write(&grid, ex_path(path, show->out, "steps.png"));
    diffc_release(&cells);
    return code;
}

static int write_animation(const struct diffusion_show *show, const struct facts *facts,
                           const struct ex_sampling *sampling)
{
    struct ex_animation animation;
    char path[EX_PATH], title[48];
    int code = ex_animation_open(&animation, ex_path(path, show->out, "animation.png"),
                                 sampling->frame_count);
    if (code)
        return code;
    for (int i = 0; i < sampling->frame_count && !code; i++) {
        struct ex_grid grid = { .title = title };
        diffc_tensor *cells = NULL;
        name_time(facts, sampling->frame_time[i], title, sizeof title);
        code = fill_grid(show, facts, sampling->frame[i], &grid, &cells);
        if (!code)
            ex_animation_add(&animation, ex_grid_draw(&grid), i == sampling->frame_count - 1 ? 2000 : 80);
        diffc_release(&cells);
    }
    return ex_animation_close(&animation, code);
}

static int write_all(const struct diffusion_show *show, const struct facts *facts,
                     const struct ex_sampling *sampling, const char *title)
{
    char path[EX_PATH];
    int code = ex_make_folder(show->out);
    if (!code)
        code = write_samples(show, facts, sampling->images, title, "samples.png");
    if (!code && diffc_npy_write(sampling->images, ex_path(path, show->out, "samples.npy")))
        code = ex_failed(path, DIFFC_ERR_IO);
    if (!code && sampling->frame_count)
        code = write_strip(show, facts, sampling, title);
    if (!code && sampling->frame_count)
        code = write_animation(show, facts, sampling);
    return code;
}

int diffusion_show_samples(const struct diffusion_show *show, diffc_model *model, json_t *metrics)
{
    struct facts facts = facts_of(model);
    struct ex_sampling sampling = { .frames = 60 };
    char title[128];
    double begin = ex_seconds();
    int code = check_room(show, &facts);
    if (!code)
        code = ex_ranks_agree(ex_ranks()->rank ? 0 : ex_check_folder(show->out));
    if (!code)
        code = draw_samples(show, model, &facts, &sampling);
    if (code)
        return code;
    double spent = ex_seconds() - begin;
    name_model(show, &facts, "", title, sizeof title);
    if (!ex_ranks()->rank)
        code = write_all(show, &facts, &sampling, title);
    ex_sample_free(&sampling);
    if (code)
        return code;
    ex_metric_text(metrics, "objective", facts.options.objective);
    ex_metric_text(metrics, "condition", facts.options.condition);
    ex_metric_integer(metrics, "samples", show->samples);
    if (facts.has_class)
        ex_metric(metrics, "guidance", show->guidance);
    ex_metric_integer(metrics, "seed", (int64_t)show->seed);
    ex_metric(metrics, "images_per_second", show->samples / spent);
    return 0;
}
