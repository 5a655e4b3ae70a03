#include "fuzz.h"

#include <string.h>

#include "io/archive.h"
#include "io/safetensors.h"

static int read_all(const diffc_archive *archive)
{
    for (int i = 0; i < diffc_archive_count(archive); i++) {
        diffc_tensor *tensor = NULL;
        if (dfi_archive_find(archive, diffc_archive_name(archive, i)) != i)
            abort();
        const int status = diffc_archive_get(archive, diffc_archive_name(archive, i), &tensor);
        if (status)
            return status;
        fuzz_touch(tensor);
        diffc_release(&tensor);
    }
    for (int i = 0; diffc_archive_metadata_key(archive, i); i++)
        if (!diffc_archive_metadata(archive, diffc_archive_metadata_key(archive, i)))
            abort();
    return DIFFC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    diffc_context *const context = fuzz_context();
    diffc_archive *archive = NULL;
    const long live = fuzz_begin(data, size);
    int status = dfi_safetensors_parse(context, "fuzz", data, size, &archive);
    int made = archive != NULL;
    if (made && (status = read_all(archive)))
        made = 0;
    diffc_release(&archive);
    fuzz_end(live, status, made);
    return 0;
}
