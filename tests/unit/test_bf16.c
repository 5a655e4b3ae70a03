/* Pixels in bfloat16: every kernel and convolution gives what its twin over floats gives for the same
 * numbers, rounded once; and a network that stores its values so stays close to the one that does not. */

#include "bf16_case.h"
#include "graph_case.h"
#include "kernel/conv.h"
#include "kernel/winograd.h"
#include "model/architectures.h"

#include <math.h>
#include <stdio.h>

static void assert_rounded(const struct twin *twin, const char *what, const char *table, int c)
{
    for (int i = 0; i < ROOM; i++)
        if (twin->narrow[i] != rounded(twin->wide[i]))
            fail_msg("%s (%s, %d channels): element %d is %04x, expected %04x of %.9g", what, table, c, i,
                     twin->narrow[i], rounded(twin->wide[i]), (double)twin->wide[i]);
}

struct rows {
    int c;
    ptrdiff_t ld;
    size_t pixels;
    float scale[80], shift[80], third[80];
};

static struct twin x, dy, out;

static void check_affine(const struct dfi_kernels *k, const struct rows *r)
{
    double sums[2][2][80] = { 0 };
    for (enum dfi_act act = DFI_ACT_NONE; act <= DFI_ACT_GELU_TANH; act++) {
        for (int with = 0; with < 2; with++) {
            const float *shift = with ? r->shift : NULL;
            k->affine_act(x.wide, r->ld, out.wide, r->ld, r->pixels, r->c, r->scale, shift, act);
            k->bf16->affine_act(x.narrow, r->ld, out.narrow, r->ld, r->pixels, r->c, r->scale, shift, act);
            assert_rounded(&out, "affine_act", k->name, r->c);
        }
        memset(sums, 0, sizeof(sums));
        k->affine_act_backward(x.wide, r->ld, dy.wide, r->ld, out.wide, r->ld, r->pixels, r->c, r->scale,
                               r->shift, act, sums[0][0], sums[0][1]);
        k->bf16->affine_act_backward(x.narrow, r->ld, dy.narrow, r->ld, out.narrow, r->ld, r->pixels, r->c,
                                     r->scale, r->shift, act, sums[1][0], sums[1][1]);
        assert_rounded(&out, "affine_act_backward", k->name, r->c);
        assert_memory_equal(sums[0], sums[1], sizeof(sums[0]));
    }
}

/* Results that are added to what is there: both start from the same numbers. */
static void check_sums(const struct dfi_kernels *k, const struct rows *r, uint64_t *state)
{
    double sums[2][2][80] = { 0 };
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        fill(&out, state);
        k->affine2(dy.wide, r->ld, x.wide, r->ld, out.wide, r->ld, r->pixels, r->c, r->scale, r->shift,
                   r->third, accumulate);
        k->bf16->affine2(dy.narrow, r->ld, x.narrow, r->ld, out.narrow, r->ld, r->pixels, r->c, r->scale,
                         r->shift, r->third, accumulate);
        assert_rounded(&out, "affine2", k->name, r->c);
    }
    k->store_pixels(dy.wide, r->ld, out.wide, r->ld, r->pixels, r->c);
    k->bf16->store_pixels(dy.wide, r->ld, out.narrow, r->ld, r->pixels, r->c);
    assert_rounded(&out, "store_pixels", k->name, r->c);
    k->moments(x.wide, r->ld, r->pixels, r->c, sums[0][0], sums[0][1]);
    k->bf16->moments(x.narrow, r->ld, r->pixels, r->c, sums[1][0], sums[1][1]);
    k->moments_about(x.wide, r->ld, r->pixels, r->c, dy.wide, sums[0][0], sums[0][1]);
    k->bf16->moments_about(x.narrow, r->ld, r->pixels, r->c, dy.narrow, sums[1][0], sums[1][1]);
    assert_memory_equal(sums[0], sums[1], sizeof(sums[0]));
}

