#ifndef EX_STAGE_H
#define EX_STAGE_H

#include "progress.h"
#include "studio.h"

/* A UNet that is ready to sample: stage I makes small pictures, stage II enlarges them. */
struct ex_stage {
    struct ex_studio *studio;
    int number; /* 1 or 2 */
    diffc_model *model;
    diffc_session *session;
    diffc_denoiser denoiser;
    diffc_sampler *sampler;       /* see ex_stage_steps() */
    diffc_schedule *low_schedule; /* of the noise on what stage II is shown; may be NULL */
    diffc_guide *cfg;             /* classifier-free guidance with the studio's strength */
    double guidance;
    int64_t channels, height, width;
    int batch;     /* pictures made at once */
    int steps;     /* steps of the loop; the course makes none from the last timestep */
    char hash[17]; /* of the weights, "" with --no-text */
    double load_seconds, sample_seconds;
    int64_t steps_made;    /* of single pictures */
    diffc_sample_fn watch; /* sees every step; may be NULL */
    void *watch_opaque;
    struct ex_progress bar;
    int bar_before, bar_begin; /* steps of earlier batches; the first step of this loop */
    void *kept[8];
    int kept_count;
};

/* Opens stage `number` for `count` pictures of one loop, `sharing` prompts of which are asked at the same x.
 * height 0: the size that the model was made for. */
int ex_stage_open(struct ex_studio *studio, int number, int count, int sharing, int64_t height, int64_t width,
                  struct ex_stage *stage);
void ex_stage_close(struct ex_stage *stage);

/* Makes the sampler for `steps` timesteps (0: the default of the loop), or for --timesteps. */
int ex_stage_steps(struct ex_stage *stage, int steps);

/* A stage without its network, whose steps are made: what is wrong with them can be told before any work. */
int ex_stage_try(struct ex_studio *studio, int number, int steps, struct ex_stage *trial);

/* Prompts numbered `prompts` become the conditions 0, 1, ... and the negative one DIFFC_UNCONDITIONAL. */
int ex_stage_prompts(struct ex_stage *stage, const int *prompts, int count);

/* `count` pictures. Sizes, seed and progress are filled in, and the guide if there is none.
 *
 * --rng philox: picture k has the seed and the stream k; they are made in batches.
 * --rng torch: picture k is the one that diffusers makes with a generator of seed + k; one after the other.
 * A generator in the options is used as it is, for one picture. */
int ex_stage_sample(struct ex_stage *stage, const diffc_sample_options *options, int count,
                    diffc_tensor **images);

/* The seed that goes with picture k, and its number under that seed. */
uint64_t ex_stage_seed(const struct ex_stage *stage, int k);
int ex_stage_stream(const struct ex_stage *stage, int k);

/* One prediction under the prompt and its guidance, for x [1, C, H, W] at timestep t, and the picture that
 * follows from it: (x - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar). */
int ex_stage_estimate(struct ex_stage *stage, float t, double alpha_bar, const diffc_tensor *x,
                      diffc_tensor **x0);

/* Takes a handle over until ex_stage_drop(): at most 8. */
void ex_stage_keep(struct ex_stage *stage, void *handle);
void ex_stage_drop(struct ex_stage *stage);

/* A new tensor of `count` pictures of the stage's size. */
int ex_stage_tensor(const struct ex_stage *stage, int64_t count, diffc_tensor **tensor);

/* "990,960,0" into at most `most` values; gives their number, 0 if the text is a name (it neither begins with
 * a digit nor has a comma), and -1 if it is a wrong list. */
int ex_read_timesteps(const char *text, float *values, int most);

/* A hash of a folder's weights in 16 digits: FNV-1a (64 bits) over the name of each tensor, a NUL, and the
 * CRC-32 of its bytes (most significant byte first), in the order of the names. */
int ex_model_hash(diffc_context *context, const char *folder, const char *variant, char hash[17]);

#endif
