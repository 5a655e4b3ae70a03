/* Views and factorizations: orthogonal, equal to the maps of the visual_anagrams project, components that sum
 * to the picture; those of the caller's; what is refused. */

#include "sched_case.h"

static diffc_view *view_of(const char *name, double parameter, uint64_t seed)
{
    diffc_view_options options = DIFFC_VIEW_OPTIONS;
    diffc_view *view = NULL;
    options.parameter = parameter;
    options.seed = seed;
    check_ok(diffc_view_create(case_context, name, &options, &view));
    return view;
}

static diffc_tensor *noise_of(uint64_t seed, int64_t n, int64_t c, int64_t h, int64_t w)
{
    diffc_tensor *tensor = new_tensor(n, c, h, w);
    check_ok(diffc_rng_normal(tensor, seed, 0, 0));
    return tensor;
}

static double dot(const diffc_tensor *a, const diffc_tensor *b)
{
    double sum = 0;
    for (int64_t i = 0; i < diffc_tensor_count(a); i++)
        sum += (double)data_of(a)[i] * data_of(b)[i];
    return sum;
}

static double largest_difference(const diffc_tensor *a, const diffc_tensor *b)
{
    double largest = 0;
    for (int64_t i = 0; i < diffc_tensor_count(a); i++)
        largest = fmax(largest, fabs((double)data_of(a)[i] - data_of(b)[i]));
    return largest;
}

static void check_orthogonal(const char *name, int64_t h, int64_t w)
{
    diffc_view *view = view_of(name, 0, 0);
    diffc_tensor *x = noise_of(1, 2, 3, h, w), *y = noise_of(2, 2, 3, h, w);
    diffc_tensor *vx = new_tensor(2, 3, h, w), *vy = new_tensor(2, 3, h, w), *back = new_tensor(2, 3, h, w);
    check_ok(diffc_view_apply(view, x, vx));
    check_ok(diffc_view_apply(view, y, vy));
    check_ok(diffc_view_invert(view, vx, back));
    assert_true(same_bits(back, x));
    check_near(dot(vx, vy) / dot(x, x), dot(x, y) / dot(x, x), 1e-6);
    check_near(dot(vx, vx) / dot(x, x), 1, 1e-6);
    check_ok(diffc_view_invert(view, x, vx)); /* a view of what cannot be seen otherwise */
    check_ok(diffc_view_apply(view, vx, back));
    assert_true(same_bits(back, x));
    diffc_release(&back);
    diffc_release(&vy);
    diffc_release(&vx);
    diffc_release(&y);
    diffc_release(&x);
    diffc_release(&view);
}

static void test_registered_views_are_orthogonal(void **state)
{
    const char *name, *description;
    int count = 0;
    (void)state;
    while (diffc_registry_entry(DIFFC_REGISTRY_VIEW, count, &name, &description) == DIFFC_OK) {
        assert_true(strlen(description) > 10);
        check_orthogonal(name, 64, 64);
        check_orthogonal(name, 16, 16);
        check_orthogonal(name, 8, 8);
        count++;
    }
    assert_int_equal(count, 13);
    check_orthogonal("jigsaw", 256, 256);
    check_orthogonal("jigsaw", 276, 276);
    check_orthogonal("jigsaw", 44, 44);
    static const char *const oblong[] = { "identity",      "vflip",         "hflip",
                                          "rotate180",     "negate",        "skew",
                                          "patch_permute", "pixel_permute", "inner_circle" };
    for (int i = 0; i < 9; i++)
        check_orthogonal(oblong[i], 16, 24);
    check_orthogonal("inner_circle", 15, 15);
    check_orthogonal("rotate90", 15, 15);
    check_orthogonal("square_hinge", 17, 17);
}

/* FNV-1a over the map: the picture of pixel numbers, as it is seen. */
static uint64_t map_hash(const char *name, double parameter, uint64_t seed, int side)
{
    diffc_view *view = view_of(name, parameter, seed);
    diffc_tensor *x = new_tensor(1, 1, side, side), *seen = new_tensor(1, 1, side, side);
    uint64_t hash = 0xcbf29ce484222325u;
    for (int i = 0; i < side * side; i++)
        data_of(x)[i] = (float)i;
    check_ok(diffc_view_apply(view, x, seen));
    for (int i = 0; i < side * side; i++)
        hash = (hash ^ (uint64_t)data_of(seen)[i]) * 0x100000001b3u;
    diffc_release(&seen);
    diffc_release(&x);
    diffc_release(&view);
    return hash;
}

