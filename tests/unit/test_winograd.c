/* Rounding errors of Winograd's filtering against those of a direct convolution, and jobs of several images.
 */

#include <math.h>
#include <stdio.h>

#include "kernel/conv.h"
#include "kernel_case.h"

#define IMAGES 2

struct setup {
    struct dfi_conv conv;
    size_t x_size, y_size, w_size; /* x_size, y_size: of an image */
    float *x, *y, *w;
};

static double normal(uint64_t *state)
{
    return sqrt(-2 * log(1 - kc_random(state))) * cos(6.283185307179586 * kc_random(state));
}

static float *normals(size_t n, double scale, uint64_t *state)
{
    float *values = malloc(n * sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(scale * normal(state));
    return values;
}

static void open_setup(struct setup *s, int transposed, int size, int cin, int cout)
{
    uint64_t state = 3;
    memset(s, 0, sizeof(*s));
    s->conv = (struct dfi_conv) { .transposed = transposed,
                                  .cin = cin,
                                  .cout = cout,
                                  .kernel = transposed ? 4 : 3,
                                  .stride = transposed ? 2 : 1,
                                  .padding = 1,
                                  .in_h = size,
                                  .in_w = size,
                                  .dtype = DIFFC_F32 };
    assert_int_equal(dfi_conv_init(&s->conv), 0);
    s->x_size = (size_t)(cin * size * size);
    s->y_size = (size_t)(cout * s->conv.out_h * s->conv.out_w);
    s->w_size = (size_t)(cin * cout * s->conv.kernel * s->conv.kernel);
    s->x = normals(IMAGES * s->x_size, 1, &state);
    s->y = normals(IMAGES * s->y_size, 1, &state);
    s->w = normals(s->w_size, sqrt(2.0 / (cin * (transposed ? 4 : 9))), &state);
}

static void close_setup(struct setup *s)
{
    free(s->x);
    free(s->y);
    free(s->w);
}

/* A piece writes to the images that it says, of `size` elements each, and to no other; where convolutions
 * share it says nothing. */
static void run_piece(const struct dfi_conv_job *job, int piece, struct kc_array *out, size_t size,
                      void *scratch)
{
    struct kc_array before = kc_copy(out, out->size == sizeof(double) ? DIFFC_F64 : DIFFC_F32);
    const size_t image = size * out->size;
    int first, end;
    dfi_conv_run(job, piece, scratch);
    if (job->conv->shares) {
        kc_free(&before);
        return;
    }
    dfi_conv_written(job->conv, job->pass, job->samples, piece, &first, &end);
    assert_true(0 <= first && first < end && end <= job->samples);
    assert_memory_equal(out->p, before.p, (size_t)first * image);
    assert_memory_equal((char *)out->p + (size_t)end * image, (char *)before.p + (size_t)end * image,
                        (size_t)(job->samples - end) * image);
    assert_memory_not_equal((char *)out->p + (size_t)first * image, (char *)before.p + (size_t)first * image,
                            image);
    assert_memory_not_equal((char *)out->p + (size_t)(end - 1) * image,
                            (char *)before.p + (size_t)(end - 1) * image, image);
    kc_free(&before);
}

/* One pass over all images; the result as doubles. `count` images lie in memory, the job takes `samples`. */
static double *run(struct setup *s, enum dfi_conv_pass pass, int dtype, enum dfi_numerics numerics,
                   int direct, const struct dfi_kernels *kernels, int count, int samples, size_t *n)
{
    const int weights = pass == DFI_CONV_BACKWARD_WEIGHTS, forward = pass == DFI_CONV_FORWARD;
    const size_t out_size = weights ? s->w_size : forward ? s->y_size : s->x_size;
    struct dfi_conv conv = s->conv;
    conv.dtype = dtype;
    conv.numerics = numerics;
    conv.kernels = kernels;
    assert_int_equal(dfi_conv_init(&conv), 0);
    if (direct)
        conv.tile[pass] = 0;
    else
        assert_true(conv.tile[pass] > 0);
    struct kc_array x = kc_make(dtype, IMAGES * s->x_size), y = kc_make(dtype, IMAGES * s->y_size);
    struct kc_array w = kc_make(dtype, s->w_size),
                    out = kc_make(dtype, weights ? out_size : (size_t)samples * out_size);
    struct kc_array scratch = kc_make(dtype, dfi_conv_scratch(&conv, pass) / x.size + 1);
    for (size_t i = 0; i < x.count; i++)
        kc_set(&x, i, (double)s->x[i]);
    for (size_t i = 0; i < y.count; i++)
        kc_set(&y, i, (double)s->y[i]);
    for (size_t i = 0; i < w.count; i++)
        kc_set(&w, i, (double)s->w[i]);
    const struct dfi_images in = { x.p, conv.cin, (ptrdiff_t)s->x_size, count };
    const struct dfi_images gradient = { y.p, conv.cout, (ptrdiff_t)s->y_size, count };
    if (weights) {
        struct kc_array lane = kc_make(dtype, dfi_conv_dw_size(&conv));
        memset(lane.p, 0, lane.count * lane.size);
        for (int part = 0; part < dfi_conv_dw_parts(&conv); part++)
            dfi_conv_dw(&conv, &in, &gradient, 0, samples, lane.p, part, scratch.p);
        dfi_conv_dw_reduce(&conv, lane.p, 0, 1, out.p, 0);
        kc_free(&lane);
    } else {
        struct kc_array packed = kc_make(dtype, dfi_conv_packed(&conv, pass));
        struct kc_array shared = kc_make(dtype, dfi_conv_shared(&conv, pass, samples) / x.size + 1);
        const int streams = conv.streams && dfi_conv_prepare_pieces(&conv, pass, samples);
        const struct dfi_conv_job job = { .conv = &conv,
                                          .pass = pass,
                                          .packed = streams ? NULL : packed.p,
                                          .x = forward ? in : gradient,
                                          .y = { out.p, forward ? conv.cout : conv.cin, (ptrdiff_t)out_size,
                                                 samples },
                                          .samples = samples,
                                          .shared = shared.p,
                                          .weights = w.p,
                                          .weights_dtype = dtype };
        for (int piece = 0; piece < dfi_conv_pack_pieces(&conv, pass); piece++)
            dfi_conv_pack(&conv, pass, w.p, packed.p, piece, scratch.p);
        for (int piece = 0; piece < dfi_conv_prepare_pieces(&conv, pass, samples); piece++)
            dfi_conv_prepare(&job, piece);
        for (int piece = 0; piece < dfi_conv_pieces(&conv, pass, samples); piece++)
            run_piece(&job, piece, &out, out_size, scratch.p);
        assert_true(kc_intact(&shared, 1, (int)shared.count, (ptrdiff_t)shared.count));
        kc_free(&shared);
        kc_free(&packed);
    }
    double *values = malloc(out.count * sizeof(*values));
    assert_non_null(values);
    for (size_t i = 0; i < out.count; i++)
        values[i] = kc_get(&out, i);
    *n = out.count;
    kc_free(&x);
    kc_free(&y);
    kc_free(&w);
    kc_free(&out);
    kc_free(&scratch);
    return values;
}

/* Relative to the rms of the reference. */
static double rms_error(const double *values, const double *reference, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += (values[i] - reference[i]) * (values[i] - reference[i]);
        size += reference[i] * reference[i];
    }
    return sqrt(error / size);
}

