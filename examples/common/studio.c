#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stages.h"
#include "studio.h"

struct ex_studio ex_studio_defaults(const char *default_out)
{
    return (struct ex_studio) {
        .negative = "",
        .guidance = 7,
        .guidance2 = 4,
        .noise_level = 250,
        .seed = 180,
        .rng = "philox",
        .precision = "fp32",
        .default_out = default_out,
    };
}

/* Metrics and PNG files take nothing else. */
static int check_text(const char *option, const char *text)
{
    json_t *string = json_string(text);
    int good = string != NULL;
    json_decref(string);
    return good ? 0 : ex_error(EX_USAGE, option, "not UTF-8");
}

static int check_texts(const struct ex_studio *s)
{
    int code = check_text("--negative", s->negative);
    for (int i = 0; i < s->prompts.count && !code; i++)
        code = check_text("--prompt", s->prompts.value[i]);
    return code;
}

static int check_steps(const struct ex_studio *s)
{
    int code = ex_check_whole("--steps", &s->steps);
    for (int i = 0; i < s->steps.count && !code; i++)
        for (int k = 0; k < i && !code; k++)
            if (s->steps.value[k] == s->steps.value[i])
                code = ex_error(EX_USAGE, "--steps", "%g is there twice", s->steps.value[i]);
    if (!code && s->steps.count > 1 && !s->many_steps)
        return ex_error(EX_USAGE, "--steps", "one number, please (text_to_image takes a list)");
    return code;
}

static int check(struct ex_studio *s)
{
    int code = check_texts(s);
    if (!code)
        code = check_steps(s);
    if (!s->loop)
        s->loop = strcmp(s->rng, "torch") ? "course" : "pipeline";
    if (s->step && strcmp(s->loop, "pipeline"))
        return ex_error(EX_USAGE, "--step",
                        "the course's loop has its own rule; give --loop pipeline as well");
    return code ? code : -1;
}

int ex_studio_read(struct ex_studio *studio, const struct ex_program *program, int argc, char **argv)
{
    struct ex_studio *s = studio;
    char level_help[64], out_help[96];
    snprintf(level_help, sizeof level_help, "of what stage II is shown (default %d)", s->noise_level);
    snprintf(out_help, sizeof out_help, "folder for all results (default: %s)", s->default_out);
    const struct ex_option common[] = {
        { "model", EX_TEXT, &s->model, 0, 0, "DIR",
          "folder of the model: unet/, scheduler/, text_encoder/ ...; or one that holds both stages" },
        { "model2", EX_TEXT, &s->model2, 0, 0, "DIR", "folder of stage II, which enlarges (default: none)" },
        { "variant", EX_TEXT, &s->variant, 0, 0, "NAME", "of the weights, such as fp16" },
        { "prompt", EX_STRINGS, &s->prompts, 0, 0, "TEXT", "may be given several times" },
        { "negative", EX_STRING, &s->negative, 0, 0, "TEXT",
          "what guidance leads away from (default: \"\")" },
        { "guidance", EX_REAL, &s->guidance, -1000, 1000, "X", "strength of classifier-free guidance" },
        { "guidance2", EX_REAL, &s->guidance2, -1000, 1000, "X", "the same of stage II (default 4)" },
        { "steps", EX_REALS, &s->steps, 1, 1000, "N", "timesteps of the loop" },
        { "timesteps", EX_TEXT, &s->timesteps, 0, 0, s->levels_only ? "LIST" : "LIST|NAME",
          s->levels_only ? "at most 6, such as 250,500,750"
                         : "990,960,...,0 or a spacing such as strided, smart50" },
        { "loop", EX_CHOICE, &s->loop, 0, 0, "course|pipeline",
          "the course's strided loop, or the model's own scheduler (default with --rng torch and in "
          "text_to_image)" },
        { "step", EX_TEXT, &s->step, 0, 0, "NAME", "another step rule: ddim, dpmsolver++, euler ..." },
        { "noise-level", EX_INT, &s->noise_level, 0, 999, "T", level_help },
        { "seed", EX_SEED, &s->seed, 0, 0, "N", "of all random numbers (default 180)" },
        { "rng", EX_CHOICE, &s->rng, 0, 0, "philox|torch",
          "torch: the numbers of PyTorch, in diffusers' order" },
        { "threads", EX_INT, &s->threads, 1, 1024, "N", "default: the CPUs of this process" },
        { "memory", EX_INT, &s->memory, 1, 1 << 30, "MIB", "what a model and its run may take" },
        { "precision", EX_CHOICE, &s->precision, 0, 0, "fp32|bf16", "default fp32" },
        { "numerics", EX_CHOICE, &s->numerics, 0, 0, "default|exact|fast",
          "how sums may be rearranged for speed" },
        { "embeddings", EX_TEXT, &s->embeddings, 0, 0, "FILE",
          "states of the prompts, instead of text_encoder/" },
        { "clean", EX_FLAG, &s->clean, 0, 0, NULL, "clean the prompts as the pipelines' clean_caption does" },
        { "out", EX_TEXT, &s->out, 0, 0, "DIR", out_help },
        { "save-npy", EX_FLAG, &s->save_npy, 0, 0, NULL,
          "also write each picture as it is, float32 [3, H, W]" },
        { "no-text", EX_FLAG, &s->no_text, 0, 0, NULL, "no prompt, seed and model in the PNG files" },
        { "quiet", EX_FLAG, &s->quiet, 0, 0, NULL, "no progress, only results, notes and errors" },
    };
    int code = ex_arguments_read(program, common, (int)(sizeof common / sizeof common[0]), NULL, argc, argv);
    if (code >= 0)
        return code;
    if (!s->model && !s->without_model)
        return ex_error(EX_USAGE, "--model", "must be given");
    s->out = s->out ? s->out : s->default_out;
    return check(s);
}

