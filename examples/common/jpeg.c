/* JPEG files by libjpeg(-turbo): errors come back through longjmp to ex_jpeg_read() and never further. */

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "picture.h"

#define MOST_SCANS 100 /* a progressive file may ask for any number of passes over the picture */

struct job {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr error;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    char message[JMSG_LENGTH_MAX + 32];
    diffc_tensor *bytes;
};

static void give_up(j_common_ptr jpeg)
{
    struct job *job = jpeg->client_data;
    if (!job->message[0])
        jpeg->err->format_message(jpeg, job->message);
    longjmp(job->back, 1);
}

/* Of the warnings (level -1) those that mean damage: a part of the picture is not there. Files from the web
 * have others, such as a few bytes too many. */
static void note(j_common_ptr jpeg, int level)
{
    const int code = jpeg->err->msg_code;
    if (level < 0 && (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_JPEG_EOF ||
                      code == JWRN_MUST_RESYNC))
        give_up(jpeg);
}

static void count_scans(j_common_ptr jpeg)
{
    struct job *job = jpeg->client_data;
    if (job->jpeg.input_scan_number > MOST_SCANS) {
        snprintf(job->message, sizeof job->message, "more than %d scans", MOST_SCANS);
        give_up(jpeg);
    }
}

static void check_size(struct job *job, const diffc_limits *limits)
{
    const int64_t width = job->jpeg.image_width, height = job->jpeg.image_height;
    if (width <= limits->image_width && height <= limits->image_height &&
        3 * width * height <= limits->image_bytes)
        return;
    snprintf(job->message, sizeof job->message, "%lld x %lld pixels are over the limit", (long long)width,
             (long long)height);
    longjmp(job->back, 1);
}

/* Rows of pixels R, G, B into three planes. */
static void read_rows(struct job *job, diffc_tensor *bytes, unsigned char *row)
{
    const size_t width = job->jpeg.output_width, plane = width * job->jpeg.output_height;
    unsigned char *to = diffc_tensor_data(bytes);
    while (job->jpeg.output_scanline < job->jpeg.output_height) {
        unsigned char *line = to + job->jpeg.output_scanline * width;
        jpeg_read_scanlines(&job->jpeg, &row, 1);
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++)
                line[c * plane + x] = row[3 * x + c];
    }
}

static int decode(struct job *job, diffc_context *context, FILE *file)
{
    diffc_limits limits = DIFFC_LIMITS;
    diffc_context_limits(context, &limits);
    jpeg_create_decompress(&job->jpeg);
    job->jpeg.client_data = job;
    job->jpeg.progress = &job->progress;
    job->progress.progress_monitor = count_scans;
    jpeg_stdio_src(&job->jpeg, file);
    jpeg_read_header(&job->jpeg, TRUE);
    check_size(job, &limits);
    job->jpeg.out_color_space = JCS_RGB;
    jpeg_start_decompress(&job->jpeg);
    const int64_t shape[3] = { 3, job->jpeg.output_height, job->jpeg.output_width };
    int status = diffc_tensor_create(context, DIFFC_U8, 3, shape, &job->bytes);
    if (status)
        return status;
    JSAMPARRAY rows = job->jpeg.mem->alloc_sarray((j_common_ptr)&job->jpeg, JPOOL_IMAGE,
                                                  3 * job->jpeg.output_width, 1);
    read_rows(job, job->bytes, rows[0]);
    jpeg_finish_decompress(&job->jpeg);
    return 0;
}

/* What jumps back arrives here; `job` is the caller's, and so is what has become of it. */
static int try_decode(struct job *job, diffc_context *context, FILE *file)
{
    return setjmp(job->back) ? DIFFC_OK : decode(job, context, file);
}

int ex_jpeg_read(diffc_context *context, const char *path, diffc_tensor **bytes)
{
    struct job job = { .message = "" };
    FILE *file = fopen(path, "rb");
    if (!file)
        return ex_error(EX_FAILED, path, "cannot be opened");
    job.jpeg.err = jpeg_std_error(&job.error);
    job.error.error_exit = give_up;
    job.error.emit_message = note;
    int status = try_decode(&job, context, file);
    jpeg_destroy_decompress(&job.jpeg);
    fclose(file);
    if (!status && !job.message[0]) {
        *bytes = job.bytes;
        return 0;
    }
    diffc_release(&job.bytes);
    return job.message[0] ? ex_error(EX_FAILED, path, "JPEG: %s", job.message) : ex_failed(path, status);
}
