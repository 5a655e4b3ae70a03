#include <string.h>

#include "base/checked.h"
#include "tensor/tensor.h"

#include "io/gz.h"
#include "io/png.h"
#include "io/png_parts.h"

/* Signature, and the chunk that comes first: length, type, 13 bytes, CRC (PNG specification, 5.2 and 11.2.2).
 */
enum { SIGNATURE = 8, HEAD = 33, HEADER_TYPE = 12, HEADER_CRC = 29, CHUNK_CACHE = 16, CHUNK_BYTES = 1 << 20 };

static const unsigned char signature[SIGNATURE] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n' };

struct png_load {
    struct dfi_png_job job;
    png_structp png;
    png_infop info;
    int wanted; /* channels that the caller asked for */
    int64_t width, height;
    int channels, depth, passes; /* of the rows that libpng gives */
    size_t row_bytes;
    unsigned char *rows; /* one row, or all of them if interlaced */
    struct diffc_tensor *image;
};

static void read_bytes(png_structp png, png_bytep data, size_t size)
{
    struct png_load *const load = png_get_io_ptr(png);
    const int status = dfi_reader_read(load->job.reader, data, size);
    if (status) {
        load->job.status = status;
        png_error(png, "cannot read");
    }
}

static int check_signature(const struct png_load *load, const unsigned char *head, size_t size)
{
    if (size >= SIGNATURE && memcmp(head, signature, SIGNATURE) == 0)
        return DIFFC_OK;
    const int jpeg = size >= 3 && head[0] == 0xFF && head[1] == 0xD8 && head[2] == 0xFF;
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: not a PNG file (byte 0%s)", load->job.name,
                    jpeg ? ": it is a JPEG file" : "");
}

static int check_depth(int depth, int colour)
{
    switch (colour) {
    case PNG_COLOR_TYPE_GRAY: return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    case PNG_COLOR_TYPE_PALETTE: return depth == 1 || depth == 2 || depth == 4 || depth == 8;
    case PNG_COLOR_TYPE_RGB:
    case PNG_COLOR_TYPE_GRAY_ALPHA:
    case PNG_COLOR_TYPE_RGB_ALPHA: return depth == 8 || depth == 16;
    default: return 0;
    }
}

/* Bytes of the packed pixels, at least: what the compressed data has to unpack to. */
static size_t least_bytes(const struct png_load *load, int depth, int colour)
{
    const size_t samples = colour == PNG_COLOR_TYPE_RGB          ? 3
                           : colour == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                           : colour == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
                                                                 : 1;
    return (size_t)load->width * samples * (size_t)depth / 8 * (size_t)load->height;
}

static int check_size(const struct png_load *load, const unsigned char *head)
{
    const diffc_limits *const limits = &load->job.context->limits;
    const char *const name = load->job.name;
    const long long width = load->width, height = load->height;
    if (width == 0 || height == 0 || width > INT32_MAX || height > INT32_MAX)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte 16: image of %lld x %lld pixels", name, width, height);
    if (width > limits->image_width || height > limits->image_height)
        return dfi_fail(DIFFC_ERR_LIMIT,
                        "%s: image of %lld x %lld pixels, limits.image_width x image_height is %lld x %lld",
                        name, width, height, (long long)limits->image_width, (long long)limits->image_height);
    if (!check_depth(head[24], head[25]))
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte 24: bit depth %d and colour type %d do not go together",
                        name, head[24], head[25]);
    if (least_bytes(load, head[24], head[25]) / DFI_DEFLATE_RATIO > load->job.reader->size)
        return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: %zu bytes cannot hold an image of %lld x %lld pixels", name,
                        load->job.reader->size, width, height);
    return DIFFC_OK;
}

