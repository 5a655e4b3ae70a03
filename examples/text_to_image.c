/* Text to image (A0): every prompt with every number of steps, by stage I and, if there is one, stage II.
 *
 *   text_to_image --model IF-I --model2 IF-II --prompt "a rocket ship" --prompt "a pencil" --steps 20,10
 *
 * Loops as diffusers' pipelines: the model's own scheduler. With --rng torch the same seed gives the picture
 * of diffusers. Writes the pictures, grid.png and metrics.json. */
#include <stdio.h>

#include "common/cascade.h"

static const char *const course_prompts[] = { "an oil painting of a snowy mountain village",
                                              "a man wearing a hat", "a rocket ship" };

struct settings {
    struct ex_studio studio;
    int count;
};

/* Numbers of steps to compare. */
static int columns(const struct settings *s)
{
    return s->studio.steps.count ? s->studio.steps.count : 1;
}

/* One job per prompt and number of steps; a list of timesteps, or a named one, has its own number. */
static int plan(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    int numbers = columns(s), code = ex_cascade_jobs(cascade, 1, s->count, numbers);
    for (int i = 0; i < cascade->job_count && !code; i++) {
        struct ex_job *job = &cascade->jobs[i];
        struct ex_stage trial;
        job->steps = (int)s->studio.steps.value[i % numbers];
        code = ex_stage_try(&s->studio, 1, job->steps, &trial);
        snprintf(job->name, sizeof job->name, "prompt%d-steps%d", i / numbers + 1,
                 job->steps ? job->steps : diffc_sampler_steps(trial.sampler));
        ex_stage_close(&trial);
    }
    return code;
}

/* Rows: prompts and their pictures; columns: numbers of steps, stage I beside stage II. */
static int show(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    struct ex_sheet sheet;
    int stages = s->studio.model2 ? 2 : 1, numbers = columns(s);
    const diffc_tensor *largest = cascade->jobs[0].images[stages - 1];
    int code = ex_sheet_open(&sheet, &s->studio, "Text to image", s->studio.prompts.count * s->count,
                             numbers * stages, diffc_tensor_dim(largest, 2), diffc_tensor_dim(largest, 3));
    for (int j = 0; j < cascade->job_count && !code; j++)
        for (int stage = 0; stage < stages; stage++)
            for (int k = 0; k < s->count; k++) {
                int row = j / numbers * s->count + k, column = j % numbers * stages + stage;
                ex_sheet_row(&sheet, row, "%s", s->studio.prompts.value[j / numbers]);
                ex_sheet_column(&sheet, column, "stage %s, %d steps", stage ? "II" : "I",
                                cascade->jobs[j].made[stage]);
                ex_sheet_put(&sheet, row, column, cascade->jobs[j].images[stage], k);
            }
    return ex_sheet_close(&sheet, &s->studio, code, "grid.png");
}

int main(int argc, char **argv)
{
    struct settings s = { .studio = ex_studio_defaults("out/a0-text-to-image"), .count = 1 };
    struct ex_cascade cascade = { .studio = &s.studio, .opaque = &s, .plan = plan, .show = show };
    const struct ex_option own[] = {
        { "count", EX_INT, &s.count, 1, 16, "N", "pictures of each prompt (default 1)" },
    };
    const struct ex_program program = {
        .about =
            "Makes pictures from prompts with a DeepFloyd IF model: --steps 20,10 compares numbers of steps.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    s.studio.loop = "pipeline";
    s.studio.many_steps = 1;
    ex_begin();
    int code = ex_studio_read(&s.studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&s.studio, course_prompts, 3);
    if (!s.studio.steps.count && !s.studio.timesteps)
        s.studio.steps = (struct ex_reals) { 2, { 20, 10 } };
    return ex_cascade_run(&cascade);
}