/* Measured: exact 0.5 to 0.9 times the error of a direct convolution, default 1.2 to 2.1, fast 6 to 20. */
static void check_errors(int transposed, int size, int cin, int cout)
{
    static const double most[] = {
        [DFI_NUMERICS_DEFAULT] = 2.5, [DFI_NUMERICS_EXACT] = 1.1, [DFI_NUMERICS_FAST] = 28
    };
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables);
    struct setup s;
    open_setup(&s, transposed, size, cin, cout);
    for (int p = DFI_CONV_FORWARD; p <= DFI_CONV_BACKWARD_WEIGHTS; p++) {
        const enum dfi_conv_pass pass = (enum dfi_conv_pass)p;
        size_t n;
        double *truth = run(&s, pass, DIFFC_F64, DFI_NUMERICS_DEFAULT, 1, dfi_kernels_get(0, DIFFC_F64),
                            IMAGES, IMAGES, &n);
        double *direct = run(&s, pass, DIFFC_F32, DFI_NUMERICS_DEFAULT, 1, tables[count - 1], IMAGES, IMAGES,
                             &n);
        const double unit = rms_error(direct, truth, n);
        for (int i = 0; i < count * 3; i++) {
            const enum dfi_numerics numerics = (enum dfi_numerics)(i % 3);
            double *values = run(&s, pass, DIFFC_F32, numerics, 0, tables[i / 3], IMAGES, IMAGES, &n);
            const double error = rms_error(values, truth, n);
            print_message("%s: transposed %d, %d x %d, pass %d, numerics %d: rms %.1e, %.2f of direct\n",
                          tables[i / 3]->name, transposed, size, size, p, i % 3, error, error / unit);
            /* Few tiles add up to a gradient here, so that their own errors show. */
            assert_true(error < (p == DFI_CONV_BACKWARD_WEIGHTS ? 1.6 : 1) * most[numerics] * unit);
            free(values);
        }
        free(truth);
        free(direct);
    }
    close_setup(&s);
}

