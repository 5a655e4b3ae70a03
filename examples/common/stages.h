#ifndef EX_STAGES_H
#define EX_STAGES_H

#include "support.h"

/* The folders of models of stages I and II. */
struct ex_stages {
    char first[EX_PATH], second[EX_PATH]; /* "": none */
};

/* The stage of the model in a folder (its unet/, or the folder itself), by its class_embed_type: 1 or 2; 0
 * where there is no model. */
int ex_stage_number(const char *folder);

/* The models in a folder that holds them in folders of their own, at most one of each stage. */
int ex_stages_find(const char *folder, struct ex_stages *stages);

#endif
