/* Pictures from pure noise: the iterative loop (A1.5), and with classifier-free guidance (A1.6).
 *
 *   sample --model IF-I --prompt "a high quality photo"                  five pictures, no guidance
 *   sample --model IF-I --prompt "a high quality photo" --guidance 7     the same noise, guided
 *
 * The loop is the course's: timesteps 990, 960, ..., 0, estimates not clipped. Writes the pictures,
 * samples.png and metrics.json. */
#include <stdio.h>

#include "common/cascade.h"

static const char *const course_prompt[] = { "a high quality photo" };

struct settings {
    struct ex_studio studio;
    int count;
};

static int plan(void *opaque, struct ex_cascade *cascade)
{
    const struct settings *s = opaque;
    int code = ex_cascade_jobs(cascade, 1, s->count, 1);
    for (int p = 0; p < cascade->job_count; p++)
        snprintf(cascade->jobs[p].name, sizeof cascade->jobs[p].name,
                 cascade->job_count > 1 ? "prompt%d-sample" : "sample", p + 1);
    return code;
}

static int show(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    struct ex_sheet sheet;
    char title[64];
    int stage = s->studio.model2 ? 1 : 0;
    const diffc_tensor *largest = cascade->jobs[0].images[stage];
    snprintf(title, sizeof title, "Samples, guidance %g", s->studio.guidance);
    int code = ex_sheet_open(&sheet, &s->studio, title, cascade->job_count, s->count,
                             diffc_tensor_dim(largest, 2), diffc_tensor_dim(largest, 3));
    for (int p = 0; p < cascade->job_count && !code; p++)
        for (int k = 0; k < s->count; k++) {
            ex_sheet_row(&sheet, p, "%s", s->studio.prompts.value[p]);
            ex_sheet_column(&sheet, k, "%d", k + 1);
            ex_sheet_put(&sheet, p, k, cascade->jobs[p].images[stage], k);
        }
    return ex_sheet_close(&sheet, &s->studio, code, "samples.png");
}

int main(int argc, char **argv)
{
    struct settings s = { .studio = ex_studio_defaults("out/a1.5-sample"), .count = 5 };
    struct ex_cascade cascade = { .studio = &s.studio, .opaque = &s, .plan = plan, .show = show };
    const struct ex_option own[] = {
        { "count", EX_INT, &s.count, 1, 64, "N", "pictures of each prompt (default 5)" },
    };
    const struct ex_program program = {
        .about =
            "Samples pictures from noise; --guidance 7 turns classifier-free guidance on (default 1: off).",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    s.studio.guidance = 1;
    ex_begin();
    int code = ex_studio_read(&s.studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&s.studio, course_prompt, 1);
    return ex_cascade_run(&cascade);
}
