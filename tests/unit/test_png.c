#include "io_case.h"

#include <math.h>
#include <png.h>

#include "io/image.h"
#include "io/png.h"
#include "tensor/tensor.h"

/* A picture as libpng writes it, with random samples, and the values that it means. */
struct picture {
    int width, height, depth, colour, interlaced;
    int palette, keyed; /* entries of a palette; whether tRNS is there */
    unsigned char rows[40][40 * 8];
    png_color colours[256];
    unsigned char alphas[256];
    png_color_16 key;
};

static uint32_t random_state = 1;

static unsigned next_random(unsigned bound)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % bound;
}

static int samples_of(int colour)
{
    return colour == PNG_COLOR_TYPE_RGB    ? 3
           : colour == PNG_COLOR_TYPE_RGBA ? 4
           : colour == PNG_COLOR_TYPE_GA   ? 2
                                           : 1;
}

static unsigned stored_sample(const struct picture *picture, int x, int y, int channel)
{
    const unsigned char *const row = picture->rows[y];
    const int i = x * samples_of(picture->colour) + channel;
    if (picture->depth == 16)
        return (unsigned)row[2 * i] << 8 | row[2 * i + 1];
    const int per_byte = 8 / picture->depth, shift = 8 - picture->depth * (i % per_byte + 1);
    return row[i / per_byte] >> shift & ((1u << picture->depth) - 1);
}

/* Red, green, blue, alpha as the file says them. */
static void expected_pixel(const struct picture *picture, int x, int y, double *rgba)
{
    const double top = (1u << picture->depth) - 1;
    const int samples = samples_of(picture->colour), grey = samples <= 2;
    rgba[3] = 1;
    if (picture->colour == PNG_COLOR_TYPE_PALETTE) {
        const unsigned index = stored_sample(picture, x, y, 0);
        rgba[0] = picture->colours[index].red / 255.0;
        rgba[1] = picture->colours[index].green / 255.0;
        rgba[2] = picture->colours[index].blue / 255.0;
        if (picture->keyed)
            rgba[3] = picture->alphas[index] / 255.0;
        return;
    }
    for (int c = 0; c < 3; c++)
        rgba[c] = stored_sample(picture, x, y, grey ? 0 : c) / top;
    if (samples % 2 == 0)
        rgba[3] = stored_sample(picture, x, y, samples - 1) / top;
    if (picture->keyed && grey)
        rgba[3] = stored_sample(picture, x, y, 0) != picture->key.gray;
    if (picture->keyed && !grey)
        rgba[3] = stored_sample(picture, x, y, 0) != picture->key.red ||
                  stored_sample(picture, x, y, 1) != picture->key.green ||
                  stored_sample(picture, x, y, 2) != picture->key.blue;
}

static void randomise(struct picture *picture)
{
    const int samples = samples_of(picture->colour);
    memset(picture->rows, 0, sizeof(picture->rows));
    for (int y = 0; y < picture->height; y++)
        for (int i = 0; i < (picture->width * samples * picture->depth + 7) / 8; i++)
            picture->rows[y][i] = (unsigned char)next_random(256);
    picture->palette = picture->colour == PNG_COLOR_TYPE_PALETTE ? 1 << picture->depth : 0;
    for (int i = 0; i < 256; i++) {
        picture->colours[i] = (png_color) { (unsigned char)next_random(256), (unsigned char)next_random(256),
                                            (unsigned char)next_random(256) };
        picture->alphas[i] = (unsigned char)next_random(256);
    }
    picture->key.gray = (png_uint_16)stored_sample(picture, 1, 0, 0);
    picture->key.red = picture->key.gray;
    if (samples >= 3) {
        picture->key.green = (png_uint_16)stored_sample(picture, 1, 0, 1);
        picture->key.blue = (png_uint_16)stored_sample(picture, 1, 0, 2);
    }
}

static void append_bytes(png_structp png, png_bytep data, size_t size)
{
    bytes_put(png_get_io_ptr(png), data, size);
}

