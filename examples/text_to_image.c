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

/* One job per prompt and number of steps. */
static int plan(const struct ex_studio *studio, int count, struct ex_cascade *cascade)
{
    int prompts = studio->prompts.count, n = 0;
    int code = ex_cascade_jobs(cascade, prompts * studio->steps.count);
    for (int p = 0; p < prompts && !code; p++)
        for (int i = 0; i < studio->steps.count; i++) {
            struct ex_job *job = &cascade->jobs[n++];
            job->steps = (int)studio->steps.value[i];
            job->count = count;
            job->prompts[0] = p;
            job->prompt_count = 1;
            snprintf(job->name, sizeof job->name, "prompt%d-steps%d", p + 1, job->steps);
        }
    return code;
}

/* Rows: prompts and their pictures; columns: numbers of steps, stage I beside stage II. */
static int show(struct ex_studio *studio, const struct ex_cascade *cascade, int count)
{
    struct ex_sheet sheet;
    int stages = studio->model2 ? 2 : 1, steps = studio->steps.count;
    const diffc_tensor *largest = cascade->jobs[0].images[stages - 1];
    int code = ex_sheet_open(&sheet, studio, "Text to image", studio->prompts.count * count, steps * stages,
                             diffc_tensor_dim(largest, 2), diffc_tensor_dim(largest, 3));
    for (int j = 0; j < cascade->job_count && !code; j++)
        for (int stage = 0; stage < stages; stage++)
            for (int k = 0; k < count; k++) {
                int row = j / steps * count + k, column = j % steps * stages + stage;
                ex_sheet_row(&sheet, row, "%s", studio->prompts.value[j / steps]);
                ex_sheet_column(&sheet, column, "stage %s, %d steps", stage ? "II" : "I",
                                cascade->jobs[j].steps);
                ex_sheet_put(&sheet, row, column, cascade->jobs[j].images[stage], k);
            }
    return ex_sheet_close(&sheet, studio, code, "grid.png");
}

int main(int argc, char **argv)
{
    int count = 1;
    struct ex_studio studio = ex_studio_defaults("out/a0-text-to-image");
    const struct ex_option own[] = {
        { "count", EX_INT, &count, 1, 16, "N", "pictures of each prompt (default 1)" },
    };
    const struct ex_program program = {
        .about =
            "Makes pictures from prompts with a DeepFloyd IF model: --steps 20,10 compares numbers of steps.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    struct ex_cascade cascade = { .studio = &studio, .sharing = 1 };
    studio.loop = "pipeline";
    studio.many_steps = 1;
    ex_begin();
    int code = ex_studio_read(&studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&studio, course_prompts, 3);
    if (!studio.steps.count)
        studio.steps = (struct ex_reals) { 2, { 20, 10 } };
    code = ex_studio_open(&studio);
    if (!code)
        code = ex_studio_encode(&studio);
    if (!code)
        code = plan(&studio, count, &cascade);
    if (!code)
        code = ex_cascade_run(&cascade);
    if (!code)
        code = show(&studio, &cascade, count);
    ex_cascade_free(&cascade);
    return ex_studio_close(&studio, code);
}
