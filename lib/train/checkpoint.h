#ifndef DFI_TRAIN_CHECKPOINT_H
#define DFI_TRAIN_CHECKPOINT_H

#include "base/context.h"

/* checkpoint_files.c: the directory of a run. Names are ckpt-STEP.safetensors; temporary files of an interrupted save begin with
 * ".ckpt-". */

/* Makes the directory if it is missing. */
int dfi_checkpoint_directory(const char *directory);

/* Takes the directory's lock for a save: ERR_BUSY when someone else has it. A process that dies gives it back. */
int dfi_checkpoint_lock(struct diffc_context *context, const char *directory, int *lock);
void dfi_checkpoint_unlock(int lock);

/* Path of a checkpoint; the caller frees it. NULL without memory. */
char *dfi_checkpoint_path(struct diffc_context *context, const char *directory, int64_t step);

/* The step in the last part of a path, or -1 when it is not the name of a checkpoint. */
int64_t dfi_checkpoint_step_of(const char *path);

/* Steps of all checkpoints in the directory, newest first; the caller frees them. */
int dfi_checkpoint_list(struct diffc_context *context, const char *directory, int64_t **steps, int *count);

/* Removes all but the newest `keep`; `step`, which was just written, always stays. Under the lock. Failures are logged. */
void dfi_checkpoint_retain(struct diffc_context *context, const char *directory, int64_t step, int keep);

/* Removes what saves that were killed have left. Under the lock, so no save is under way. */
void dfi_checkpoint_clean(struct diffc_context *context, const char *directory);

#endif