static struct bytes write_picture(struct picture *picture)
{
    struct bytes file = { 0 };
    png_bytep rows[40];
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_text text = { .compression = PNG_TEXT_COMPRESSION_zTXt,
                      .key = (char[]) { "Comment" },
                      .text = (char[]) { "x" } };
    text.text_length = 1;
    png_set_write_fn(png, &file, append_bytes, NULL);
    png_set_IHDR(png, info, (png_uint_32)picture->width, (png_uint_32)picture->height, picture->depth,
                 picture->colour, picture->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, 0, 0);
    png_set_gAMA(png, info, 0.3); /* must not change a value */
    png_set_text(png, info, &text, 1);
    if (picture->palette)
        png_set_PLTE(png, info, picture->colours, picture->palette);
    if (picture->keyed)
        png_set_tRNS(png, info, picture->palette ? picture->alphas : NULL, picture->palette, &picture->key);
    for (int y = 0; y < picture->height; y++)
        rows[y] = picture->rows[y];
    png_set_rows(png, info, rows);
    png_write_png(png, info, 0, NULL);
    png_destroy_write_struct(&png, &info);
    return file;
}

static void expect_picture(const struct picture *picture, const struct bytes *file, int channels)
{
    diffc_tensor *image = NULL;
    if (dfi_png_decode(io_context, file->data, file->size, channels, &image))
        fail_msg("depth %d, colour %d: %s", picture->depth, picture->colour, diffc_message());
    const int64_t got = diffc_tensor_dim(image, 0);
    const float *const data = diffc_tensor_data(image);
    assert_int_equal(diffc_tensor_dtype(image), DIFFC_F32);
    assert_int_equal(diffc_tensor_ndim(image), 3);
    if (channels)
        assert_int_equal(got, channels);
    assert_int_equal(diffc_tensor_dim(image, 1), picture->height);
    assert_int_equal(diffc_tensor_dim(image, 2), picture->width);
    for (int y = 0; y < picture->height; y++) {
        for (int x = 0; x < picture->width; x++) {
            double rgba[4];
            expected_pixel(picture, x, y, rgba);
            if (got == 1)
                rgba[0] = 0.299 * rgba[0] + 0.587 * rgba[1] + 0.114 * rgba[2];
            for (int c = 0; c < got; c++) {
                const float value = data[(c * picture->height + y) * picture->width + x];
                assert_true(fabs(value - rgba[c]) <= (got == 1 ? 2e-7 : 6e-8 * rgba[c]));
            }
        }
    }
    diffc_release(&image);
}

/* Every bit depth, colour type, interlacing and transparency, as every number of channels. */
static void test_every_kind(void **state)
{
    (void)state;
    static const int kinds[][2] = {
        { 1, 0 }, { 2, 0 }, { 4, 0 }, { 8, 0 }, { 16, 0 }, { 8, 2 }, { 16, 2 }, { 1, 3 },
        { 2, 3 }, { 4, 3 }, { 8, 3 }, { 8, 4 }, { 16, 4 }, { 8, 6 }, { 16, 6 },
    };
    static const int sizes[][2] = { { 2, 1 }, { 7, 5 }, { 37, 40 } };
    static struct picture picture;
    int count = 0;
    for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++) {
        for (int variant = 0; variant < 12; variant++) {
            picture = (struct picture) { .width = sizes[variant / 4][0], .height = sizes[variant / 4][1] };
            picture.depth = kinds[kind][0];
            picture.colour = kinds[kind][1];
            picture.interlaced = variant & 1;
            picture.keyed = (variant & 2) && samples_of(picture.colour) % 2;
            randomise(&picture);
            struct bytes file = write_picture(&picture);
            for (int channels = 0; channels <= 4; channels++)
                if (channels != 2)
                    expect_picture(&picture, &file, channels);
            bytes_free(&file);
            count++;
        }
    }
    print_message("png: %d pictures of %zu kinds\n", count, sizeof(kinds) / sizeof(kinds[0]));
}

static void test_channels_as_stored(void **state)
{
    (void)state;
    static const int expected[5][2] = { { 0, 1 }, { 2, 3 }, { 3, 3 }, { 4, 4 }, { 6, 4 } };
    static struct picture picture;
    for (int i = 0; i < 5; i++) {
        for (int keyed = 0; keyed <= (i < 3); keyed++) {
            diffc_tensor *image = NULL;
            picture = (struct picture) {
                .width = 4, .height = 3, .depth = 8, .colour = expected[i][0], .keyed = keyed
            };
            randomise(&picture);
            struct bytes file = write_picture(&picture);
            bytes_save(&file, io_path("c.png"));
            assert_int_equal(diffc_image_read(io_context, io_path("c.png"), 0, &image), DIFFC_OK);
            assert_int_equal(diffc_tensor_dim(image, 0), keyed ? 4 : expected[i][1]);
            diffc_release(&image);
            bytes_free(&file);
        }
    }
}