static void check_pools(const struct dfi_kernels *k, const struct rows *r, uint64_t *state)
{
    static float pooled[2][ROOM];
    k->avg_pool(x.wide, r->ld, pooled[0], 4, 6, r->c, 2, 3);
    k->bf16->avg_pool(x.narrow, r->ld, pooled[1], 4, 6, r->c, 2, 3);
    assert_memory_equal(pooled[0], pooled[1], sizeof(pooled[0]));
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        fill(&out, state);
        k->avg_pool_backward(pooled[0], out.wide, r->ld, 4, 6, r->c, 2, 3, accumulate);
        k->bf16->avg_pool_backward(pooled[0], out.narrow, r->ld, 4, 6, r->c, 2, 3, accumulate);
        assert_rounded(&out, "avg_pool_backward", k->name, r->c);
    }
    k->load_pixels(x.wide, r->ld, pooled[0], r->c, r->pixels, r->c);
    k->bf16->load_pixels(x.narrow, r->ld, pooled[1], r->c, r->pixels, r->c);
    assert_memory_equal(pooled[0], pooled[1], sizeof(pooled[0]));
}

static void test_kernels(void **unused)
{
    static const int channels[] = { 1, 3, 8, 13, 16, 32, 37, 64 };
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables);
    uint64_t state = 20;
    (void)unused;
    for (int t = 0; t < count; t++)
        for (int i = 0; i < DFI_COUNT(channels); i++) {
            struct rows r = { .c = channels[i], .ld = channels[i] + i % 3 * 2, .pixels = 24 };
            for (int k = 0; k < 80; k++) {
                r.scale[k] = (float)(1 + kc_random(&state));
                r.shift[k] = (float)kc_random(&state);
                r.third[k] = (float)kc_random(&state);
            }
            fill(&x, &state);
            fill(&dy, &state);
            fill(&out, &state);
            check_affine(tables[t], &r);
            check_sums(tables[t], &r, &state);
            check_pools(tables[t], &r, &state);
        }
}

/* Ties go to even, and what is infinite or no number stays so. */
static void test_rounding(void **unused)
{
    static const struct {
        uint32_t from;
        uint16_t to;
    } cases[] = { { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 }, { 0x3f808001, 0x3f81 },
                  { 0x7f7fffff, 0x7f80 }, { 0x7f800000, 0x7f80 }, { 0xff800000, 0xff80 },
                  { 0x7fffffff, 0x7fff }, { 0x7f800001, 0x7fc0 }, { 0xffffffff, 0xffff },
                  { 0x00000000, 0x0000 }, { 0x80000000, 0x8000 }, { 0x00018000, 0x0002 } };
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables), n = DFI_COUNT(cases);
    float values[DFI_COUNT(cases)];
    (void)unused;
    for (int i = 0; i < n; i++)
        memcpy(&values[i], &cases[i].from, sizeof(values[i]));
    for (int t = 0; t < count; t++) {
        uint16_t stored[DFI_COUNT(cases)];
        tables[t]->bf16->store_pixels(values, 0, stored, 0, 1, n);
        for (int i = 0; i < n; i++) /* of BF16 denormals are zero */
            if (!tables[t]->dots || cases[i].from != 0x00018000)
                assert_int_equal(stored[i], cases[i].to);
    }
}

struct shape {
    int transposed, cin, cout, kernel, stride, padding, size;
};

static const struct shape shapes[] = {
    { 0, 16, 20, 3, 1, 1, 14 }, { 0, 1, 16, 3, 1, 1, 9 }, { 0, 20, 1, 3, 1, 1, 9 },
    { 0, 12, 20, 3, 2, 1, 9 },  { 0, 7, 9, 1, 1, 0, 5 },  { 1, 32, 16, 4, 2, 1, 14 },
    { 1, 5, 6, 4, 2, 1, 5 },
};

