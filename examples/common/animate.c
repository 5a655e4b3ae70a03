#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "animate.h"

/* Chunks as in the PNG and APNG specifications (W3C PNG, third edition): big-endian length, type, data, CRC.
 */

static void put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (24 - 8 * i));
}

static void put_chunk(struct ex_animation *animation, const char *type, const unsigned char *data,
                      size_t size)
{
    unsigned char number[4];
    put32(number, (uint32_t)size);
    uLong sum = crc32(crc32(0, (const unsigned char *)type, 4), data, (uInt)size);
    int bad = fwrite(number, 1, 4, animation->file) != 4 || fwrite(type, 1, 4, animation->file) != 4 ||
              (size && fwrite(data, 1, size, animation->file) != size);
    put32(number, (uint32_t)sum);
    if (bad || fwrite(number, 1, 4, animation->file) != 4)
        animation->failed = errno ? errno : EIO;
}

static void put_header(struct ex_animation *animation)
{
    static const unsigned char magic[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    unsigned char head[13] = { 0 }, control[8] = { 0 };
    if (fwrite(magic, 1, sizeof magic, animation->file) != sizeof magic)
        animation->failed = errno;
    put32(head, (uint32_t)animation->width);
    put32(head + 4, (uint32_t)animation->height);
    head[8] = 8; /* bits, then colour type 0 (grey) */
    put_chunk(animation, "IHDR", head, sizeof head);
    put32(control, animation->frames); /* then the number of plays, 0 for endless */
    put_chunk(animation, "acTL", control, sizeof control);
}

/* Rows as differences to the row above (filter type 2), deflated behind `skip` free bytes. */
static unsigned char *pack_frame(const struct ex_animation *animation, cairo_surface_t *surface, size_t skip,
                                 size_t *size)
{
    size_t width = (size_t)animation->width, height = (size_t)animation->height, row = width + 1;
    uLongf packed = compressBound((uLong)(row * height));
    unsigned char *rows = malloc(row * height), *out = malloc(skip + packed);
    const unsigned char *bytes = cairo_image_surface_get_data(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    for (size_t y = 0; rows && out && y < height; y++) {
        rows[y * row] = 2;
        /* Byte 1 of a pixel is green in either byte order of cairo's 32 bits. */
        for (size_t x = 0; x < width; x++) {
            unsigned above = y ? bytes[(y - 1) * stride + 4 * x + 1] : 0;
            rows[y * row + 1 + x] = (unsigned char)(bytes[y * stride + 4 * x + 1] - above);
        }
    }
    if (rows && out && compress2(out + skip, &packed, rows, (uLong)(row * height), 9) == Z_OK) {
        *size = packed;
        free(rows);
        return out;
    }
    free(rows);
    free(out);
    return NULL;
}

int ex_animation_open(struct ex_animation *animation, const char *path, int frames)
{
    *animation = (struct ex_animation) { .frames = (uint32_t)frames };
    snprintf(animation->path, sizeof animation->path, "%s", path);
    snprintf(animation->temporary, sizeof animation->temporary, "%s.tmp", path);
    animation->file = fopen(animation->temporary, "wb");
    return animation->file ? 0 : ex_error(EX_FAILED, path, "%s", strerror(errno));
}

void ex_animation_add(struct ex_animation *animation, cairo_surface_t *surface, int milliseconds)
{
    unsigned char control[26] = { 0 };
    size_t size = 0;
    if (!surface) {
        animation->failed = ENOMEM;
        return;
    }
    int first = animation->sequence == 0;
    if (first) {
        animation->width = cairo_image_surface_get_width(surface);
        animation->height = cairo_image_surface_get_height(surface);
        put_header(animation);
    }
    unsigned char *data = NULL;
    if (cairo_image_surface_get_width(surface) == animation->width &&
        cairo_image_surface_get_height(surface) == animation->height)
        data = pack_frame(animation, surface, 4, &size);
    cairo_surface_destroy(surface);
    if (!data) {
        animation->failed = ENOMEM;
        return;
    }
    put32(control, animation->sequence++);
    put32(control + 4, (uint32_t)animation->width);
    put32(control + 8, (uint32_t)animation->height);
    control[20] = (unsigned char)(milliseconds >> 8);
    control[21] = (unsigned char)milliseconds;
    control[22] = 1000 >> 8;
    control[23] = 1000 & 255;
    put_chunk(animation, "fcTL", control, sizeof control);
    if (first) {
        put_chunk(animation, "IDAT", data + 4, size);
    } else {
        put32(data, animation->sequence++);
        put_chunk(animation, "fdAT", data, size + 4);
    }
    free(data);
}

int ex_animation_close(struct ex_animation *animation, int code)
{
    put_chunk(animation, "IEND", NULL, 0);
    if (fclose(animation->file) && !animation->failed)
        animation->failed = errno;
    if (!code && !animation->failed && rename(animation->temporary, animation->path))
        animation->failed = errno;
    if (!code && !animation->failed)
        return 0;
    remove(animation->temporary);
    return code ? code : ex_error(EX_FAILED, animation->path, "%s", strerror(animation->failed));
}