static diffc_tensor *make_image(int ndim, const int64_t *shape)
{
    diffc_tensor *image = NULL;
    assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, ndim, shape, &image), DIFFC_OK);
    float *const data = diffc_tensor_data(image);
    for (int64_t i = 0; i < diffc_tensor_count(image); i++)
        data[i] = (float)next_random(256) / 255.0f;
    return image;
}

static diffc_tensor *read_back(const char *name)
{
    diffc_tensor *image = NULL;
    if (diffc_image_read(io_context, io_path(name), 0, &image))
        fail_msg("%s", diffc_message());
    return image;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const int axes[3] = { 2, 0, 1 };
    for (int channels = 1; channels <= 4; channels++) {
        const int64_t shape[3] = { channels, 13, 17 }, interleaved[3] = { 13, 17, channels };
        diffc_tensor *image = make_image(3, shape), *pixels = make_image(3, interleaved), *view = NULL;
        if (channels == 2) {
            assert_int_equal(diffc_image_write(image, io_path("2.png"), NULL), DIFFC_ERR_ARG);
        } else {
            assert_int_equal(diffc_image_write(image, io_path("r.png"), NULL), DIFFC_OK);
            diffc_tensor *read = read_back("r.png");
            assert_memory_equal(diffc_tensor_data(read), diffc_tensor_data(image),
                                4 * (size_t)channels * 13 * 17);
            diffc_release(&read);
            assert_int_equal(diffc_tensor_permute(pixels, axes, &view), DIFFC_OK);
            assert_int_equal(diffc_image_write(view, io_path("r.png"), NULL), DIFFC_OK);
            read = read_back("r.png");
            const float *const got = diffc_tensor_data(read), *const data = diffc_tensor_data(pixels);
            for (int i = 0; i < 13 * 17 * channels; i++)
                assert_true(data[i] == got[i % channels * 13 * 17 + i / channels]);
            diffc_release(&read);
        }
        diffc_release(&view);
        diffc_release(&pixels);
        diffc_release(&image);
    }
}

static void test_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 256; i++) {
        assert_int_equal(dfi_image_byte((float)i, 0, 255), i);
        if (i < 255)
            assert_int_equal(dfi_image_byte((float)i + 0.5f, 0, 255), i % 2 ? i + 1 : i);
        assert_int_equal(dfi_image_byte((float)i / 255.0f, 0, 1), i);
    }
    assert_int_equal(dfi_image_byte(-1, -1, 1), 0);
    assert_int_equal(dfi_image_byte(0, -1, 1), 128);
    assert_int_equal(dfi_image_byte(1, -1, 1), 255);
    assert_int_equal(dfi_image_byte(0, 1, 0), 255);
    assert_int_equal(dfi_image_byte(INFINITY, 0, 1), 255);
    assert_int_equal(dfi_image_byte(-INFINITY, 0, 1), 0);
    assert_int_equal(dfi_image_byte(1e30f, 0, 1), 255);
    assert_int_equal(dfi_image_byte(NAN, 0, 1), 0);
}

static void test_nonfinite(void **state)
{
    (void)state;
    const int64_t shape[3] = { 1, 2, 3 };
    diffc_image_options options = DIFFC_IMAGE_OPTIONS;
    diffc_tensor *image = make_image(3, shape);
    float *const data = diffc_tensor_data(image);
    data[1] = data[4] = NAN;
    data[0] = INFINITY;
    options.scale = 3;
    assert_int_equal(diffc_image_write(image, io_path("n.png"), &options), DIFFC_ERR_NONFINITE);
    assert_non_null(strstr(diffc_message(), " 2 "));
    diffc_tensor *read = read_back("n.png");
    const float *const got = diffc_tensor_data(read);
    assert_int_equal(diffc_tensor_dim(read, 2), 9);
    assert_true(got[0] == 1 && got[2] == 1 && got[3] == 0 && got[8 + 9 * 2] == data[2]);
    diffc_release(&read);
    diffc_release(&image);
}