struct pass {
    struct dfi_conv conv;
    enum dfi_conv_pass which;
    int accumulate;
};

#define IMAGES 3 /* products of pairs of images meet an odd one */

static size_t image_size(const struct dfi_conv *conv, int output)
{
    return output ? (size_t)(conv->out_h * conv->out_w * conv->cout)
                  : (size_t)(conv->in_h * conv->in_w * conv->cin);
}

/* Runs one pass from `input` (and, for the weights, `gradient`) to `result`. */
static void run_pass(const struct pass *p, const float *weights, const void *input, const void *gradient,
                     void *result)
{
    const struct dfi_conv *conv = &p->conv;
    const size_t in = image_size(conv, 0), made = image_size(conv, 1);
    const struct dfi_images images = { (void *)(uintptr_t)input, conv->cin, (ptrdiff_t)in, IMAGES };
    const struct dfi_images gradients = { (void *)(uintptr_t)gradient, conv->cout, (ptrdiff_t)made, IMAGES };
    void *scratch = malloc(dfi_conv_scratch(conv, p->which) + 64);
    assert_non_null(scratch);
    if (p->which == DFI_CONV_BACKWARD_WEIGHTS) {
        float *lane = calloc(dfi_conv_dw_size(conv), sizeof(*lane));
        assert_non_null(lane);
        for (int part = 0; part < dfi_conv_dw_parts(conv); part++)
            dfi_conv_dw(conv, &images, &gradients, 0, IMAGES, lane, part, scratch);
        dfi_conv_dw_reduce(conv, lane, 0, 1, result, 0);
        free(lane);
    } else {
        const int forward = p->which == DFI_CONV_FORWARD;
        float *packed = calloc(dfi_conv_packed(conv, p->which), sizeof(*packed));
        assert_non_null(packed);
        void *shared = malloc(dfi_conv_shared(conv, p->which, IMAGES) + 64);
        assert_non_null(shared);
        struct dfi_conv_job job = { .conv = conv,
                                    .shared = shared,
                                    .pass = p->which,
                                    .packed = packed,
                                    .bias = forward ? weights : NULL,
                                    .act = forward ? DFI_ACT_GELU : DFI_ACT_NONE,
                                    .x = forward ? images : gradients,
                                    .y = { result, forward ? conv->cout : conv->cin,
                                           (ptrdiff_t)(forward ? made : in), IMAGES },
                                    .samples = IMAGES };
        if (p->accumulate)
            job.base = job.y;
        for (int piece = 0; piece < dfi_conv_pack_pieces(conv, p->which); piece++)
            dfi_conv_pack(conv, p->which, weights, packed, piece, scratch);
        for (int piece = 0; piece < dfi_conv_prepare_pieces(conv, p->which, IMAGES); piece++)
            dfi_conv_prepare(&job, piece);
        for (int piece = 0; piece < dfi_conv_pieces(conv, p->which, IMAGES); piece++)
            dfi_conv_run(&job, piece, scratch);
        free(packed);
        free(shared);
    }
    free(scratch);
}

