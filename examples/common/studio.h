#ifndef EX_STUDIO_H
#define EX_STUDIO_H

#include "arguments.h"
#include "metrics.h"

/* What the programs on models of the DeepFloyd IF family share: their options, the prompts as text states,
 * and the folder of results. */

#define EX_NEGATIVE (-1) /* the number of the negative prompt among the prompts */

struct ex_studio {
    /* Options. A program sets its defaults before ex_studio_read(); zero and NULL: not given. */
    const char *model, *model2; /* folders in the layout of diffusers: stage I, stage II */
    const char *variant;
    struct ex_strings prompts;
    const char *negative;
    double guidance, guidance2;
    struct ex_reals steps; /* one number, or with many_steps a list */
    int many_steps;
    int levels_only;   /* --timesteps takes no name of a spacing */
    int without_model; /* the program can do without one */
    const char *timesteps, *loop, *step;
    int noise_level;
    uint64_t seed;
    const char *rng;
    int threads, memory;
    const char *precision, *numerics, *out, *embeddings;
    int clean, save_npy, no_text, quiet;

    const char *default_out;
    diffc_context *context;
    diffc_generator *generator; /* --rng torch: see ex_studio_noise() */
    int drawn;                  /* tensors of noise so far */
    int in_folder;              /* ex_studio_folder() was called */
    diffc_tensor **states;      /* of the prompts [1, tokens, width]; those of the negative one come last */
    json_t *metrics, *images;
    double began;
};

/* The defaults that are the same in all programs. */
struct ex_studio ex_studio_defaults(const char *default_out);

/* Reads the command line; returns as ex_arguments_read(). */
int ex_studio_read(struct ex_studio *studio, const struct ex_program *program, int argc, char **argv);

/* Gives the program its prompts if the user gave none. */
void ex_studio_prompts(struct ex_studio *studio, const char *const *prompts, int count);

/* The one number of --steps, 0 if there is none. */
int ex_studio_steps(const struct ex_studio *studio);

/* Context and metrics; the models of a folder that holds both stages. */
int ex_studio_open(struct ex_studio *studio);

/* Text states of all prompts, and of the negative one where guidance needs it: from the file of embeddings,
 * or from the text encoder, which is given back at once. */
int ex_studio_encode(struct ex_studio *studio);

/* States of prompt `number` (from 0), or EX_NEGATIVE. */
const diffc_tensor *ex_studio_states(const struct ex_studio *studio, int number);

/* Noise for a program's own use: every call gives new numbers. With --rng torch those of one generator that
 * starts at the seed. */
int ex_studio_noise(struct ex_studio *studio, diffc_tensor *noise);

/* Makes the folder of results, without the metrics of an earlier run; to be called when there is something to
 * write. */
int ex_studio_folder(struct ex_studio *studio);

/* Saves the metrics if `code` is 0, gives everything back, and returns the exit code of the program. */
int ex_studio_close(struct ex_studio *studio, int code);

#endif