static void expect_grid(const diffc_tensor *images, const diffc_image_options *options, int columns, int gap,
                        int scale)
{
    const int64_t count = diffc_tensor_dim(images, 0), c_count = diffc_tensor_dim(images, 1);
    const int64_t h = diffc_tensor_dim(images, 2), w = diffc_tensor_dim(images, 3);
    const int64_t rows = (count + columns - 1) / columns;
    if (diffc_image_write(images, io_path("g.png"), options))
        fail_msg("%s", diffc_message());
    diffc_tensor *read = read_back("g.png");
    const int64_t height = diffc_tensor_dim(read, 1), width = diffc_tensor_dim(read, 2);
    const float *const got = diffc_tensor_data(read), *const data = diffc_tensor_data(images);
    assert_int_equal(height, (rows * h + (rows - 1) * gap) * scale);
    assert_int_equal(width, (columns * w + (columns - 1) * gap) * scale);
    for (int64_t c = 0; c < c_count; c++) {
        for (int64_t y = 0; y < height; y++) {
            for (int64_t x = 0; x < width; x++) {
                const int64_t py = y / scale, px = x / scale, row = py / (h + gap), column = px / (w + gap);
                const int64_t iy = py % (h + gap), ix = px % (w + gap), n = row * columns + column;
                const float grey = c == 3 ? 1 : options->gap_value;
                const float value = iy < h && ix < w && n < count
                                        ? data[((n * c_count + c) * h + iy) * w + ix]
                                        : grey;
                assert_true(got[(c * height + y) * width + x] == value);
            }
        }
    }
    diffc_release(&read);
}

static void test_grid(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 4; channels++) {
        const int64_t shape[4] = { 7, channels, 4, 5 };
        if (channels == 2)
            continue;
        diffc_image_options options = DIFFC_IMAGE_OPTIONS;
        diffc_tensor *images = make_image(4, shape);
        expect_grid(images, &options, 3, 2, 1);
        options.columns = 2;
        options.gap = -1;
        options.scale = 3;
        expect_grid(images, &options, 2, 0, 3);
        options.columns = 100;
        options.gap = 1;
        options.gap_value = 1;
        options.scale = 2;
        expect_grid(images, &options, 7, 1, 2);
        diffc_release(&images);
    }
    assert_int_equal(dfi_image_columns(40, 28, 28), 7);
    assert_int_equal(dfi_image_columns(1, 10, 1000), 1);
    assert_int_equal(dfi_image_columns(4, 1000, 10), 4);
}

static void test_text(void **state)
{
    (void)state;
    static const char *const text[] = { "Software", "a test", "Prompt", "ein \xc3\x96lgem\xc3\xa4lde", NULL };
    const int64_t shape[3] = { 1, 2, 2 };
    diffc_image_options options = DIFFC_IMAGE_OPTIONS;
    diffc_tensor *image = make_image(3, shape);
    options.text = text;
    assert_int_equal(diffc_image_write(image, io_path("t.png"), &options), DIFFC_OK);
    FILE *const file = fopen(io_path("t.png"), "rb");
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_textp found = NULL;
    int count = 0;
    png_init_io(png, file);
    png_read_png(png, info, 0, NULL);
    assert_int_equal(png_get_text(png, info, &found, &count), 2);
    for (int i = 0; i < count; i++) {
        assert_string_equal(found[i].key, text[2 * i]);
        assert_string_equal(found[i].text, text[2 * i + 1]);
    }
    png_destroy_read_struct(&png, &info, NULL);
    fclose(file);
    static const char *const bad[][4] = {
        { "", "x", NULL },
        { " a", "x", NULL },
        { "a ", "x", NULL },
        { "a  b", "x", NULL },
        { "\xc3\xa4", "x", NULL },
        { "a\n", "x", NULL },
        { "a", "\xff", NULL },
        { "a", NULL, NULL },
        { "0123456789012345678901234567890123456789012345678901234567890123456789012345678 0", "x", NULL },
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        options.text = bad[i];
        assert_int_equal(diffc_image_write(image, io_path("bad.png"), &options), DIFFC_ERR_ARG);
        assert_int_equal(access(io_path("bad.png"), F_OK), -1);
    }
    diffc_release(&image);
}

/* The list ends at its first NULL, wherever that stands: what lies behind is not read. */
static void test_text_without_a_value(void **state)
{
    (void)state;
    static const char *const text[] = { "Title", "a", "Author", NULL };
    const char **exact = malloc(sizeof(text)); /* so that a sanitizer sees a read behind its end */
    const int64_t shape[3] = { 1, 2, 2 };
    diffc_image_options options = DIFFC_IMAGE_OPTIONS;
    diffc_tensor *image = make_image(3, shape);
    memcpy(exact, text, sizeof(text));
    options.text = exact;
    assert_int_equal(diffc_image_write(image, io_path("bad.png"), &options), DIFFC_ERR_ARG);
    assert_string_equal(diffc_message(), "text \"Author\": its value is missing");
    free(exact);
    diffc_release(&image);
}

