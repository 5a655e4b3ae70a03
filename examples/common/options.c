#include "options.h"

int ex_options_read(struct ex_options *options, const struct ex_program *program, int argc, char **argv)
{
    struct ex_options *o = options;
    const struct ex_option common[] = {
        { "data", EX_TEXT, &o->data, 0, 0, "DIR",
          "folder with the IDX files (default: the 1,000 shipped images)" },
        { "out", EX_TEXT, &o->out, 0, 0, "DIR", "folder for all results (default: out/NAME-OF-THE-RUN)" },
        { "weights", EX_TEXT, &o->weights, 0, 0, "FILE", "weights, a safetensors file" },
        { "seed", EX_SEED, &o->seed, 0, 0, "N", "of all random numbers (default 180)" },
        { "threads", EX_INT, &o->threads, 1, 1024, "N", "default: the CPUs of this process" },
        { "memory", EX_INT, &o->memory, 1, 1 << 30, "MIB", "what a model, its training or its run may take" },
        { "precision", EX_CHOICE, &o->precision, 0, 0, "fp32|bf16", "default fp32" },
        { "numerics", EX_CHOICE, &o->numerics, 0, 0, "default|exact|fast",
          "how sums may be rearranged for speed" },
        { "epochs", EX_INT, &o->epochs, 1, 1000000, "N", "passes over the training images" },
        { "batch", EX_INT, &o->batch, 1, 4096, "N", "images per step" },
        { "lr", EX_REAL, &o->learning_rate, 1e-12, 1e3, "X", "learning rate of Adam" },
        { "width", EX_INT, &o->width, 1, 4096, "D", "channels of the first level of the UNet" },
        { "time", EX_CHOICE, &o->time, 0, 0, "add|mul", "how the UNet takes the time in" },
        { "timesteps", EX_INT, &o->timesteps, 1, 10000, "N",
          "steps of the noise schedule, or of the flow's solver" },
        { "guidance", EX_REALS, &o->guidance, -1000, 1000, "X[,X...]",
          "strength of classifier-free guidance" },
        { "resume", EX_FLAG, &o->resume, 0, 0, NULL, "go on from the newest checkpoint in DIR/checkpoints" },
        { "quiet", EX_FLAG, &o->quiet, 0, 0, NULL, "no progress, only results, notes and errors" },
    };
    *o = (struct ex_options) { .seed = 180, .precision = "fp32" };
    return ex_arguments_read(program, common, (int)(sizeof common / sizeof common[0]), &o->command, argc,
                             argv);
}

int ex_context_open(const struct ex_options *options, diffc_context **context)
{
    return ex_context_create(options->threads, options->memory, context);
}