/* Hashes of the permutations that visual_anagrams (commit 70f4d5f) makes. */
static void test_maps_are_those_of_visual_anagrams(void **state)
{
    (void)state;
    assert_int_equal(map_hash("jigsaw", 0, 0, 64), 0x00086583ed2873f5u);
    assert_int_equal(map_hash("jigsaw", 0, 11, 64), 0x762667c2665be9edu);
    assert_int_equal(map_hash("jigsaw", 0, 7, 64), 0x36ff6379ff716951u);
    assert_int_equal(map_hash("jigsaw", 0, 0, 256), 0xefec542bb831b5b5u);
    assert_int_equal(map_hash("jigsaw", 0, 11, 256), 0x6e167612830eec41u);
    assert_int_equal(map_hash("inner_circle", 0, 0, 64), 0xcfd8041b8f97e4f9u);
    assert_int_equal(map_hash("inner_circle", 0, 0, 256), 0x3940d80c22850d45u);
    assert_int_equal(map_hash("square_hinge", 0, 0, 64), 0x1a4fd4a5dd5179c5u);
    assert_int_equal(map_hash("square_hinge", 0, 0, 256), 0xcc62742ba495e6c5u);
    assert_int_equal(map_hash("skew", 0, 0, 64), 0xba6df9730bf31325u);
    assert_int_equal(map_hash("skew", -0.7, 0, 64), 0x6a6f6fa66da65325u);
    assert_int_equal(map_hash("rotate90", 0, 0, 64), 0x36c548762d12ef25u);
    assert_int_equal(map_hash("rotate270", 0, 0, 64), 0x3b4838efacb32d25u);
}

/* Both stages see the same puzzle: the map at 256 pixels is the one at 64 pixels, four times as large; but
 * the outlines of the jigsaw's pieces are finer. */
static void test_views_agree_between_stages(void **state)
{
    static const char *const names[] = { "vflip", "rotate90", "patch_permute", "pixel_permute", "jigsaw" };
    (void)state;
    for (int v = 0; v < 5; v++) {
        diffc_view *view = view_of(names[v], 0, 0);
        diffc_tensor *small = noise_of(3, 1, 1, 64, 64), *small_seen = new_tensor(1, 1, 64, 64);
        diffc_tensor *large = new_tensor(1, 1, 256, 256), *large_seen = new_tensor(1, 1, 256, 256);
        int off = 0;
        for (int y = 0; y < 256; y++)
            for (int x = 0; x < 256; x++)
                data_of(large)[y * 256 + x] = data_of(small)[y / 4 * 64 + x / 4];
        check_ok(diffc_view_apply(view, small, small_seen));
        check_ok(diffc_view_apply(view, large, large_seen));
        for (int y = 0; y < 256; y++)
            for (int x = 0; x < 256; x++)
                off += data_of(large_seen)[y * 256 + x] != data_of(small_seen)[y / 4 * 64 + x / 4];
        const int most = strcmp(names[v], "jigsaw") == 0 ? 2000 : 0;
        assert_in_range(off, most > 0, most);
        diffc_release(&large_seen);
        diffc_release(&large);
        diffc_release(&small_seen);
        diffc_release(&small);
        diffc_release(&view);
    }
}

