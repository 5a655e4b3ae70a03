#include <math.h>
#include <string.h>

#include "base/checked.h"

#include "io/image.h"
#include "io/png.h"

unsigned char dfi_image_byte(float value, float low, float high)
{
    const double scaled = ((double)value - low) / ((double)high - low) * 255.0;
    if (!(scaled > 0)) /* NaN too */
        return 0;
    if (scaled >= 255)
        return 255;
    const int below = (int)scaled;
    const double rest = scaled - below;
    return (unsigned char)(below + (rest > 0.5 || (rest == 0.5 && below % 2)));
}

int32_t dfi_image_columns(int64_t count, int64_t height, int64_t width)
{
    const double columns = ceil(sqrt((double)count * (double)height / (double)width));
    return columns < 1 ? 1 : columns > (double)count ? (int32_t)count : (int32_t)columns;
}

/* A grid as rows of bytes; one picture is a grid of one. */
struct grid {
    const struct diffc_image_options *options;
    const float *data;
    int64_t stride[4]; /* N, C, H, W */
    int64_t count, channels, height, width;
    int64_t columns, gap;
    int64_t nans;
};

static void start_grid(struct grid *grid, const struct diffc_tensor *image,
                       const diffc_image_options *options)
{
    const int first = image->ndim - 3;
    *grid = (struct grid) { .options = options, .data = image->data, .count = first ? image->shape[0] : 1 };
    grid->channels = image->shape[first];
    grid->height = image->shape[first + 1];
    grid->width = image->shape[first + 2];
    for (int i = 0; i < 4; i++)
        grid->stride[i] = i == 0 && !first ? 0 : image->strides[i - 1 + first];
    grid->columns = options->columns < grid->count ? options->columns : grid->count;
    grid->gap = options->gap > 0 ? options->gap : 0;
}

static int64_t grid_rows(const struct grid *grid)
{
    return (grid->count - 1) / grid->columns + 1;
}

/* Pixels of one side, before scaling: pictures with a gap between any two; negative if it overflows. */
static int64_t side(int64_t pictures, int64_t pixels, int64_t gap, int64_t scale)
{
    int64_t length, gaps;
    if (__builtin_mul_overflow(pictures, pixels, &length) ||
        __builtin_mul_overflow(pictures - 1, gap, &gaps) || __builtin_add_overflow(length, gaps, &length) ||
        __builtin_mul_overflow(length, scale, &length))
        return -1;
    return length;
}

/* Writes `scale` copies of a pixel and returns the end. */
static unsigned char *put_pixel(const struct grid *grid, unsigned char *out, const unsigned char *pixel)
{
    for (int32_t i = 0; i < grid->options->scale; i++) {
        memcpy(out, pixel, (size_t)grid->channels);
        out += grid->channels;
    }
    return out;
}

static unsigned char *put_gap(const struct grid *grid, unsigned char *out, int64_t pixels)
{
    const unsigned char grey = dfi_image_byte(grid->options->gap_value, 0, 1);
    const unsigned char pixel[4] = { grey, grey, grey, 255 };
    for (int64_t i = 0; i < pixels; i++)
        out = put_pixel(grid, out, pixel);
    return out;
}

static unsigned char *put_picture(struct grid *grid, unsigned char *out, int64_t index, int64_t y)
{
    const float *const row = grid->data + index * grid->stride[0] + y * grid->stride[2];
    for (int64_t x = 0; x < grid->width; x++) {
        unsigned char pixel[4];
        for (int64_t c = 0; c < grid->channels; c++) {
            const float value = row[c * grid->stride[1] + x * grid->stride[3]];
            grid->nans += value != value;
            pixel[c] = dfi_image_byte(value, grid->options->low, grid->options->high);
        }
        out = put_pixel(grid, out, pixel);
    }
    return out;
}

static void make_row(void *work, int64_t y, unsigned char *row)
{
    struct grid *const grid = work;
    const int64_t pitch = grid->height + grid->gap, line = y / grid->options->scale;
    const int64_t first = line / pitch * grid->columns, inside = line % pitch;
    if (y % grid->options->scale)
        return; /* the row before, once more */
    for (int64_t column = 0; column < grid->columns; column++) {
        if (column > 0)
            row = put_gap(grid, row, grid->gap);
        if (inside < grid->height && first + column < grid->count)
            row = put_picture(grid, row, first + column, inside);
        else
            row = put_gap(grid, row, grid->width);
    }
}

int dfi_image_write(const struct diffc_tensor *image, const char *path, const diffc_image_options *options)
{
    struct grid grid;
    start_grid(&grid, image, options);
    const struct dfi_png_picture picture = {
        .width = side(grid.columns, grid.width, grid.gap, options->scale),
        .height = side(grid_rows(&grid), grid.height, grid.gap, options->scale),
        .channels = (int)grid.channels,
        .text = options->text,
        .row = make_row,
        .work = &grid,
    };
    if (picture.width < 0 || picture.height < 0)
        return dfi_fail(DIFFC_ERR_LIMIT, "the grid has more pixels than can be counted");
    DFI_TRY(dfi_png_write(image->object.context, &picture, path));
    if (grid.nans)
        return dfi_fail(DIFFC_ERR_NONFINITE,
                        "\"%s\" was written, but %lld of its values are NaN and became black", path,
                        (long long)grid.nans);
    return DIFFC_OK;
}
