/* Visual anagrams (A1.8; Geng et al. 2024): one picture that shows one prompt, and another one when it is
 * looked at through a view: upside down, turned, with its pieces in other places ...
 *
 *   anagram --model IF-I --prompt "an oil painting of an old man" \
 *           --prompt "an oil painting of people around a campfire" --view identity,vflip
 *
 * At every step each prompt predicts the noise of what is seen through its view; the predictions are turned
 * back and averaged. --view takes any list of views, with a parameter behind a colon (inner_circle:0.3); as
 * many prompts make one picture. Writes the pictures, anagrams.png (as each view shows them) and
 * metrics.json. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cascade.h"

#define VIEWS EX_JOB_PROMPTS

static const char *const course_prompts[] = { "an oil painting of an old man",
                                              "an oil painting of people around a campfire",
                                              "a photo of a hipster barista",
                                              "a photo of a dog",
                                              "an oil painting of a snowy mountain village",
                                              "a lithograph of a skull" };

struct settings {
    struct ex_studio studio;
    const char *view_list, *reduction;
    int count;
    char names[256]; /* view_list, cut apart */
    const char *name[VIEWS];
    diffc_view *view[VIEWS];
    int view_count;
};

/* "patch_permute:4": a name and its parameter. */
static int open_view(struct settings *s, char *text)
{
    diffc_view_options options = DIFFC_VIEW_OPTIONS;
    char *colon = strchr(text, ':'), *end = NULL;
    if (colon) {
        *colon = '\0';
        options.parameter = strtod(colon + 1, &end);
        if (end == colon + 1 || *end || options.parameter == 0)
            return ex_error(EX_USAGE, "--view", "\"%s\" is no parameter of %s", colon + 1, text);
    }
    if (strstr(text, "_permute")) /* jigsaw keeps the cut that visual_anagrams has */
        options.seed = s->studio.seed;
    s->name[s->view_count] = text;
    int status = diffc_view_create(s->studio.context, text, &options, &s->view[s->view_count]);
    s->view_count += !status;
    return status ? ex_error(EX_USAGE, "--view", "%s", diffc_message()) : 0;
}

static int open_views(struct settings *s)
{
    char *rest = s->names;
    int code = 0;
    if (strlen(s->view_list) >= sizeof s->names)
        return ex_error(EX_USAGE, "--view", "the list is too long");
    strcpy(s->names, s->view_list);
    for (char *text = strsep(&rest, ","); text && !code; text = strsep(&rest, ","))
        code = s->view_count == VIEWS ? ex_error(EX_USAGE, "--view", "more than %d views", VIEWS)
                                      : open_view(s, text);
    return code;
}

/* Some views cannot cut every size. */
static int fits(void *opaque, const diffc_tensor *picture, diffc_tensor *seen)
{
    struct settings *s = opaque;
    int status = 0;
    for (int v = 0; v < s->view_count && !status; v++)
        status = diffc_view_apply(s->view[v], picture, seen);
    return status ? ex_error(EX_USAGE, "--view", "%s", diffc_message()) : 0;
}

/* One picture of as many prompts as there are views. */
static int plan(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    int code = open_views(s);
    if (!code)
        code = ex_cascade_jobs(cascade, s->view_count, s->count, 1);
    for (int i = 0; i < cascade->job_count; i++) {
        struct ex_job *job = &cascade->jobs[i];
        job->more = json_pack("{s:s, s:s}", "views", s->view_list, "reduction", s->reduction);
        snprintf(job->name, sizeof job->name, "anagram%d", i + 1);
    }
    return code;
}

static int arrange(void *opaque, struct ex_stage *stage, const struct ex_job *job,
                   diffc_sample_options *options)
{
    struct settings *s = opaque;
    diffc_guide *guide = NULL;
    int status = diffc_guide_create_views(s->studio.context, s->view, NULL, job->prompt_count, s->reduction,
                                          stage->cfg, &guide);
    options->guide = guide;
    ex_stage_keep(stage, guide);
    return status ? ex_error(EX_USAGE, "--reduction", "%s", diffc_message()) : 0;
}

/* A picture as all views show it, in one row. */
static int put_views(struct settings *s, struct ex_sheet *sheet, int row, const struct ex_job *job, int k)
{
    const diffc_tensor *images = job->images[s->studio.model2 ? 1 : 0];
    diffc_tensor *seen = NULL;
    int status = diffc_tensor_convert(images, 0, &seen);
    for (int v = 0; v < s->view_count && !status; v++) {
        status = diffc_view_apply(s->view[v], images, seen);
        ex_sheet_put(sheet, row, v, seen, k);
        ex_sheet_column(sheet, v, "%s", s->name[v]);
    }
    diffc_release(&seen);
    return status ? ex_failed("--view", status) : 0;
}

static int show(void *opaque, struct ex_cascade *cascade)
{
    struct settings *s = opaque;
    struct ex_sheet sheet;
    const diffc_tensor *any = cascade->jobs[0].images[s->studio.model2 ? 1 : 0];
    int code = ex_sheet_open(&sheet, &s->studio, "Visual anagrams", cascade->job_count * s->count,
                             s->view_count, diffc_tensor_dim(any, 2), diffc_tensor_dim(any, 3));
    for (int row = 0; row < cascade->job_count * s->count && !code; row++) {
        const struct ex_job *job = &cascade->jobs[row / s->count];
        char *prompts = ex_join_prompts(&s->studio, job->prompts, job->prompt_count, "\n");
        ex_sheet_row(&sheet, row, "%s", prompts ? prompts : "");
        free(prompts);
        code = put_views(s, &sheet, row, job, row % s->count);
    }
    return ex_sheet_close(&sheet, &s->studio, code, "anagrams.png");
}

int main(int argc, char **argv)
{
    struct settings s = { .studio = ex_studio_defaults("out/a1.8-anagram"),
                          .view_list = "identity,vflip",
                          .reduction = "mean",
                          .count = 1 };
    struct ex_cascade cascade = {
        .studio = &s.studio, .opaque = &s, .plan = plan, .fits = fits, .arrange = arrange, .show = show
    };
    const struct ex_option own[] = {
        { "view", EX_TEXT, &s.view_list, 0, 0, "NAME[:X],...", "one per prompt (default identity,vflip)" },
        { "reduction", EX_CHOICE, &s.reduction, 0, 0, "mean|alternate|sum",
          "of the views' predictions (default mean)" },
        { "count", EX_INT, &s.count, 1, 16, "N", "pictures of each set of prompts (default 1)" },
    };
    const struct ex_program program = {
        .about = "Makes pictures that show another prompt through each view.",
        .own = own,
        .own_count = sizeof own / sizeof own[0],
    };
    ex_begin();
    int code = ex_studio_read(&s.studio, &program, argc, argv);
    if (code >= 0)
        return code;
    ex_studio_prompts(&s.studio, course_prompts, 6);
    code = ex_cascade_run(&cascade);
    for (int v = 0; v < s.view_count; v++)
        diffc_release(&s.view[v]);
    return code;
}