static void test_directions(void **state)
{
    static const float in[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    static const struct {
        const char *name;
        float seen[9];
    } cases[] = {
        { "vflip", { 7, 8, 9, 4, 5, 6, 1, 2, 3 } },     { "hflip", { 3, 2, 1, 6, 5, 4, 9, 8, 7 } },
        { "rotate90", { 3, 6, 9, 2, 5, 8, 1, 4, 7 } },  { "rotate180", { 9, 8, 7, 6, 5, 4, 3, 2, 1 } },
        { "rotate270", { 7, 4, 1, 8, 5, 2, 9, 6, 3 } }, { "negate", { -1, -2, -3, -4, -5, -6, -7, -8, -9 } },
    };
    (void)state;
    for (int i = 0; i < 6; i++) {
        diffc_view *view = view_of(cases[i].name, 0, 0);
        diffc_tensor *x = new_tensor(1, 1, 3, 3), *seen = new_tensor(1, 1, 3, 3);
        memcpy(data_of(x), in, sizeof(in));
        check_ok(diffc_view_apply(view, x, seen));
        assert_memory_equal(data_of(seen), cases[i].seen, sizeof(in));
        diffc_release(&seen);
        diffc_release(&x);
        diffc_release(&view);
    }
}

static void test_seeds_differ(void **state)
{
    (void)state;
    assert_int_not_equal(map_hash("patch_permute", 0, 1, 64), map_hash("patch_permute", 0, 2, 64));
    assert_int_not_equal(map_hash("pixel_permute", 0, 1, 64), map_hash("pixel_permute", 0, 2, 64));
    assert_int_equal(map_hash("pixel_permute", 0, 5, 32), map_hash("pixel_permute", 0, 5, 32));
    assert_int_equal(map_hash("patch_permute", 16, 5, 64), map_hash("patch_permute", 16, 5, 64));
}

/* ---- views of the caller's ---- */

enum own {
    OWN_VFLIP,
    OWN_NEGATE,
    OWN_HAAR,
    OWN_SHIFT,
    OWN_BLUR,
    OWN_TURN,
    OWN_ABS,
    OWN_WRONG_WAY,
    OWN_FAILS
};

static void turn_by(double angle, const float *in, float *out, int h, int w)
{
    const double c = cos(angle), s = sin(angle);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const double dy = y - (h - 1) / 2.0, dx = x - (w - 1) / 2.0;
            const double sy = c * dy + s * dx + (h - 1) / 2.0, sx = c * dx - s * dy + (w - 1) / 2.0;
            const int y0 = (int)floor(sy), x0 = (int)floor(sx);
            double sum = 0;
            for (int k = 0; k < 4; k++) {
                const int yy = y0 + k / 2, xx = x0 + k % 2;
                const double weight = (k / 2 ? sy - y0 : 1 - sy + y0) * (k % 2 ? sx - x0 : 1 - sx + x0);
                if (yy >= 0 && yy < h && xx >= 0 && xx < w)
                    sum += weight * in[yy * w + xx];
            }
            out[y * w + x] = (float)sum;
        }
}

static int own_view(enum own own, int inverse, const diffc_tensor *x, diffc_tensor *seen)
{
    const int h = (int)diffc_tensor_dim(x, 2), w = (int)diffc_tensor_dim(x, 3), pixels = h * w;
    if (own == OWN_FAILS)
        return DIFFC_ERR_UNSUPPORTED;
    for (int64_t plane = 0; plane < diffc_tensor_count(x) / pixels; plane++) {
        const float *in = data_of(x) + plane * pixels;
        float *out = data_of(seen) + plane * pixels;
        for (int p = 0; p < pixels; p++) {
            const int left = p - p % w + (p % w + w - 1) % w, right = p - p % w + (p % w + 1) % w;
            const float root = 0.70710678f;
            switch (own) {
            case OWN_VFLIP: out[p] = in[(h - 1 - p / w) * w + p % w]; break;
            case OWN_NEGATE: out[p] = -in[p]; break;
            case OWN_HAAR: out[p] = root * (p % 2 ? in[p - 1] - in[p] : in[p] + in[p + 1]); break;
            case OWN_SHIFT: out[p] = in[inverse ? right : left]; break;
            case OWN_BLUR: out[p] = (in[left] + in[p] + in[right]) / 3; break;
            case OWN_ABS: out[p] = fabsf(in[p]); break;
            case OWN_WRONG_WAY: out[p] = in[left]; break;
            case OWN_TURN:
            case OWN_FAILS: break;
            }
        }
        if (own == OWN_TURN)
            turn_by(inverse ? -0.3 : 0.3, in, out, h, w);
    }
    return DIFFC_OK;
}

static int apply_own(void *opaque, const diffc_tensor *x, diffc_tensor *seen)
{
    return own_view(*(enum own *)opaque, 0, x, seen);
}