static float *make_values(size_t n, uint64_t *state)
{
    float *values = malloc(n * sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = widened(rounded((float)(2 * kc_random(state) - 1)));
    return values;
}

/* A side of the convolution as its kernels want it. */
static void *stored(const float *values, size_t n, const struct dfi_kernels *kernels)
{
    void *made = malloc(n * kernels->pixel);
    assert_non_null(made);
    kernels->store_pixels(values, 0, made, 0, 1, (int)n);
    return made;
}

static struct dfi_conv conv_of(const struct shape *shape, const struct dfi_kernels *kernels,
                               enum dfi_numerics numerics)
{
    return (struct dfi_conv) { .transposed = shape->transposed,
                               .cin = shape->cin,
                               .cout = shape->cout,
                               .kernel = shape->kernel,
                               .stride = shape->stride,
                               .padding = shape->padding,
                               .in_h = shape->size,
                               .in_w = shape->size + 1,
                               .dtype = DIFFC_F32,
                               .numerics = numerics,
                               .kernels = kernels };
}

static void check_pass(const struct shape *shape, const struct dfi_kernels *kernels,
                       enum dfi_numerics numerics, enum dfi_conv_pass which, int types, int accumulate,
                       uint64_t *state)
{
    struct pass wide = { .conv = conv_of(shape, kernels, numerics),
                         .which = which,
                         .accumulate = accumulate };
    struct pass narrow = wide;
    wide.conv.shares = narrow.conv.shares = types & 1 && !accumulate;
    narrow.conv.in = types & 1 ? kernels->bf16 : kernels;
    narrow.conv.out = types & 2 ? kernels->bf16 : kernels;
    assert_int_equal(dfi_conv_init(&wide.conv), 0);
    assert_int_equal(dfi_conv_init(&narrow.conv), 0);
    const size_t in = IMAGES * image_size(&wide.conv, 0), made = IMAGES * image_size(&wide.conv, 1);
    const size_t weight_count = (size_t)(shape->cin * shape->cout * shape->kernel * shape->kernel);
    const struct dfi_kernels *target = which == DFI_CONV_FORWARD         ? narrow.conv.out
                                       : which == DFI_CONV_BACKWARD_DATA ? narrow.conv.in
                                                                         : kernels;
    const size_t n = which == DFI_CONV_FORWARD ? made : which == DFI_CONV_BACKWARD_DATA ? in : weight_count;
    float *weights = make_values(weight_count + 64, state), *input = make_values(in, state);
    float *gradient = make_values(made, state), *expected = make_values(n, state);
    void *narrow_input = stored(input, in, narrow.conv.in),
         *narrow_gradient = stored(gradient, made, narrow.conv.out);
    void *found = stored(expected, n, target);
    run_pass(&wide, weights, input, gradient, expected);
    run_pass(&narrow, weights, narrow_input, narrow_gradient, found);
    void *right = stored(expected, n, target);
    if (memcmp(found, right, n * target->pixel) != 0)
        fail_msg("%s: %d -> %d, kernel %d, stride %d, %s, pass %d, types %d, accumulate %d", kernels->name,
                 shape->cin, shape->cout, shape->kernel, shape->stride,
                 dfi_conv_algorithm_name(&wide.conv, which), which, types, accumulate);
    free(weights);
    free(input);
    free(gradient);
    free(expected);
    free(narrow_input);
    free(narrow_gradient);
    free(found);
    free(right);
}

static void test_convolutions(void **unused)
{
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables);
    uint64_t state = 21;
    (void)unused;
    for (int t = 0; t < count; t++)
        for (int s = 0; s < DFI_COUNT(shapes); s++)
            for (int n = 0; n < 3; n++)
                for (int types = 1; types < 4; types++)
                    for (int which = 0; which < 4; which++) /* backward data once more, added to */
                        check_pass(&shapes[s], tables[t], (enum dfi_numerics)n,
                                   which < 3 ? (enum dfi_conv_pass)which : DFI_CONV_BACKWARD_DATA, types,
                                   which == 3, &state);
}

/* The input transformed before, 256 channels at a time and then the rest, gives the bits of the input
 * transformed within each piece, whatever its type and that of its products. */