void ex_studio_prompts(struct ex_studio *studio, const char *const *prompts, int count)
{
    if (studio->prompts.count)
        return;
    for (int i = 0; i < count; i++)
        studio->prompts.value[studio->prompts.count++] = prompts[i];
}

int ex_studio_steps(const struct ex_studio *studio)
{
    return studio->steps.count ? (int)studio->steps.value[0] : 0;
}

/* A folder of two models stands for both of them; one of the wrong stage is told before any work. */
static int choose_models(struct ex_studio *s)
{
    static struct ex_stages stages; /* what the options point to afterwards */
    int code = 0;
    if (s->model && !ex_stage_number(s->model)) {
        code = ex_stages_find(s->model, &stages);
        if (!code && !stages.first[0])
            code = ex_error(EX_FAILED, s->model, "has no model of stage I");
        s->model = stages.first;
        if (!s->model2 && stages.second[0])
            s->model2 = stages.second;
    }
    if (!code && s->model && ex_stage_number(s->model) == 2)
        return ex_error(EX_FAILED, s->model, "is a model of stage II, which enlarges: give it as --model2");
    if (!code && s->model2 && ex_stage_number(s->model2) == 1)
        return ex_error(EX_FAILED, s->model2,
                        "is no model of stage II: its class_embed_type is not timestep");
    return code;
}

int ex_studio_open(struct ex_studio *studio)
{
    studio->began = ex_seconds();
    studio->metrics = json_object();
    studio->images = json_array();
    int code = ex_check_folder(studio->out);
    if (!code)
        code = choose_models(studio);
    if (!code)
        code = ex_context_create(studio->threads, studio->memory, &studio->context);
    if (!code)
        ex_cancel_on_signal(studio->context);
    return code;
}

const diffc_tensor *ex_studio_states(const struct ex_studio *studio, int number)
{
    return studio->states[number == EX_NEGATIVE ? studio->prompts.count : number];
}

int ex_studio_noise(struct ex_studio *studio, diffc_tensor *noise)
{
    int status = 0;
    if (!strcmp(studio->rng, "philox"))
        status = diffc_rng_normal(noise, studio->seed, (uint64_t)studio->drawn++, 0);
    else if (!studio->generator)
        status = diffc_generator_create(studio->context, studio->seed, &studio->generator);
    if (!status && studio->generator)
        status = diffc_generator_normal(studio->generator, noise);
    return status ? ex_failed("noise", status) : 0;
}

int ex_studio_folder(struct ex_studio *studio)
{
    char path[EX_PATH];
    int code = studio->in_folder ? 0 : ex_make_folder(studio->out);
    /* An earlier run's metrics would speak of pictures that this one replaces. */
    if (!code && !studio->in_folder && remove(ex_path(path, studio->out, "metrics.json")) && errno != ENOENT)
        code = ex_error(EX_FAILED, path, "%s", strerror(errno));
    studio->in_folder = !code;
    return code;
}

int ex_studio_close(struct ex_studio *studio, int code)
{
    ex_cancel_on_signal(NULL);
    if (!code) {
        ex_metric_integer(studio->metrics, "seed", (int64_t)studio->seed);
        ex_metric_text(studio->metrics, "rng", studio->rng);
        ex_metric_text(studio->metrics, "precision", studio->precision);
        ex_metric_integer(studio->metrics, "threads", diffc_context_threads(studio->context));
        ex_metric(studio->metrics, "seconds", ex_seconds() - studio->began);
        json_object_set(studio->metrics, "images", studio->images);
        code = ex_metrics_save(studio->metrics, studio->out);
    }
    json_decref(studio->images);
    json_decref(studio->metrics);
    for (int i = 0; studio->states && i <= studio->prompts.count; i++)
        diffc_release(&studio->states[i]);
    free(studio->states);
    diffc_release(&studio->generator);
    diffc_release(&studio->context);
    return ex_end(code, studio->out);
}
