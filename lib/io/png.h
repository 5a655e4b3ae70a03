#ifndef DFI_IO_PNG_H
#define DFI_IO_PNG_H

#include "io/reader.h"

struct diffc_tensor;

/* PNG files as documented at diffc_image_read(): F32 [channels, height, width]. */
int dfi_png_read(struct dfi_reader *reader, int channels, struct diffc_tensor **image);
int dfi_png_decode(struct diffc_context *context, const void *data, size_t size, int channels,
                   struct diffc_tensor **image);

/* Produces row y (called once for each, from the top) of 8-bit pixels. `row` still holds the row before. */
typedef void (*dfi_png_row_fn)(void *work, int64_t y, unsigned char *row);

struct dfi_png_picture {
    int64_t width, height;
    int channels;            /* 1, 3 or 4 */
    const char *const *text; /* key, value, ..., NULL; or NULL */
    dfi_png_row_fn row;
    void *work;
};
int dfi_png_write(struct diffc_context *context, const struct dfi_png_picture *picture, const char *path);

#endif
