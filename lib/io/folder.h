#ifndef DFI_IO_FOLDER_H
#define DFI_IO_FOLDER_H

#include "io/archive.h"
#include "io/json.h"

/* A component of a model in the folder layout of diffusers and transformers: config.json, and weights in one
 * safetensors file or several, possibly in variants:
 *   STEM[.VARIANT].safetensors
 *   STEM[.VARIANT]-0000i-of-0000N.safetensors with or without STEM.safetensors.index[.VARIANT].json */

/* 1 if `path` is a folder. */
int dfi_is_folder(const char *path);

/* "FOLDER/NAME", to be freed with dfi_free(). */
char *dfi_folder_path(struct diffc_context *context, const char *folder, const char *name);

/* 1 if there is such a file (or folder). */
int dfi_folder_has(const char *folder, const char *name);

/* The text of a configuration file of the folder, at most 1 MiB, with a NUL behind it and none inside; to be
 * freed with dfi_free(). */
int dfi_folder_text(struct diffc_context *context, const char *folder, const char *name, char **text);

/* Parses such a text, whose root must be an object, under the name of its file; freed with dfi_json_free().
 */
int dfi_folder_parse(struct diffc_context *context, const char *folder, const char *name, const char *text,
                     struct json_t **root);

/* Both. */
int dfi_folder_json(struct diffc_context *context, const char *folder, const char *name,
                    struct json_t **root);

/* The weights as one archive, in the stored dtypes, whatever number of files they are in. `variant` NULL: the
 * files without a variant. A variant that is not there gives way to the plain files, and those to any
 * variant, with a warning to the log when one was asked for. `map` as in dfi_safetensors_open(). ERR_IO where
 * there are no weights, ERR_FORMAT for an index that does not fit its files, ERR_UNSUPPORTED where there are
 * only pickles. */
int dfi_folder_weights(struct diffc_context *context, const char *folder, const char *variant, int map,
                       struct diffc_archive **archive);

/* Bytes of the files that dfi_folder_weights() would read. */
int dfi_folder_weight_bytes(struct diffc_context *context, const char *folder, const char *variant,
                            uint64_t *bytes);

/* Writes the weights into the folder, in files of at most `shard` bytes of data (0: one file) under the names
 * of diffusers (stem "diffusion_pytorch_model") or transformers ("model"). Each file appears whole or not at
 * all; an index, if there is one, comes last. */
int dfi_folder_save(const struct diffc_archive *archive, const char *folder, const char *stem,
                    const char *variant, uint64_t shard);

#endif
