#include "base/random.h"
#include "guide/view.h"

/* Maps of the views: the pixel that is seen at place p is map[p]. skew, inner_circle, square_hinge and the
 * permutations of patches are those of the visual_anagrams project (Geng et al. 2024). */

static int fill_vflip(const struct diffc_view *view, int h, int w, int32_t *map)
{
    (void)view;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            map[y * w + x] = (h - 1 - y) * w + x;
    return DIFFC_OK;
}

static int fill_hflip(const struct diffc_view *view, int h, int w, int32_t *map)
{
    (void)view;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            map[y * w + x] = y * w + w - 1 - x;
    return DIFFC_OK;
}

static int fill_rotate180(const struct diffc_view *view, int h, int w, int32_t *map)
{
    (void)view;
    for (int p = 0; p < h * w; p++)
        map[p] = h * w - 1 - p;
    return DIFFC_OK;
}

static int check_square(const struct diffc_view *view, int h, int w)
{
    return h == w ? DIFFC_OK
                  : dfi_fail(DIFFC_ERR_CONFIG, "view \"%s\" needs square pictures, these are %d x %d",
                             view->rule->entry.name, h, w);
}

/* The pixel of a side x side square that a quarter turn brings to (y, x). */
static int turned(int side, int clockwise, int y, int x, int pitch)
{
    return clockwise ? (side - 1 - x) * pitch + y : x * pitch + side - 1 - y;
}

static int fill_quarter(const struct diffc_view *view, int h, int w, int32_t *map, int clockwise)
{
    DFI_TRY(check_square(view, h, w));
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            map[y * w + x] = turned(h, clockwise, y, x, w);
    return DIFFC_OK;
}

static int fill_rotate90(const struct diffc_view *view, int h, int w, int32_t *map)
{
    return fill_quarter(view, h, w, map, 0);
}

static int fill_rotate270(const struct diffc_view *view, int h, int w, int32_t *map)
{
    return fill_quarter(view, h, w, map, 1);
}

static int fill_skew(const struct diffc_view *view, int h, int w, int32_t *map)
{
    for (int x = 0; x < w; x++) {
        const int64_t down = (int64_t)(view->parameter * (x - w / 2));
        for (int y = 0; y < h; y++)
            map[y * w + x] = (int32_t)(((y - down) % h + h) % h) * w + x;
    }
    return DIFFC_OK;
}

static void permute_patches(const struct diffc_view *view, int h, int w, int rows, int columns, int32_t *map)
{
    const int ph = h / rows, pw = w / columns;
    const uint64_t count = (uint64_t)rows * (uint64_t)columns;
    for (int patch = 0; patch < rows * columns; patch++) {
        const int from = (int)dfi_permute(view->seed, dfi_stream(DFI_STREAM_VIEW, 0), count, (uint64_t)patch);
        for (int i = 0; i < ph * pw; i++) {
            const int y = i / pw, x = i % pw;
            map[(patch / columns * ph + y) * w + patch % columns * pw + x] = (from / columns * ph + y) * w +
                                                                             from % columns * pw + x;
        }
    }
}

static int fill_patches(const struct diffc_view *view, int h, int w, int32_t *map)
{
    const int side = (int)view->parameter;
    if (h % side || w % side)
        return dfi_fail(DIFFC_ERR_CONFIG,
                        "view \"%s\": pictures of %d x %d cannot be cut into %d x %d patches",
                        view->rule->entry.name, h, w, side, side);
    permute_patches(view, h, w, side, side, map);
    return DIFFC_OK;
}

#define PIXELS_SIDE 64 /* the first stage's size: patches of 4 x 4 at the second's, so that both agree */

static int fill_pixels(const struct diffc_view *view, int h, int w, int32_t *map)
{
    const int fits = h % PIXELS_SIDE == 0 && w % PIXELS_SIDE == 0;
    permute_patches(view, h, w, fits ? PIXELS_SIDE : h, fits ? PIXELS_SIDE : w, map);
    return DIFFC_OK;
}

static int fill_inner_circle(const struct diffc_view *view, int h, int w, int32_t *map)
{
    const double radius = view->parameter * (h < w ? h : w);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const double dy = y - (h - 1) / 2.0, dx = x - (w - 1) / 2.0;
            const int inside = dy * dy + dx * dx < radius * radius;
            map[y * w + x] = inside ? (h - 1 - y) * w + w - 1 - x : y * w + x;
        }
    return DIFFC_OK;
}

/* What the 3 x 3 squares leave over stays where it is. */
static int fill_square_hinge(const struct diffc_view *view, int h, int w, int32_t *map)
{
    DFI_TRY(check_square(view, h, w));
    const int side = h / 3;
    for (int p = 0; p < h * w; p++)
        map[p] = p;
    for (int square = 0; square < 9; square++) {
        const int corner = square / 3 * side * w + square % 3 * side;
        for (int i = 0; i < side * side; i++)
            map[corner + i / side * w + i % side] = corner +
                                                    turned(side, square % 2 == 0, i / side, i % side, w);
    }
    return DIFFC_OK;
}

#define RULE(name, text, ...) \
    { \
        .entry = { name, text }, .sign = 1, __VA_ARGS__ \
    }

const struct dfi_view_rule dfi_view_rules[] = {
    RULE("identity", "the picture as it is", .fill = NULL),
    RULE("vflip", "upside down, mirrored", .fill = fill_vflip),
    RULE("hflip", "left and right exchanged", .fill = fill_hflip),
    RULE("rotate90", "a quarter turn counter-clockwise", .fill = fill_rotate90),
    RULE("rotate180", "a half turn", .fill = fill_rotate180),
    RULE("rotate270", "a quarter turn clockwise", .fill = fill_rotate270),
    RULE("skew", "columns moved down by their distance from the middle", .fill = fill_skew, .parameter = 1.5,
         .low = -1e6, .high = 1e6),
    RULE("patch_permute", "patches in random order", .fill = fill_patches, .parameter = 8, .low = 1,
         .high = 1 << 15, .whole = 1, .seed_bits = 64),
    RULE("pixel_permute", "pixels in random order", .fill = fill_pixels, .seed_bits = 64),
    RULE("jigsaw", "4 x 4 pieces of a jigsaw puzzle exchanged", .fill = dfi_view_fill_jigsaw,
         .seed_bits = 32),
    RULE("inner_circle", "a circle in the middle turned by a half", .fill = fill_inner_circle,
         .parameter = 0.375, .low = 0, .high = 1e6),
    RULE("square_hinge", "3 x 3 squares turned by quarters, to and fro", .fill = fill_square_hinge),
    { .entry = { "negate", "black and white exchanged" }, .sign = -1 },
};
const int dfi_view_rule_count = DFI_COUNT(dfi_view_rules);