static void test_rounding_errors(void **state)
{
    (void)state;
    check_errors(0, 14, 64, 48);
    check_errors(0, 7, 32, 64);
    check_errors(1, 14, 32, 24);
}

/* With memory in common few tiles are transformed before all blocks of channels, and weights may stream: the
 * same bits. */
static void check_shared(int size, int cin, int cout, int few)
{
    const struct dfi_kernels *tables[KC_TABLES];
    const int table_count = kc_list_tables(tables);
    struct setup s;
    open_setup(&s, 0, size, cin, cout);
    for (int t = 0; t < table_count; t++)
        for (int numerics = DFI_NUMERICS_DEFAULT; numerics <= DFI_NUMERICS_FAST; numerics++)
            for (int samples = 1; samples <= IMAGES; samples++) {
                size_t n;
                s.conv.shares = s.conv.streams = 0;
                double *alone = run(&s, DFI_CONV_FORWARD, DIFFC_F32, (enum dfi_numerics)numerics, 0,
                                    tables[t], IMAGES, samples, &n);
                s.conv.shares = 1;
                s.conv.kernels = tables[t];
                assert_int_equal(dfi_conv_prepare_pieces(&s.conv, DFI_CONV_FORWARD, IMAGES) > 0, few);
                for (s.conv.streams = 0; s.conv.streams < 2; s.conv.streams++) {
                    double *together = run(&s, DFI_CONV_FORWARD, DIFFC_F32, (enum dfi_numerics)numerics, 0,
                                           tables[t], IMAGES, samples, &n);
                    assert_memory_equal(alone, together, n * sizeof(*alone));
                    free(together);
                }
                free(alone);
            }
    close_setup(&s);
}

static void test_shared(void **state)
{
    (void)state;
    check_shared(8, 300, 130, 1);
    check_shared(13, 33, 70, 1);
    check_shared(16, 64, 64, 1);
    check_shared(64, 256, 16, 0);
}

/* Images repeat where fewer lie in memory than the job takes, and the bits of one do not depend on the
 * others. */
static void check_images(int size, int cin, int cout)
{
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables);
    struct setup s;
    open_setup(&s, 0, size, cin, cout);
    for (int i = 0; i < count * 3; i++) {
        const enum dfi_numerics numerics = (enum dfi_numerics)(i % 3);
        size_t n, m;
        double *one = run(&s, DFI_CONV_FORWARD, DIFFC_F32, numerics, 0, tables[i / 3], 1, 1, &n);
        double *five = run(&s, DFI_CONV_FORWARD, DIFFC_F32, numerics, 0, tables[i / 3], 2, 5, &m);
        assert_int_equal(m, 5 * n);
        assert_memory_equal(five, one, n * sizeof(*one));
        assert_memory_equal(five + 2 * n, one, n * sizeof(*one));
        assert_memory_equal(five + 4 * n, one, n * sizeof(*one));
        assert_memory_equal(five + n, five + 3 * n, n * sizeof(*one));
        assert_memory_not_equal(five + n, one, n * sizeof(*one));
        free(one);
        free(five);
    }
    close_setup(&s);
}

static void test_images(void **state)
{
    (void)state;
    check_images(7, 20, 24);
    check_images(40, 192, 16); /* wide blocks: as many tiles as there are images for */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_rounding_errors), cmocka_unit_test(test_shared),
                                        cmocka_unit_test(test_images) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
