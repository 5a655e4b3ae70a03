#ifndef EX_CASCADE_H
#define EX_CASCADE_H

#include "gallery.h"

#define EX_JOB_PROMPTS 16

/* Pictures to make from one set of prompts: by stage I, and by stage II from those if there is one. */
struct ex_job {
    char name[96];               /* of the files */
    int prompts[EX_JOB_PROMPTS]; /* they become the conditions 0, 1, ... */
    int prompt_count;
    int steps;               /* asked of both stages; 0: the default of the loop */
    int made[2];             /* timesteps of stages I and II */
    int count;               /* pictures */
    int image, level;        /* the program's own */
    json_t *more;            /* further fields of their entries in the metrics; may be NULL */
    diffc_tensor *images[2]; /* results [count, 3, H, W] of stages I and II; the second may be NULL */
};

/* Changes how a stage samples for a job. `options` has classifier-free guidance as its guide, and for stage
 * II the picture of stage I. What the function makes for it, ex_stage_keep() holds as long as it is needed.
 */
typedef int (*ex_arrange_fn)(void *opaque, struct ex_stage *stage, const struct ex_job *job,
                             diffc_sample_options *options);

struct ex_cascade {
    struct ex_studio *studio;
    void *opaque; /* the program's own, for its functions; each returns 0 or an exit code */
    int (*plan)(void *opaque, struct ex_cascade *cascade); /* makes the jobs: ex_cascade_jobs() */
    /* Can pictures of this size be made? Asked for each stage before any work, with an empty picture
     * [1, 3, H, W] and room for another; may be NULL. */
    int (*fits)(void *opaque, const diffc_tensor *picture, diffc_tensor *other);
    /* Can a job start as it is to? Asked with ex_stage_try() before any work; may be NULL. */
    int (*starts)(void *opaque, const struct ex_stage *trial, const struct ex_job *job);
    ex_arrange_fn arrange;
    int (*show)(void *opaque,
                struct ex_cascade *cascade); /* what is to be made of the pictures beside the files */
    int sharing;                             /* prompts that are asked at the same x; 0: 1 */
    struct ex_job *jobs;
    int job_count;
};

/* Room for jobs of `prompts_each` prompts, in the order in which the prompts were given, with `count`
 * pictures each and the steps of --steps; and for `variants` of each job, one after the other. */
int ex_cascade_jobs(struct ex_cascade *cascade, int prompts_each, int count, int variants);

/* A whole program behind its options: encodes the prompts, plans, makes the pictures of all jobs and writes
 * them, shows them, and closes the studio. Only one network is in memory at a time. Returns the exit code. */
int ex_cascade_run(struct ex_cascade *cascade);

#endif
