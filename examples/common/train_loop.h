#ifndef EX_TRAIN_LOOP_H
#define EX_TRAIN_LOOP_H

#include "metrics.h"
#include "options.h"

/* A training run in a folder: steps, loss.csv, checkpoints, pictures after some epochs, final weights. */
struct ex_training {
    const struct ex_options *options; /* epochs, batch, seed ... with the program's defaults filled in */
    const char *out;
    const char *name;      /* of the run, e.g. "b2.2-ddpm-class" */
    const char *title;     /* of the loss curve */
    const char *loss_name; /* of its y axis */
    diffc_context *context;
    diffc_model *model;
    diffc_trainer *trainer;
    const diffc_dataset *train, *test;
    struct ex_reals
        show; /* epochs after which `picture` is called and the test loss is taken; the last one always */
    int (*picture)(void *opaque, diffc_model *model, int epoch); /* may be NULL */
    void *opaque;
    double ema;      /* decay of the trainer's EMA weights, with which pictures are made; 0: none */
    json_t *metrics; /* made by ex_train() */
};

/* Trains, or goes on with a run that was stopped, and writes everything. Refuses a folder that holds another
 * run. 0 or the exit code. */
int ex_train(struct ex_training *run);

#endif