static void check_prepared(const struct dfi_kernels *kernels, enum dfi_numerics numerics, int narrow,
                           int rounds, uint64_t *state)
{
    static const struct shape shape = { 0, 300, 40, 3, 1, 1, 6 };
    struct pass apart = { .conv = conv_of(&shape, kernels, numerics), .which = DFI_CONV_FORWARD };
    apart.conv.in = narrow ? kernels->bf16 : kernels;
    apart.conv.rounds = rounds;
    struct pass before = apart;
    before.conv.shares = 1;
    assert_int_equal(dfi_conv_init(&apart.conv), 0);
    assert_int_equal(dfi_conv_init(&before.conv), 0);
    const size_t in = IMAGES * image_size(&apart.conv, 0), made = IMAGES * image_size(&apart.conv, 1);
    float *weights = make_values(300 * 40 * 9, state), *input = make_values(in, state),
          *found[2] = { make_values(made, state), make_values(made, state) };
    void *pixels = stored(input, in, apart.conv.in);
    run_pass(&apart, weights, pixels, NULL, found[0]);
    run_pass(&before, weights, pixels, NULL, found[1]);
    assert_int_equal(dfi_conv_prepare_pieces(&apart.conv, DFI_CONV_FORWARD, IMAGES), 0);
    assert_true(dfi_conv_prepare_pieces(&before.conv, DFI_CONV_FORWARD, IMAGES) >= 2);
    if (memcmp(found[0], found[1], made * sizeof(float)) != 0)
        fail_msg("%s: numerics %d, narrow %d, rounds %d", kernels->name, numerics, narrow, rounds);
    free(pixels);
    free(weights);
    free(input);
    free(found[0]);
    free(found[1]);
}

static void test_prepared_channels(void **unused)
{
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables);
    uint64_t state = 29;
    (void)unused;
    for (int t = 0; t < count; t++)
        for (int i = 0; i < 8; i++)
            check_prepared(tables[t], i % 2 ? DFI_NUMERICS_DEFAULT : DFI_NUMERICS_EXACT, i / 2 % 2, i / 4,
                           &state);
}

/* Factors that are rounded: close to the float twin, and not it. */
static void test_rounded_products(void **unused)
{
    static const struct shape wide[] = { { 0, 32, 40, 3, 1, 1, 13 },
                                         { 1, 32, 48, 4, 2, 1, 9 },
                                         { 0, 18, 64, 3, 1, 1, 28 },
                                         { 0, 18, 70, 3, 2, 1, 15 },
                                         { 1, 32, 20, 3, 2, 1, 7 } };
    const struct dfi_kernels *tables[KC_TABLES];
    const struct dfi_kernels *kernels = tables[kc_list_tables(tables) - 1];
    uint64_t state = 23;
    (void)unused;
    if (!kernels->dots)
        skip();
    for (int i = 0; i < 6 * DFI_COUNT(wide); i++) {
        const struct shape *shape = &wide[i / 6];
        struct pass plain = { .conv = conv_of(shape, kernels,
                                              i % 2 ? DFI_NUMERICS_DEFAULT : DFI_NUMERICS_EXACT),
                              .which = (enum dfi_conv_pass)(i % 6 / 2) };
        struct pass dots = plain;
        dots.conv.rounds = 1;
        assert_int_equal(dfi_conv_init(&plain.conv), 0);
        assert_int_equal(dfi_conv_init(&dots.conv), 0);
        assert_true(dots.conv.dots[plain.which] && !plain.conv.dots[plain.which]);
        const size_t in = IMAGES * image_size(&plain.conv, 0), made = IMAGES * image_size(&plain.conv, 1);
        const size_t weight_count = (size_t)(shape->cin * shape->cout * shape->kernel * shape->kernel);
        const size_t n = plain.which == DFI_CONV_FORWARD         ? made
                         : plain.which == DFI_CONV_BACKWARD_DATA ? in
                                                                 : weight_count;
        float *weights = make_values(weight_count + 64, &state), *input = make_values(in, &state);
        float *gradient = make_values(made, &state),
              *found[2] = { make_values(n, &state), make_values(n, &state) };
        run_pass(&plain, weights, input, gradient, found[0]);
        run_pass(&dots, weights, input, gradient, found[1]);
        double error = 0, size = 0;
        for (size_t j = 0; j < n; j++) {
            error += pow((double)found[1][j] - (double)found[0][j], 2);
            size += pow((double)found[0][j], 2);
        }
        print_message("%s, pass %d: %.5f\n", dfi_conv_algorithm_name(&dots.conv, dots.which), dots.which,
                      sqrt(error / size));
        /* The inputs are in bfloat16 already, so that direct sums differ in their order only. */
        assert_true(error > 0 && sqrt(error / size) < (dots.conv.tile[dots.which] ? 0.015 : 1e-6));
        free(weights);
        free(input);
        free(gradient);
        free(found[0]);
        free(found[1]);
    }
}

