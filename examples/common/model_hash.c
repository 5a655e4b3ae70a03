/* Which weights were they? A number that follows from names and contents, fast enough for gigabytes. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "stage.h"

/* FNV-1a. */
static uint64_t add(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static size_t element_size(int dtype)
{
    switch (dtype) {
    case DIFFC_U8: return 1;
    case DIFFC_F16:
    case DIFFC_BF16: return 2;
    case DIFFC_F64:
    case DIFFC_I64: return 8;
    default: return 4;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_tensor(uint64_t *hash, const diffc_archive *archive, const char *name)
{
    diffc_tensor *tensor = NULL;
    unsigned char digest[4];
    int status = diffc_archive_get(archive, name, &tensor);
    if (status)
        return status;
    const size_t size = (size_t)diffc_tensor_count(tensor) * element_size(diffc_tensor_dtype(tensor));
    const unsigned long check = crc32_z(0, diffc_tensor_data(tensor), size);
    for (int i = 0; i < 4; i++)
        digest[i] = (unsigned char)(check >> (24 - 8 * i));
    *hash = add(add(*hash, name, strlen(name) + 1), digest, sizeof digest);
    diffc_release(&tensor);
    return DIFFC_OK;
}

static int add_tensors(uint64_t *hash, const diffc_archive *archive)
{
    int count = diffc_archive_count(archive), status = DIFFC_OK;
    const char **names = calloc((size_t)count + 1, sizeof *names);
    if (!names)
        return DIFFC_ERR_NOMEM;
    for (int i = 0; i < count; i++)
        names[i] = diffc_archive_name(archive, i);
    qsort(names, (size_t)count, sizeof *names, by_name);
    for (int i = 0; i < count && !status && !ex_stopped(); i++)
        status = add_tensor(hash, archive, names[i]);
    free(names);
    return status;
}

int ex_model_hash(diffc_context *context, const char *folder, const char *variant, char text[17])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    char path[EX_PATH];
    diffc_archive *archive = NULL;
    diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
    options.map = 1;
    options.variant = variant;
    ex_path(path, folder, "unet");
    int status = diffc_archive_open(context, ex_exists(path) ? path : folder, &options, &archive);
    if (!status)
        status = add_tensors(&hash, archive);
    diffc_release(&archive);
    if (ex_stopped())
        return ex_stopped();
    if (status)
        return ex_failed(folder, status);
    snprintf(text, 17, "%016llx", (unsigned long long)hash);
    return 0;
}
