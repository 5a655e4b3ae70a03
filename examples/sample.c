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

static int plan(const struct ex_studio *studio, int count, struct ex_cascade *cascade)
{
    int prompts = studio->prompts.count, code = ex_cascade_jobs(cascade, prompts);
    for (int p = 0; p < prompts && !code; p++) {
        struct ex_job *job = &cascade->jobs[p];
        job->steps = studio->steps.count ? (int)studio->steps.value[0] : 0;
        job->count = count;
        job->prompts[0] = p;
        job->prompt_count = 1;
        snprintf(job->name, sizeof job->name, prompts > 1 ? "prompt%d-sample" : "sample", p + 1);
    }
    return code;
}

static int show(struct ex_studio *studio, const struct ex_job *jobs)
{
    struct ex_sheet sheet;
    char title[64];
    const diffc_tensor *largest = jobs[0].images[studio->model2 ? 1 : 0];
    snprintf(title, sizeof title, "Samples, guidance %g", studio->guidance);
    int code = ex_sheet_open(&sheet, studio, title, studio->prompts.count, jobs[0].count,
                             diffc_tensor_dim(largest, 2), diffc_tensor_dim(largest, 3));
    for (int p = 0; p < studio->prompts.count && !code; p++) {
        ex_sheet_row(&sheet, p, "%s", studio->prompts.value[p]);
        for (int k = 0; k < jobs[p].count; k++)
            ex_sheet_put(&sheet, p, k, jobs[p].images[studio->model2 ? 1 : 0], k);
    }
    for (int k = 0; k < jobs[0].count && !code; k++)
        ex_sheet_column(&sheet, k, "%d", k + 1);
    return ex_sheet_close(&sheet, studio, code, "samples.png");
}

int main(int argc, char **argv)
{
    int count = 5;
    struct ex_studio studio = ex_studio_defaults("out/a1.5-sample");
    const struct ex_option own[] = {
        { "count", EX_INT, &count, 1, 64, "N", "pictures of each prompt (default 5)" },
    };
    const struct ex_program program = {
        .about =
            "Samples pictures from noise; --guidance 7 turns classifier-free guidance on (default 1: off).",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    struct ex_cascade cascade = { .studio = &studio, .sharing = 1 };
    studio.guidance = 1;
    ex_begin();
    int code = ex_studio_read(&studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&studio, course_prompt, 1);
    code = ex_studio_open(&studio);
    if (!code)
        code = ex_studio_encode(&studio);
    if (!code)
        code = plan(&studio, count, &cascade);
    if (!code)
        code = ex_cascade_run(&cascade);
    if (!code)
        code = show(&studio, cascade.jobs);
    ex_cascade_free(&cascade);
    return ex_studio_close(&studio, code);
}