/* The course's UNet in training. */
static float *train(struct diffc_context *context, enum dfi_precision precision, size_t *count, double *loss,
                    size_t *bytes)
{
    const struct dfi_model_config config = { 1, 20, 16, 20, 10, "class", "add", NULL, 0, .seed = 1 };
    const struct dfi_exec_options options = { 9, 1, 1, .precision = precision };
    struct dfi_model_values values;
    struct net net;
    net_open(&net, context, DIFFC_F32);
    dfi_architecture_cs180_unet.build(net.graph, &config, &values);
    const struct dfi_node out_node = net.graph->nodes[values.out];
    dfi_mse_loss(net.graph, values.out,
                 dfi_graph_input(net.graph, "target", out_node.c, out_node.h, out_node.w, 0));
    net_plan(&net, &options);
    net_write_inputs(&net, 0, 0);
    assert_int_equal(dfi_exec_forward(net.exec, 1), DIFFC_OK);
    assert_int_equal(dfi_exec_backward(net.exec, 0), DIFFC_OK);
    *count = net.params.value_count;
    *loss = dfi_exec_loss(net.exec);
    assert_int_equal(dfi_exec_bytes(net.graph, &options, bytes), DIFFC_OK);
    float *gradients = malloc(*count * sizeof(*gradients));
    assert_non_null(gradients);
    memcpy(gradients, dfi_exec_gradients(net.exec), *count * sizeof(*gradients));
    net_close(&net);
    return gradients;
}

static void test_training(void **unused)
{
    struct diffc_context *context = open_context(2, 0);
    size_t count, bytes[2];
    double loss[2], error = 0, size = 0;
    (void)unused;
    float *wide = train(context, DFI_PRECISION_F32, &count, &loss[0], &bytes[0]);
    float *narrow = train(context, DFI_PRECISION_BF16, &count, &loss[1], &bytes[1]);
    for (size_t i = 0; i < count; i++) {
        error += pow((double)narrow[i] - (double)wide[i], 2);
        size += pow((double)wide[i], 2);
    }
    print_message("loss %.6f and %.6f, gradients differ by %.4f, bytes %zu and %zu\n", loss[0], loss[1],
                  sqrt(error / size), bytes[0], bytes[1]);
    assert_true(fabs(loss[1] / loss[0] - 1) < 1e-2);
    assert_true(sqrt(error / size) < 0.05);
    assert_true(error > 0); /* something is in bfloat16 */
    assert_true(bytes[1] < bytes[0]);
    free(wide);
    free(narrow);
    diffc_release(&context);
}

static void test_refused_in_double(void **unused)
{
    const struct dfi_exec_options options = { 1, 1, 0, .precision = DFI_PRECISION_BF16 };
    struct diffc_context *context = open_context(1, 0);
    struct net net;
    size_t bytes;
    (void)unused;
    net_open(&net, context, DIFFC_F64);
    dfi_activation(net.graph, dfi_graph_input(net.graph, "x", 3, 4, 4, 0), DFI_ACT_RELU);
    assert_int_equal(dfi_exec_bytes(net.graph, &options, &bytes), DIFFC_ERR_CONFIG);
    assert_non_null(strstr(diffc_message(), "bf16"));
    net_close(&net);
    diffc_release(&context);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),           cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_convolutions),      cmocka_unit_test(test_prepared_channels),
        cmocka_unit_test(test_rounded_products),  cmocka_unit_test(test_training),
        cmocka_unit_test(test_refused_in_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