static int invert_own(void *opaque, const diffc_tensor *seen, diffc_tensor *x)
{
    return own_view(*(enum own *)opaque, 1, seen, x);
}

static diffc_view *own_view_of(enum own *own, const char *name)
{
    diffc_view_functions functions = DIFFC_VIEW_FUNCTIONS;
    diffc_view *view = NULL;
    functions.name = name;
    functions.apply = apply_own;
    functions.invert = invert_own;
    functions.opaque = own;
    check_ok(diffc_view_create_own(case_context, &functions, &view));
    return view;
}

static void test_own_views(void **state)
{
    static const enum own good[] = { OWN_VFLIP, OWN_NEGATE, OWN_HAAR, OWN_SHIFT };
    diffc_tensor *x = noise_of(4, 2, 3, 16, 16), *seen = new_tensor(2, 3, 16, 16),
                 *back = new_tensor(2, 3, 16, 16);
    (void)state;
    for (int i = 0; i < 4; i++) {
        enum own own = good[i];
        diffc_view *view = own_view_of(&own, NULL);
        check_ok(diffc_view_apply(view, x, seen));
        check_near(dot(seen, seen) / dot(x, x), 1, 1e-6);
        check_ok(diffc_view_invert(view, seen, back));
        check_near(largest_difference(back, x), 0, 1e-5);
        diffc_release(&view);
    }
    diffc_release(&back);
    diffc_release(&seen);
    diffc_release(&x);
}

static void test_views_that_are_not_orthogonal(void **state)
{
    static const struct {
        enum own own;
        const char *name, *message;
    } bad[] = {
        { OWN_BLUR, "my blur", "view \"my blur\" is not orthogonal: it multiplies the variance of noise by" },
        { OWN_TURN, "turn 17", "view \"turn 17\" is not orthogonal: it multiplies the variance" },
        { OWN_ABS, "abs", "view \"abs\" is not orthogonal: it is not linear" },
        { OWN_WRONG_WAY, "roll",
          "view \"roll\" is not orthogonal: invert does not take back what apply does" },
    };
    diffc_tensor *x = noise_of(4, 1, 3, 16, 16), *seen = new_tensor(1, 3, 16, 16);
    diffc_view *view = NULL;
    (void)state;
    for (int i = 0; i < 4; i++) {
        enum own own = bad[i].own;
        view = own_view_of(&own, bad[i].name);
        check_fails(diffc_view_apply(view, x, seen), DIFFC_ERR_CONFIG, bad[i].message);
        check_fails(diffc_view_invert(view, x, seen), DIFFC_ERR_CONFIG, bad[i].message);
        assert_null(strchr(diffc_message(), '\n'));
        diffc_release(&view);
    }
    enum own fails = OWN_FAILS;
    view = own_view_of(&fails, NULL);
    check_fails(diffc_view_apply(view, x, seen), DIFFC_ERR_UNSUPPORTED,
                "view \"own\": apply returned DIFFC_ERR_UNSUPPORTED (-8)");
    diffc_release(&view);
    check_fails(diffc_view_create(case_context, "blur", NULL, &view), DIFFC_ERR_CONFIG,
                "view \"blur\" is not orthogonal");
    check_fails(diffc_view_create(case_context, "rotate", NULL, &view), DIFFC_ERR_CONFIG,
                "interpolation mixes neighbouring pixels");
    assert_null(view);
    diffc_release(&seen);
    diffc_release(&x);
}

