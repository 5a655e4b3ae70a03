#include "levels.h"

static int read_levels(const struct ex_studio *studio, struct ex_levels *levels)
{
    const char *text = studio->timesteps ? studio->timesteps : "250,500,750";
    levels->count = ex_read_timesteps(text, levels->t, EX_LEVELS);
    return levels->count > 0 ? 0
                             : ex_error(EX_USAGE, "--timesteps", "\"%s\" is not a list of at most %d numbers",
                                        text, EX_LEVELS);
}

int ex_levels_check(const struct ex_studio *studio)
{
    struct ex_levels levels;
    return read_levels(studio, &levels);
}

static int open_schedule(const struct ex_studio *studio, diffc_schedule **schedule)
{
    char path[EX_PATH];
    if (!studio->model)
        return diffc_schedule_create(studio->context, "squaredcos_cap_v2", NULL, schedule);
    return diffc_schedule_open(studio->context, ex_path(path, studio->model, "scheduler"), schedule);
}

/* The forward process, with noise of its own for each level. */
static int make_noisy(struct ex_studio *studio, const diffc_schedule *schedule, struct ex_levels *levels)
{
    int code = 0, status = 0;
    for (int i = 0; i < levels->count && !code; i++) {
        status = diffc_tensor_convert(levels->clean, 0, &levels->noisy[i]);
        code = status ? ex_failed("noise", status) : ex_studio_noise(studio, levels->noisy[i]);
        if (code)
            break;
        status = diffc_schedule_add_noise(schedule, levels->clean, levels->noisy[i], &levels->t[i],
                                          levels->noisy[i]);
        if (status)
            code = ex_error(EX_USAGE, "--timesteps", "%s", diffc_message());
        else
            levels->alpha_bar[i] = (double)diffc_schedule_alpha_bars(schedule)[(int)levels->t[i]];
    }
    return code;
}

int ex_levels_open(struct ex_studio *studio, const char *image, int64_t height, int64_t width,
                   struct ex_levels *levels)
{
    diffc_schedule *schedule = NULL;
    *levels = (struct ex_levels) { 0 };
    int code = read_levels(studio, levels);
    if (!code) {
        int status = open_schedule(studio, &schedule);
        code = status ? ex_failed("scheduler", status) : 0;
    }
    if (!code)
        code = ex_picture_open(studio->context, image, height, width, &levels->clean);
    if (!code)
        code = make_noisy(studio, schedule, levels);
    diffc_release(&schedule);
    return code;
}

void ex_levels_close(struct ex_levels *levels)
{
    diffc_release(&levels->clean);
    for (int i = 0; i < levels->count; i++)
        diffc_release(&levels->noisy[i]);
}
