/* Makes pictures to read: photo.png and the same as JPEG of several kinds, good and bad ones; alpha.png. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <diffc/diffc.h>

enum { WIDTH = 48, HEIGHT = 32 };

static unsigned char pixel(int y, int x, int channel)
{
    return (unsigned char)(channel == 0 ? 5 * x : channel == 1 ? 7 * y : 255 - 3 * x - 3 * y);
}

static unsigned char *compress(int components, int progressive, unsigned long *size)
{
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr error;
    unsigned char *memory = NULL, row[4 * WIDTH];
    JSAMPROW rows[1] = { row };
    jpeg.err = jpeg_std_error(&error);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &memory, size);
    jpeg.image_width = WIDTH;
    jpeg.image_height = HEIGHT;
    jpeg.input_components = components;
    jpeg.in_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 98, TRUE);
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < HEIGHT; y++) {
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < components; c++)
                row[x * components + c] = pixel(y, x, c % 3);
        jpeg_write_scanlines(&jpeg, rows, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return memory;
}

static void write_bytes(const char *name, const unsigned char *bytes, unsigned long size)
{
    FILE *file = fopen(name, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file))
        exit(1);
}

/* Two bytes that nobody needs, between the first segment and the second. */
static void write_extraneous(const char *name, const unsigned char *bytes, unsigned long size)
{
    enum { FIRST = 20 };
    unsigned char *more = malloc(size + 2);
    memcpy(more, bytes, FIRST);
    memcpy(more + FIRST, "\x12\x34", 2);
    memcpy(more + FIRST + 2, bytes + FIRST, size - FIRST);
    write_bytes(name, more, size + 2);
    free(more);
}

/* The frame header with another height and width. */
static void write_resized(const char *name, unsigned char *bytes, unsigned long size, unsigned side)
{
    for (unsigned long i = 0; i + 8 < size; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xc0) {
            bytes[i + 5] = bytes[i + 7] = (unsigned char)(side >> 8);
            bytes[i + 6] = bytes[i + 8] = (unsigned char)side;
            break;
        }
    write_bytes(name, bytes, size);
}

static int write_png(const char *name, int channels)
{
    static float values[4 * WIDTH * HEIGHT];
    const int64_t shape[3] = { channels, HEIGHT, WIDTH };
    diffc_context *context = NULL;
    diffc_tensor *image = NULL;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++)
                values[(c * HEIGHT + y) * WIDTH + x] = c == 3 ? 0 : (float)pixel(y, x, c) / 255;
    const int bad = diffc_context_create(NULL, &context) ||
                    diffc_tensor_wrap(context, DIFFC_F32, 3, shape, NULL, values, NULL, NULL, &image) ||
                    diffc_image_write(image, name, NULL);
    diffc_release(&image);
    diffc_release(&context);
    return bad;
}

int main(void)
{
    static const struct {
        const char *name;
        int components, progressive;
    } kinds[] = {
        { "photo.jpg", 3, 0 }, { "progressive.jpg", 3, 1 }, { "grey.jpg", 1, 0 }, { "cmyk.jpg", 4, 0 }
    };
    unsigned long size = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char *bytes = compress(kinds[i].components, kinds[i].progressive, &size);
        write_bytes(kinds[i].name, bytes, size);
        if (i == 0) {
            write_bytes("half.jpg", bytes, size / 2);
            write_bytes("head.jpg", bytes, 30);
            write_bytes("start.jpg", bytes, 3);
            write_extraneous("extra.jpg", bytes, size);
            write_resized("huge.jpg", bytes, size, 65500);
            write_resized("nothing.jpg", bytes, size, 0);
        }
        free(bytes);
        size = 0;
    }
    return write_png("photo.png", 3) || write_png("alpha.png", 4);
}