static void test_refused_views(void **state)
{
    diffc_view_options options = DIFFC_VIEW_OPTIONS;
    diffc_view *view = NULL;
    diffc_tensor *x = new_tensor(1, 1, 12, 10), *seen = new_tensor(1, 1, 12, 10);
    (void)state;
    check_fails(diffc_view_create(case_context, "mirror", NULL, &view), DIFFC_ERR_ARG,
                "unknown view \"mirror\"; known: identity, vflip");
    options.parameter = 2;
    check_fails(diffc_view_create(case_context, "vflip", &options, &view), DIFFC_ERR_ARG, "has no parameter");
    options.parameter = 1.5;
    check_fails(diffc_view_create(case_context, "patch_permute", &options, &view), DIFFC_ERR_ARG,
                "must be a whole number in 1 to 32768");
    options.parameter = NAN;
    check_fails(diffc_view_create(case_context, "skew", &options, &view), DIFFC_ERR_ARG, "is nan");
    options.parameter = 0;
    options.seed = 1;
    check_fails(diffc_view_create(case_context, "skew", &options, &view), DIFFC_ERR_ARG, "has no seed");
    options.seed = (uint64_t)UINT32_MAX + 1;
    check_fails(diffc_view_create(case_context, "jigsaw", &options, &view), DIFFC_ERR_ARG,
                "must have 32 bits");
    assert_null(view);
    static const struct {
        const char *name, *message;
    } sizes[] = {
        { "rotate90", "needs square pictures, these are 12 x 10" },
        { "square_hinge", "needs square pictures" },
        { "jigsaw", "divisible by 4, these are 12 x 10" },
        { "patch_permute", "pictures of 12 x 10 cannot be cut into 8 x 8 patches" },
    };
    for (int i = 0; i < 4; i++) {
        view = view_of(sizes[i].name, 0, 0);
        check_fails(diffc_view_apply(view, x, seen), DIFFC_ERR_CONFIG, sizes[i].message);
        diffc_release(&view);
    }
    view = view_of("vflip", 0, 0);
    check_fails(diffc_view_apply(view, x, x), DIFFC_ERR_ARG, "same memory");
    diffc_release(&view);
    diffc_release(&seen);
    diffc_release(&x);
}

/* ---- factorizations ---- */

static diffc_factorization *factors_of(const char *name, const double *scales, int count)
{
    diffc_factorization_options options = DIFFC_FACTORIZATION_OPTIONS;
    diffc_factorization *factors = NULL;
    options.scales = scales;
    options.scale_count = count;
    check_ok(diffc_factorization_create(case_context, name, &options, &factors));
    return factors;
}

static void check_sums(const char *name, const double *scales, int count, int64_t c, int64_t h, int64_t w)
{
    diffc_factorization *factors = factors_of(name, scales, count);
    diffc_tensor *x = noise_of(5, 2, c, h, w), *part = new_tensor(2, c, h, w), *sum = new_tensor(2, c, h, w);
    memset(data_of(sum), 0, (size_t)diffc_tensor_count(sum) * sizeof(float));
    for (int k = 0; k < diffc_factorization_count(factors); k++) {
        check_ok(diffc_factorization_component(factors, k, x, part));
        for (int64_t i = 0; i < diffc_tensor_count(sum); i++)
            data_of(sum)[i] += data_of(part)[i];
        assert_true(dot(part, part) > 0.001 * dot(x, x));
    }
    check_near(largest_difference(sum, x), 0, 1e-6);
    diffc_release(&sum);
    diffc_release(&part);
    diffc_release(&x);
    diffc_release(&factors);
}

static void test_components_sum_to_the_picture(void **state)
{
    static const double scales[3] = { 0.25, 0.5, 0.25 };
    const char *name, *description;
    int count = 0;
    (void)state;
    for (; diffc_registry_entry(DIFFC_REGISTRY_FACTORIZATION, count, &name, &description) == DIFFC_OK;
         count++) {
        const int scaled = strcmp(name, "scale") == 0;
        check_sums(name, scaled ? scales : NULL, scaled ? 3 : 0, 3, 64, 64);
        check_sums(name, scaled ? scales : NULL, scaled ? 3 : 0, 3, 16, 20);
    }
    assert_int_equal(count, 5);
    check_sums("low_high", NULL, 0, 3, 128, 128);
    check_sums("low_high", NULL, 0, 1, 8, 8);
}

/* The low component is the course's blur, kernel 33 and sigma 2; twice as large at 128 pixels, where
 * visual_anagrams takes a kernel of 67. */
static void check_blur(int64_t side, int kernel, double sigma)
{
    diffc_factorization *factors = factors_of("low_high", NULL, 0);
    diffc_tensor *x = noise_of(6, 1, 3, side, side), *low = new_tensor(1, 3, side, side), *blurred = NULL;
    check_ok(diffc_factorization_component(factors, 0, x, low));
    check_ok(diffc_image_blur(x, kernel, sigma, &blurred));
    assert_true(same_bits(low, blurred));
    diffc_release(&blurred);
    diffc_release(&low);
    diffc_release(&x);
    diffc_release(&factors);
}