static void test_write_refusals(void **state)
{
    (void)state;
    const int64_t shape[3] = { 1, 2, 3 }, empty[3] = { 1, 0, 3 }, none[4] = { 0, 1, 2, 3 }, two[2] = { 2, 3 };
    diffc_tensor *image = make_image(3, shape), *bad = make_image(3, empty);
    diffc_image_options options = DIFFC_IMAGE_OPTIONS;
    assert_int_equal(diffc_image_write(bad, io_path("w.png"), NULL), DIFFC_ERR_ARG);
    diffc_release(&bad);
    bad = make_image(4, none);
    assert_int_equal(diffc_image_write(bad, io_path("w.png"), NULL), DIFFC_ERR_ARG);
    diffc_release(&bad);
    bad = make_image(2, two);
    assert_int_equal(diffc_image_write(bad, io_path("w.png"), NULL), DIFFC_ERR_ARG);
    diffc_release(&bad);
    assert_int_equal(diffc_tensor_convert(image, DIFFC_F16, &bad), DIFFC_OK);
    assert_int_equal(diffc_image_write(bad, io_path("w.png"), NULL), DIFFC_ERR_ARG);
    diffc_release(&bad);
    assert_int_equal(diffc_image_write(NULL, io_path("w.png"), NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_write(image, NULL, NULL), DIFFC_ERR_ARG);
    options.scale = -1;
    assert_int_equal(diffc_image_write(image, io_path("w.png"), &options), DIFFC_ERR_ARG);
    options.scale = 2147483647;
    assert_int_equal(diffc_image_write(image, io_path("w.png"), &options), DIFFC_ERR_LIMIT);
    options.scale = 2731; /* 3 x 2731 is one more than 8192 */
    assert_int_equal(diffc_image_write(image, io_path("w.png"), &options), DIFFC_ERR_LIMIT);
    options = (diffc_image_options)DIFFC_IMAGE_OPTIONS;
    options.low = options.high = 1;
    assert_int_equal(diffc_image_write(image, io_path("w.png"), &options), DIFFC_ERR_ARG);
    options = (diffc_image_options)DIFFC_IMAGE_OPTIONS;
    options.gap_value = 2;
    assert_int_equal(diffc_image_write(image, io_path("w.png"), &options), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_write(image, io_path("missing/w.png"), NULL), DIFFC_ERR_IO);
    assert_int_equal(access(io_path("w.png"), F_OK), -1);
    diffc_release(&image);
}

static int reads_until_failure;

static ssize_t write_until(int fd, const void *data, size_t size)
{
    return reads_until_failure-- > 0 ? write(fd, data, size) : -1;
}

/* A disk that becomes full at any write: an error, and no file. */
static void test_disk_full(void **state)
{
    (void)state;
    const int64_t shape[3] = { 3, 60, 60 };
    diffc_tensor *image = make_image(3, shape);
    struct dfi_file_calls calls = *dfi_file_calls();
    int status = DIFFC_ERR_IO, n = 0;
    io_empty_folder();
    calls.write = write_until;
    for (; status; n++) {
        reads_until_failure = n;
        dfi_file_calls_set(&calls);
        status = diffc_image_write(image, io_path("full.png"), NULL);
        dfi_file_calls_set(NULL);
        assert_int_equal(status, reads_until_failure < 0 ? DIFFC_ERR_IO : DIFFC_OK);
        assert_int_equal(io_count_files(), status ? 0 : 1);
    }
    assert_true(n > 5);
    diffc_release(&image);
}

struct memory_case {
    struct bytes file;
    diffc_tensor *image;
};

static int decode(void *work)
{
    const struct memory_case *const both = work;
    diffc_tensor *image = NULL;
    const int status = dfi_png_decode(io_context, both->file.data, both->file.size, 3, &image);
    diffc_release(&image);
    return status;
}

static int encode(void *work)
{
    static const char *const text[] = { "Key", "value", "Other", "\xc3\xa4", NULL };
    const struct memory_case *const both = work;
    diffc_image_options options = DIFFC_IMAGE_OPTIONS;
    options.text = text;
    return diffc_image_write(both->image, io_path("oom.png"), &options);
}

static int blur(void *work)
{
    const struct memory_case *const both = work;
    diffc_tensor *blurred = NULL;
    const int status = diffc_image_blur(both->image, 5, 1.5, &blurred);
    diffc_release(&blurred);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    static struct picture picture;
    const int64_t shape[3] = { 3, 20, 30 };
    struct memory_case both = { .image = make_image(3, shape) };
    long points = 0;
    io_empty_folder();
    for (int interlaced = 0; interlaced < 2; interlaced++) {
        picture = (struct picture) { .width = 37, .height = 40, .depth = 8, .colour = 3, .keyed = 1 };
        picture.interlaced = interlaced;
        randomise(&picture);
        both.file = write_picture(&picture);
        points += io_fail_allocations(decode, &both);
        bytes_free(&both.file);
    }
    points += io_fail_allocations(encode, &both) + io_fail_allocations(blur, &both);
    assert_int_equal(io_count_files(), 1);
    print_message("png, blur: %ld failing allocations\n", points);
    diffc_release(&both.image);
}

static int mirror(int i, int n)
{
    return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

static void test_blur(void **state)
{
    (void)state;
    const int64_t shape[4] = { 2, 3, 9, 11 };
    const int axes[4] = { 1, 0, 3, 2 };
    diffc_tensor *image = make_image(4, shape), *view = NULL, *blurred = NULL;
    assert_int_equal(diffc_tensor_permute(image, axes, &view), DIFFC_OK);
    assert_int_equal(diffc_image_blur(view, 7, 1.3, &blurred), DIFFC_OK);
    const float *const data = diffc_tensor_data(image), *const got = diffc_tensor_data(blurred);
    double taps[7], sum = 0;
    for (int i = 0; i < 7; i++)
        sum += taps[i] = exp(-(i - 3) * (i - 3) / (2 * 1.3 * 1.3));
    for (int p = 0; p < 6; p++) {
        for (int y = 0; y < 11; y++) {
            for (int x = 0; x < 9; x++) {
                double expected = 0;
                for (int i = 0; i < 49; i++) {
                    const int sy = mirror(y + i / 7 - 3, 11), sx = mirror(x + i % 7 - 3, 9);
                    expected += taps[i / 7] * taps[i % 7] / sum / sum *
                                data[((p % 2 * 3 + p / 2) * 9 + sx) * 11 + sy];
                }
                assert_true(fabs(got[(p * 11 + y) * 9 + x] - expected) < 2e-7);
            }
        }
    }
    diffc_release(&blurred);
    assert_int_equal(diffc_image_blur(image, 1, 1e-300, &blurred), DIFFC_OK);
    assert_memory_equal(diffc_tensor_data(blurred), data, 4 * 2 * 3 * 9 * 11);
    diffc_release(&blurred);
    assert_int_equal(diffc_image_blur(image, 4, 1, &blurred), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_blur(image, 0, 1, &blurred), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_blur(image, 3, 0, &blurred), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_blur(image, 3, NAN, &blurred), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_blur(image, 17, 1, &blurred), DIFFC_OK);
    diffc_release(&blurred);
    assert_int_equal(diffc_image_blur(image, 19, 1, &blurred), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_blur(NULL, 3, 1, &blurred), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_blur(image, 3, 1, NULL), DIFFC_ERR_ARG);
    diffc_release(&view);
    diffc_release(&image);
}

static void test_limits(void **state)
{
    (void)state;
    struct bytes file = make_png(20, 10, 8, 2);
    for (int i = 0; i < 4; i++) {
        diffc_limits limits = DIFFC_LIMITS;
        diffc_tensor *image = NULL;
        limits.image_width = 20 - (i == 1);
        limits.image_height = 10 - (i == 2);
        limits.image_bytes = 20 * 10 * 3 * 4 - (i == 3);
        diffc_context *context = io_context_new(&limits);
        assert_int_equal(dfi_png_decode(context, file.data, file.size, 0, &image),
                         i ? DIFFC_ERR_LIMIT : DIFFC_OK);
        diffc_release(&image);
        diffc_release(&context);
    }
    bytes_free(&file);
}

static void test_arguments(void **state)
{
    (void)state;
    diffc_tensor *image = NULL;
    assert_int_equal(diffc_image_read(NULL, "x", 0, &image), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_read(io_context, NULL, 0, &image), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_read(io_context, "x", 0, NULL), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_read(io_context, "x", 2, &image), DIFFC_ERR_ARG);
    assert_int_equal(diffc_image_read(io_context, io_path("absent.png"), 0, &image), DIFFC_ERR_IO);
    assert_non_null(strstr(diffc_message(), "absent.png"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind),     cmocka_unit_test(test_channels_as_stored),
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_nonfinite),      cmocka_unit_test(test_grid),
        cmocka_unit_test(test_text),           cmocka_unit_test(test_text_without_a_value),
        cmocka_unit_test(test_write_refusals), cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_blur),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, io_setup, io_teardown);
}
