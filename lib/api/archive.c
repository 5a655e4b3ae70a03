#include <diffc/archive.h>

#include "io/archive.h"
#include "io/folder.h"
#include "io/idx.h"
#include "io/npy.h"
#include "io/safetensors.h"

int diffc_archive_open(diffc_context *context, const char *path, const diffc_archive_options *options,
                       diffc_archive **archive)
{
    diffc_archive_options read;
    diffc_archive *made = NULL;
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    DFI_REQUIRE(archive);
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "diffc_archive_options"));
    if (read.map != 0 && read.map != 1)
        return dfi_fail(DIFFC_ERR_ARG, "options.map is %d, must be 0 or 1", (int)read.map);
    int status = dfi_is_folder(path) ? dfi_folder_weights(context, path, read.variant, read.map, &made)
                                     : dfi_safetensors_open(context, path, read.map, &made);
    if (status == DIFFC_OK && read.finite && (status = dfi_archive_check_finite(made)) < 0)
        status = dfi_fail_in(status, "%s", path);
    if (status < 0)
        dfi_release(made);
    else
        *archive = made;
    return status;
}

int diffc_archive_open_memory(diffc_context *context, const void *data, size_t size, diffc_archive **archive)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(archive);
    if (size > 0)
        DFI_REQUIRE(data);
    return dfi_safetensors_parse(context, "memory", data, size, archive);
}

int diffc_archive_create(diffc_context *context, diffc_archive **archive)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(archive);
    return dfi_archive_new(context, archive);
}

int diffc_archive_count(const diffc_archive *archive)
{
    return archive ? archive->count : 0;
}

const char *diffc_archive_name(const diffc_archive *archive, int position)
{
    return archive && position >= 0 && position < archive->count ? archive->entries[position].name : NULL;
}

int diffc_archive_get(const diffc_archive *archive, const char *name, diffc_tensor **tensor)
{
    DFI_REQUIRE(archive);
    DFI_REQUIRE(name);
    DFI_REQUIRE(tensor);
    const int position = dfi_archive_find(archive, name);
    char text[80];
    if (position < 0)
        return dfi_fail(DIFFC_ERR_ARG, "the archive has no tensor \"%s\" among its %d",
                        dfi_clip(name, text, sizeof(text)), archive->count);
    return dfi_archive_get(archive, position, tensor);
}

const char *diffc_archive_metadata(const diffc_archive *archive, const char *key)
{
    return archive && key ? dfi_archive_metadata(archive, key) : NULL;
}

const char *diffc_archive_metadata_key(const diffc_archive *archive, int position)
{
    return archive && position >= 0 && position < archive->metadata_count ? archive->metadata[position].key
                                                                          : NULL;
}

int diffc_archive_add(diffc_archive *archive, const char *name, const diffc_tensor *tensor)
{
    DFI_REQUIRE(archive);
    DFI_REQUIRE(name);
    DFI_REQUIRE(tensor);
    return dfi_archive_add(archive, name, tensor);
}

int diffc_archive_set_metadata(diffc_archive *archive, const char *key, const char *value)
{
    DFI_REQUIRE(archive);
    DFI_REQUIRE(key);
    DFI_REQUIRE(value);
    return dfi_archive_set_metadata(archive, key, value);
}

int diffc_archive_save(const diffc_archive *archive, const char *path)
{
    DFI_REQUIRE(archive);
    DFI_REQUIRE(path);
    return dfi_archive_save(archive, path);
}

int diffc_npy_read(diffc_context *context, const char *path, diffc_tensor **tensor)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    DFI_REQUIRE(tensor);
    struct dfi_reader reader;
    DFI_TRY(dfi_reader_open(&reader, context, path));
    const int status = dfi_npy_read(&reader, tensor);
    dfi_reader_close(&reader);
    return status;
}

int diffc_npy_write(const diffc_tensor *tensor, const char *path)
{
    DFI_REQUIRE(tensor);
    DFI_REQUIRE(path);
    return dfi_npy_write(tensor, path);
}

int diffc_idx_read(diffc_context *context, const char *path, diffc_tensor **tensor)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(path);
    DFI_REQUIRE(tensor);
    struct dfi_reader reader;
    DFI_TRY(dfi_reader_open(&reader, context, path));
    const int status = dfi_idx_read(&reader, tensor);
    dfi_reader_close(&reader);
    return status;
}