static void test_low_high_is_the_blur(void **state)
{
    (void)state;
    check_blur(64, 33, 2);
    check_blur(128, 67, 4);
    check_blur(16, 31, 2); /* the default kernel is cut */
}

static void test_grey_colour_and_motion(void **state)
{
    diffc_factorization *grey = factors_of("grey_colour", NULL, 0), *motion = factors_of("motion", NULL, 0);
    diffc_tensor *x = new_tensor(1, 3, 16, 16), *part = new_tensor(1, 3, 16, 16);
    (void)state;
    memset(data_of(x), 0, 3 * 256 * sizeof(float));
    data_of(x)[5 * 16 + 5] = 6;
    check_ok(diffc_factorization_component(grey, 0, x, part));
    for (int c = 0; c < 3; c++)
        check_near(data_of(part)[c * 256 + 85], 2, 1e-6);
    check_ok(diffc_factorization_component(grey, 1, x, part));
    check_near(data_of(part)[85], 4, 1e-6);
    check_near(data_of(part)[256 + 85], -2, 1e-6);
    check_ok(diffc_factorization_component(motion, 0, x, part));
    for (int d = -4; d <= 4; d++)
        check_near(data_of(part)[(5 + d) * 16 + 5 + d], abs(d) <= 3 ? 6.0 / 7 : 0, 1e-6);
    check_near(data_of(part)[5 * 16 + 6], 0, 0);
    diffc_release(&part);
    diffc_release(&x);
    diffc_release(&motion);
    diffc_release(&grey);
}

/* A factorization of the caller's: left and right half; `lost` leaves out a column. */
static int halves(void *opaque, int k, const diffc_tensor *x, diffc_tensor *part)
{
    const int lost = *(int *)opaque;
    const int64_t w = diffc_tensor_dim(x, 3);
    for (int64_t i = 0; i < diffc_tensor_count(x); i++)
        data_of(part)[i] = (i % w < w / 2) == (k == 0) && i % w != lost ? data_of(x)[i] : 0;
    return DIFFC_OK;
}

static void test_own_factorization(void **state)
{
    int lost = -1;
    diffc_factorization_functions functions = DIFFC_FACTORIZATION_FUNCTIONS;
    diffc_factorization *factors = NULL;
    diffc_tensor *x = noise_of(7, 1, 3, 8, 8), *part = new_tensor(1, 3, 8, 8);
    (void)state;
    functions.name = "halves";
    functions.count = 2;
    functions.component = halves;
    functions.opaque = &lost;
    check_ok(diffc_factorization_create_own(case_context, &functions, &factors));
    check_ok(diffc_factorization_component(factors, 1, x, part));
    assert_true(data_of(part)[3] == 0 && data_of(part)[4] == data_of(x)[4]);
    diffc_release(&factors);
    lost = 2;
    check_ok(diffc_factorization_create_own(case_context, &functions, &factors));
    check_fails(diffc_factorization_component(factors, 0, x, part), DIFFC_ERR_CONFIG,
                "factorization \"halves\": its 2 components miss the picture by");
    diffc_release(&factors);
    functions.count = 0;
    check_fails(diffc_factorization_create_own(case_context, &functions, &factors), DIFFC_ERR_ARG,
                "functions.count is 0");
    diffc_release(&part);
    diffc_release(&x);
}

