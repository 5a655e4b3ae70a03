#ifndef DFI_IO_FOLDER_FILES_H
#define DFI_IO_FOLDER_FILES_H

#include "io/folder.h"

/* The files that hold the weights of a component folder. */
struct dfi_folder_files {
    char **names;
    int count, capacity;
    struct json_t *index; /* NULL: no index */
};

int dfi_folder_files_find(struct diffc_context *context, const char *folder, const char *variant,
                          struct dfi_folder_files *files);
void dfi_folder_files_clear(struct diffc_context *context, struct dfi_folder_files *files);

/* Reads an index file; folder.c. */
int dfi_folder_index(struct diffc_context *context, const char *folder, const char *name,
                     struct json_t **index);

#endif
