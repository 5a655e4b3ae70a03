#ifndef EX_CASCADE_H
#define EX_CASCADE_H

#include "gallery.h"

#define EX_JOB_PROMPTS 16

/* Pictures to make from one set of prompts: by stage I, and by stage II from those if there is one. */
struct ex_job {
    char name[96];               /* of the files */
    int prompts[EX_JOB_PROMPTS]; /* they become the conditions 0, 1, ... */
    int prompt_count;
    int steps;               /* of both stages; 0: the default of the loop */
    int count;               /* pictures */
    diffc_tensor *images[2]; /* results [count, 3, H, W] of stages I and II; the second may be NULL */
};

/* Changes how a stage samples: `guide` is what options->guide will be. Begins as classifier-free guidance;
 * the function may put another one over it, and gives what it replaces back. May be NULL. */
typedef int (*ex_arrange_fn)(void *opaque, struct ex_stage *stage, diffc_guide **guide);

struct ex_cascade {
    struct ex_studio *studio;
    struct ex_job *jobs;
    int job_count;
    int sharing; /* prompts that are asked at the same x */
    ex_arrange_fn arrange;
    void *opaque;
};

/* Room for `count` jobs, all zero. */
int ex_cascade_jobs(struct ex_cascade *cascade, int count);

/* Makes the pictures of all jobs and writes them. Only one network is in memory at a time. */
int ex_cascade_run(struct ex_cascade *cascade);
void ex_cascade_free(struct ex_cascade *cascade);

#endif