static void test_refused_factorizations(void **state)
{
    static const double scales[2] = { 0.5, 0.6 };
    diffc_factorization_options options = DIFFC_FACTORIZATION_OPTIONS;
    diffc_factorization *factors = NULL;
    diffc_tensor *x = new_tensor(1, 3, 8, 8), *part = new_tensor(1, 3, 8, 8);
    (void)state;
    check_fails(diffc_factorization_create(case_context, "fourier", NULL, &factors), DIFFC_ERR_ARG,
                "unknown factorization \"fourier\"; known: low_high, three_bands");
    check_fails(diffc_factorization_create(case_context, "scale", NULL, &factors), DIFFC_ERR_ARG,
                "options.scale_count is 0");
    options.scales = scales;
    options.scale_count = 2;
    check_fails(diffc_factorization_create(case_context, "scale", &options, &factors), DIFFC_ERR_CONFIG,
                "the 2 options.scales sum to 1.1, components must sum to 1");
    check_fails(diffc_factorization_create(case_context, "motion", &options, &factors), DIFFC_ERR_ARG,
                "has no options.scales");
    options = (diffc_factorization_options)DIFFC_FACTORIZATION_OPTIONS;
    options.sigma = 1;
    check_fails(diffc_factorization_create(case_context, "motion", &options, &factors), DIFFC_ERR_ARG,
                "has no options.sigma");
    options.sigma = -1;
    check_fails(diffc_factorization_create(case_context, "low_high", &options, &factors), DIFFC_ERR_ARG,
                "options.sigma is -1");
    options.sigma = 0;
    options.kernel_size = 4;
    check_fails(diffc_factorization_create(case_context, "low_high", &options, &factors), DIFFC_ERR_ARG,
                "options.kernel_size is 4");
    assert_null(factors);
    options.kernel_size = 33;
    check_ok(diffc_factorization_create(case_context, "low_high", &options, &factors));
    check_fails(diffc_factorization_component(factors, 0, x, part), DIFFC_ERR_CONFIG,
                "a kernel of 33 is too large for pictures of 8 x 8");
    check_fails(diffc_factorization_component(factors, 2, x, part), DIFFC_ERR_ARG, "k is 2, must be 0 to 1");
    diffc_release(&factors);
    diffc_release(&part);
    diffc_release(&x);
}

static int make_and_use(void *opaque)
{
    static const double scales[1] = { 1 };
    static const char *const names[] = { "jigsaw", "vflip" }, *const parts[] = { "three_bands", "scale" };
    diffc_tensor **const tensors = opaque;
    enum own own = OWN_VFLIP;
    diffc_view_functions functions = DIFFC_VIEW_FUNCTIONS;
    diffc_view *view = NULL;
    int status = 0;
    functions.apply = apply_own;
    functions.invert = invert_own;
    functions.opaque = &own;
    for (int i = 0; i < 2 && !status; i++) {
        diffc_factorization_options options = DIFFC_FACTORIZATION_OPTIONS;
        diffc_factorization *factors = NULL;
        options.scales = i ? scales : NULL;
        options.scale_count = i;
        status = diffc_view_create(case_context, names[i], NULL, &view);
        status = status ? status : diffc_view_apply(view, tensors[0], tensors[1]);
        diffc_release(&view);
        status = status ? status : diffc_factorization_create(case_context, parts[i], &options, &factors);
        status = status ? status : diffc_factorization_component(factors, 0, tensors[0], tensors[1]);
        diffc_release(&factors);
    }
    status = status ? status : diffc_view_create_own(case_context, &functions, &view);
    status = status ? status : diffc_view_invert(view, tensors[0], tensors[1]);
    diffc_release(&view);
    return status;
}

static void test_memory_failures(void **state)
{
    diffc_tensor *tensors[2] = { noise_of(8, 1, 3, 16, 16), new_tensor(1, 3, 16, 16) };
    (void)state;
    check_memory_failures(make_and_use, tensors);
    diffc_release(&tensors[0]);
    diffc_release(&tensors[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registered_views_are_orthogonal),
        cmocka_unit_test(test_maps_are_those_of_visual_anagrams),
        cmocka_unit_test(test_views_agree_between_stages),
        cmocka_unit_test(test_directions),
        cmocka_unit_test(test_seeds_differ),
        cmocka_unit_test(test_own_views),
        cmocka_unit_test(test_views_that_are_not_orthogonal),
        cmocka_unit_test(test_refused_views),
        cmocka_unit_test(test_components_sum_to_the_picture),
        cmocka_unit_test(test_low_high_is_the_blur),
        cmocka_unit_test(test_grey_colour_and_motion),
        cmocka_unit_test(test_own_factorization),
        cmocka_unit_test(test_refused_factorizations),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
