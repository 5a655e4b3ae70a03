#ifndef DFI_TRAIN_CHECKPOINT_H
#define DFI_TRAIN_CHECKPOINT_H

#include "base/context.h"

/* checkpoint_files.c: the directory of a run. Names are ckpt-STEP.safetensors; temporary files of an
 * interrupted save begin with
 * ".ckpt-". */

/* Makes the directory if it is missing. */
int dfi_checkpoint_directory(const char *directory);

/* Takes the directory's lock for a save: ERR_BUSY when someone else has it. A process that dies gives it
 * back. */
int dfi_checkpoint_lock(struct diffc_context *context, const char *directory, int *lock);
void dfi_checkpoint_unlock(int lock);

/* Path of a checkpoint; the caller frees it. NULL without memory. */
char *dfi_checkpoint_path(struct diffc_context *context, const char *directory, int64_t step);

/* The step in the last part of a path, or -1 when it is not the name of a checkpoint. */
int64_t dfi_checkpoint_step_of(const char *path);

/* Steps of all checkpoints in the directory, newest first; the caller frees them. */
int dfi_checkpoint_list(struct diffc_context *context, const char *directory, int64_t **steps, int *count);

/* The checkpoints that go once that of `step` is written: all but the newest `keep`, of which it is one.
 * Found beforehand, so that nothing can fail for want of memory behind a save that succeeded. */
struct dfi_checkpoint_old {
    int64_t *steps;
    int count;
    char *path; /* room for the path of one */
};
int dfi_checkpoint_find_old(struct diffc_context *context, const char *directory, int64_t step, int keep,
                            struct dfi_checkpoint_old *old);
void dfi_checkpoint_remove_old(struct diffc_context *context, const char *directory,
                               const struct dfi_checkpoint_old *old); /* failures are logged */
void dfi_checkpoint_free_old(struct diffc_context *context, struct dfi_checkpoint_old *old);

/* Removes what saves that were killed have left. Under the lock, so no save is under way. What cannot be
 * removed is logged; fails for want of memory only. */
int dfi_checkpoint_clean(struct diffc_context *context, const char *directory);

#endif
