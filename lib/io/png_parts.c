#include <string.h>

#include "io/png_parts.h"

png_voidp dfi_png_alloc(png_structp png, png_alloc_size_t bytes)
{
    struct dfi_png_job *const job = png_get_mem_ptr(png);
    void *const block = dfi_alloc(job->context, bytes);
    if (!block)
        job->status = DIFFC_ERR_NOMEM;
    return block;
}

void dfi_png_free(png_structp png, png_voidp block)
{
    const struct dfi_png_job *const job = png_get_mem_ptr(png);
    dfi_free(job->context, block);
}

void dfi_png_warn(png_structp png, png_const_charp text)
{
    struct dfi_png_job *const job = png_get_error_ptr(png);
    if (strncmp(text, "tRNS", 4) == 0)
        job->bad_trns = 1;
    dfi_log(job->context, DIFFC_LOG_WARNING, "%s: %s", job->name, text);
}

/* libpng has no error numbers: the texts that mean more than a malformed file. */
static int classify(const char *text)
{
    static const struct {
        const char *part;
        int status;
    } known[] = {
        { "CRC error", DIFFC_ERR_CHECKSUM },
        { "incorrect data check", DIFFC_ERR_CHECKSUM },
        { "Not enough image data", DIFFC_ERR_TRUNCATED },
        { "unhandled critical chunk", DIFFC_ERR_UNSUPPORTED },
        { "unknown critical chunk", DIFFC_ERR_UNSUPPORTED },
        { "exceeds user limit", DIFFC_ERR_LIMIT },
    };
    for (int i = 0; i < DFI_COUNT(known); i++)
        if (strstr(text, known[i].part))
            return known[i].status;
    return DIFFC_ERR_FORMAT;
}

void dfi_png_error(png_structp png, png_const_charp text)
{
    struct dfi_png_job *const job = png_get_error_ptr(png);
    if (!job->status && job->reader)
        job->status = dfi_fail(classify(text), "%s: before byte %zu: %s", job->name, job->reader->position,
                               text);
    else if (!job->status)
        job->status = dfi_fail(DIFFC_ERR_IO, "%s: %s", job->name, text);
    png_longjmp(png, 1);
}