/* The fields that decide how much memory is needed, before libpng sees them. */
static int check_head(struct png_load *load)
{
    unsigned char head[HEAD];
    size_t size;
    DFI_TRY(dfi_reader_peek(load->job.reader, head, HEAD, &size));
    DFI_TRY(check_signature(load, head, size));
    if (size < HEAD)
        return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: a PNG file of only %zu bytes", load->job.name, size);
    if (dfi_load_be32(head + SIGNATURE) != 13 || memcmp(head + HEADER_TYPE, "IHDR", 4) != 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte 8: IHDR of 13 bytes was expected", load->job.name);
    if (dfi_load_be32(head + HEADER_CRC) != dfi_crc32(0, head + HEADER_TYPE, HEADER_CRC - HEADER_TYPE))
        return dfi_fail(DIFFC_ERR_CHECKSUM, "%s: byte 29: IHDR: CRC error", load->job.name);
    load->width = dfi_load_be32(head + 16);
    load->height = dfi_load_be32(head + 20);
    return check_size(load, head);
}

/* Everything up to the pixels. Colour spaces, texts and the like are skipped unread: they are where decoders
 * have had their bugs, and nothing here depends on them. */
static int read_info(struct png_load *load)
{
    const diffc_limits *const limits = &load->job.context->limits;
    if (setjmp(png_jmpbuf(load->png)))
        return load->job.status;
    png_set_read_fn(load->png, load, read_bytes);
    png_set_user_limits(
        load->png,
        (png_uint_32)(limits->image_width < PNG_UINT_31_MAX ? limits->image_width : PNG_UINT_31_MAX),
        (png_uint_32)(limits->image_height < PNG_UINT_31_MAX ? limits->image_height : PNG_UINT_31_MAX));
    png_set_chunk_cache_max(load->png, CHUNK_CACHE);
    png_set_chunk_malloc_max(load->png, CHUNK_BYTES);
    png_set_keep_unknown_chunks(load->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* -1: known ones too */
    png_read_info(load->png, load->info);
    if (load->job.bad_trns)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: tRNS does not fit the image", load->job.name);
    png_set_expand(load->png); /* palettes to RGB, 1, 2 and 4 bits to 8, tRNS to alpha */
    load->passes = png_set_interlace_handling(load->png);
    png_read_update_info(load->png, load->info);
    load->channels = png_get_channels(load->png, load->info);
    load->depth = png_get_bit_depth(load->png, load->info);
    load->row_bytes = png_get_rowbytes(load->png, load->info);
    return DIFFC_OK;
}

static int make_image(struct png_load *load)
{
    const size_t limit = (size_t)load->job.context->limits.image_bytes;
    const int stored = load->channels == 2 ? 4 : load->channels;
    const int64_t shape[3] = { load->wanted ? load->wanted : stored, load->height, load->width };
    size_t bytes;
    if (dfi_ck_product(shape, 3, &bytes) || dfi_ck_mul(bytes, sizeof(float), &bytes) || bytes > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: image of %d x %lld x %lld floats, limits.image_bytes is %zu",
                        load->job.name, (int)shape[0], (long long)shape[1], (long long)shape[2], limit);
    if (dfi_ck_mul(load->row_bytes, load->passes > 1 ? (size_t)load->height : 1, &bytes))
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: rows of %zu bytes", load->job.name, load->row_bytes);
    load->rows = dfi_calloc(load->job.context, 1, bytes);
    if (!load->rows)
        return DIFFC_ERR_NOMEM;
    return dfi_tensor_create(load->job.context, DIFFC_F32, 3, shape, &load->image);
}

static float sample(const struct png_load *load, const unsigned char *row, int64_t x, int channel)
{
    const size_t i = (size_t)x * (size_t)load->channels + (size_t)channel;
    return load->depth == 16 ? (float)(row[2 * i] << 8 | row[2 * i + 1]) / 65535.0f : (float)row[i] / 255.0f;
}

/* Channel `channel` of the result from the 1 to 4 samples of a pixel. Grey from colour: ITU-R BT.601 luma. */
static float convert(const struct png_load *load, const unsigned char *row, int64_t x, int channel)
{
    const int colour = load->channels >= 3, alpha = load->channels % 2 == 0;
    if (channel == 3)
        return alpha ? sample(load, row, x, load->channels - 1) : 1.0f;
    if (!colour)
        return sample(load, row, x, 0);
    if (load->image->shape[0] > 1)
        return sample(load, row, x, channel);
    return 0.299f * sample(load, row, x, 0) + 0.587f * sample(load, row, x, 1) +
           0.114f * sample(load, row, x, 2);
}

static void store_row(const struct png_load *load, const unsigned char *row, int64_t y)
{
    const int64_t *const strides = load->image->strides;
    for (int channel = 0; channel < load->image->shape[0]; channel++) {
        float *const out = (float *)load->image->data + channel * strides[0] + y * strides[1];
        for (int64_t x = 0; x < load->width; x++)
            out[x] = convert(load, row, x, channel);
    }
}

static int read_rows(struct png_load *load)
{
    if (setjmp(png_jmpbuf(load->png)))
        return load->job.status;
    for (int pass = 0; pass < load->passes; pass++) {
        for (int64_t y = 0; y < load->height; y++) {
            unsigned char *const row = load->rows + (load->passes > 1 ? (size_t)y * load->row_bytes : 0);
            png_read_row(load->png, row, NULL);
            if (pass == load->passes - 1)
                store_row(load, row, y);
        }
    }
    png_read_end(load->png, NULL); /* the checksum of the last data chunk; what follows IEND is not read */
    return load->job.status;       /* a chunk that found no memory may be left out with a warning only */
}

static int read_image(struct png_load *load)
{
    DFI_TRY(check_head(load));
    load->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &load->job, dfi_png_error, dfi_png_warn,
                                         &load->job, dfi_png_alloc, dfi_png_free);
    load->info = load->png ? png_create_info_struct(load->png) : NULL;
    if (!load->info)
        return load->job.status ? load->job.status
                                : dfi_fail(DIFFC_ERR_NOMEM, "%s: no memory for libpng", load->job.name);
    DFI_TRY(read_info(load));
    DFI_TRY(make_image(load));
    return read_rows(load);
}

int dfi_png_read(struct dfi_reader *reader, int channels, struct diffc_tensor **image)
{
    struct png_load load = { .job = { .context = reader->context, .name = reader->name, .reader = reader } };
    load.wanted = channels;
    const int status = read_image(&load);
    if (load.png)
        png_destroy_read_struct(&load.png, &load.info, NULL);
    dfi_free(reader->context, load.rows);
    if (status)
        dfi_release(load.image);
    else
        *image = load.image;
    return status;
}

int dfi_png_decode(struct diffc_context *context, const void *data, size_t size, int channels,
                   struct diffc_tensor **image)
{
    struct dfi_reader reader;
    dfi_reader_memory(&reader, context, "memory", data, size);
    return dfi_png_read(&reader, channels, image);
}
