/* Convolutions in all passes against plain sums in double. */

#include <math.h>
#include <stdio.h>

#include "kernel/conv.h"
#include "kernel_case.h"

#define LANES 3

/* `small` pixels meet `large` ones at large = small * stride + k - padding; a convolution goes from large to
 * small, a transposed one from small to large, and the weights are [small channel][large channel][k][k] for
 * both. */
struct shape {
    int transposed, cin, cout, kernel, stride, padding, h, w;
};

struct conv_case {
    struct shape shape;
    struct dfi_conv conv;
    int dtype, small_h, small_w, small_c, large_h, large_w, large_c;
    ptrdiff_t ldx, ldy;
    struct kc_array x[LANES], y[LANES], weights, bias; /* y: an output's gradient */
    double unit;                                       /* rounding error */
};

struct sums {
    double *value, *size, *terms;
    double largest, most_terms;
};

static struct sums make_sums(size_t n)
{
    struct sums s = { calloc(n + 1, sizeof(double)), calloc(n + 1, sizeof(double)),
                      calloc(n + 1, sizeof(double)), 0, 0 };
    assert_true(s.value && s.size && s.terms);
    return s;
}

static void free_sums(struct sums *s)
{
    free(s->value);
    free(s->size);
    free(s->terms);
}

static void add_term(struct sums *s, size_t i, double value)
{
    s->value[i] += value;
    s->size[i] += fabs(value);
    s->terms[i]++;
    s->largest = fmax(s->largest, s->size[i]);
    s->most_terms = fmax(s->most_terms, s->terms[i]);
}

/* Rounding of a chain of products; within a tile of Winograd's filtering everything meets everything, so
 * there the largest sums of all set the size. */
static double tolerance(const struct conv_case *c, enum dfi_conv_pass pass, const struct sums *s, size_t i)
{
    static const double growth[] = {
        [DFI_NUMERICS_DEFAULT] = 1, [DFI_NUMERICS_EXACT] = 0.5, [DFI_NUMERICS_FAST] = 4
    };
    return c->conv.tile[pass] ? growth[c->conv.numerics] * (s->most_terms + 4) * c->unit * s->largest
                              : (s->terms[i] + 4) * c->unit * s->size[i];
}

static void check(const struct conv_case *c, enum dfi_conv_pass pass, const struct sums *s, size_t i,
                  double value)
{
    if (fabs(value - s->value[i]) <= tolerance(c, pass, s, i))
        return;
    static const char *const passes[] = { "forward", "backward data", "backward weights" };
    const struct shape *p = &c->shape;
    fail_msg("%s, %s: transposed %d, %d -> %d channels, kernel %d, stride %d, padding %d, %d x %d: "
             "%g at %zu, not %g",
             c->conv.kernels->name, passes[pass], p->transposed, p->cin, p->cout, p->kernel, p->stride,
             p->padding, p->h, p->w, value, i, s->value[i]);
}

static void add_pair(const struct conv_case *c, enum dfi_conv_pass pass, int lane, size_t small, size_t large,
                     int tap, struct sums *s)
{
    const int area = c->shape.kernel * c->shape.kernel,
              to_small = (pass == DFI_CONV_FORWARD) == !c->shape.transposed;
    const struct kc_array *a = c->shape.transposed ? &c->x[lane] : &c->y[lane];
    const struct kc_array *b = c->shape.transposed ? &c->y[lane] : &c->x[lane];
    const ptrdiff_t lda = c->shape.transposed ? c->ldx : c->ldy, ldb = c->shape.transposed ? c->ldy : c->ldx;
    for (int i = 0; i < c->small_c; i++)
        for (int j = 0; j < c->large_c; j++) {
            const size_t at = ((size_t)i * (size_t)c->large_c + (size_t)j) * (size_t)area + (size_t)tap;
            const double p = kc_get(a, small * (size_t)lda + (size_t)i);
            const double q = kc_get(b, large * (size_t)ldb + (size_t)j);
            if (pass == DFI_CONV_BACKWARD_WEIGHTS)
                add_term(s, at, p * q);
            else if (to_small)
                add_term(s, small * (size_t)c->small_c + (size_t)i, q * kc_get(&c->weights, at));
            else
                add_term(s, large * (size_t)c->large_c + (size_t)j, p * kc_get(&c->weights, at));
        }
}

static void sum_naively(const struct conv_case *c, enum dfi_conv_pass pass, int lane, struct sums *s)
{
    const int k = c->shape.kernel;
    for (int pixel = 0; pixel < c->small_h * c->small_w; pixel++)
        for (int tap = 0; tap < k * k; tap++) {
            const int y = pixel / c->small_w * c->shape.stride + tap / k - c->shape.padding;
            const int x = pixel % c->small_w * c->shape.stride + tap % k - c->shape.padding;
            if (y >= 0 && y < c->large_h && x >= 0 && x < c->large_w)
                add_pair(c, pass, lane, (size_t)pixel, (size_t)y * (size_t)c->large_w + (size_t)x, tap, s);
        }
}

static void run_piece(const struct conv_case *c, const struct dfi_conv_job *job, struct kc_array *out,
                      int piece)
{
    const size_t bytes = dfi_conv_scratch(&c->conv, job->pass);
    struct kc_array scratch = kc_make(c->dtype, (bytes + out->size - 1) / out->size);
    struct dfi_conv_job run = *job;
    run.y.data = out->p;
    if (job->base.count)
        run.base = run.y;
    dfi_conv_run(&run, piece, scratch.p);
    assert_true(kc_intact(&scratch, 0, 0, 0));
    kc_free(&scratch);
}

static void pack(const struct conv_case *c, enum dfi_conv_pass pass, struct kc_array *packed)
{
    const size_t bytes = dfi_conv_scratch(&c->conv, pass);
    struct kc_array scratch = kc_make(c->dtype, (bytes + packed->size - 1) / packed->size);
    for (int piece = 0; piece < dfi_conv_pack_pieces(&c->conv, pass); piece++)
        dfi_conv_pack(&c->conv, pass, c->weights.p, packed->p, piece, scratch.p);
    assert_true(kc_intact(&scratch, 0, 0, 0));
    assert_true(kc_intact(packed, 0, 0, 0));
    kc_free(&scratch);
}

/* Forward or backward data: values, guards, bands in either order. Returns the product with `other`, for the
 * adjoint. */
static double check_run(const struct conv_case *c, enum dfi_conv_pass pass, int with_bias, int accumulate,
                        double *product_size)
{
    const int forward = pass == DFI_CONV_FORWARD, channels = forward ? c->shape.cout : c->shape.cin;
    const struct kc_array *in = forward ? &c->x[0] : &c->y[0], *other = forward ? &c->y[0] : &c->x[0];
    const ptrdiff_t ldi = forward ? c->ldx : c->ldy, ldo = forward ? c->ldy : c->ldx;
    const size_t pixels = (size_t)(forward ? c->conv.out_h * c->conv.out_w : c->shape.h * c->shape.w);
    const int pieces = dfi_conv_pieces(&c->conv, pass, 1);
    uint64_t state = 77;
    struct kc_array packed = kc_make(c->dtype, dfi_conv_packed(&c->conv, pass));
    struct kc_array out = kc_make(c->dtype, pixels * (size_t)ldo);
    struct sums s = make_sums(pixels * (size_t)channels);
    double product = 0;
    pack(c, pass, &packed);
    if (accumulate)
        kc_fill(&out, pixels, channels, ldo, &state);
    struct kc_array backwards = kc_copy(&out, c->dtype);
    sum_naively(c, pass, 0, &s);
    for (size_t i = 0; i < pixels * (size_t)channels; i++) {
        if (with_bias)
            add_term(&s, i, kc_get(&c->bias, i % (size_t)channels));
        if (accumulate)
            add_term(&s, i, kc_get(&out, i / (size_t)channels * (size_t)ldo + i % (size_t)channels));
    }
    assert_true(pieces >= 1);
    const struct dfi_conv_job job = { .conv = &c->conv,
                                      .pass = pass,
                                      .packed = packed.p,
                                      .bias = with_bias ? c->bias.p : NULL,
                                      .x = { in->p, ldi, 0, 1 },
                                      .y = { NULL, ldo, 0, 1 },
                                      .base = { .count = accumulate },
                                      .samples = 1 };
    for (int piece = 0; piece < pieces; piece++) {
        run_piece(c, &job, &out, piece);
        run_piece(c, &job, &backwards, pieces - 1 - piece);
    }
    assert_true(kc_intact(&out, pixels, channels, ldo));
    assert_true(kc_same(&out, &backwards));
    for (size_t i = 0; i < pixels * (size_t)channels; i++) {
        const size_t at = i / (size_t)channels * (size_t)ldo + i % (size_t)channels;
        check(c, pass, &s, i, kc_get(&out, at));
        product += kc_get(&out, at) * kc_get(other, at);
        *product_size += tolerance(c, pass, &s, i) * fabs(kc_get(other, at));
    }
    free_sums(&s);
    kc_free(&packed);
    kc_free(&out);
    kc_free(&backwards);
    return product;
}

static void run_part(const struct conv_case *c, int lane, void *accumulator, int part)
{
    const size_t bytes = dfi_conv_scratch(&c->conv, DFI_CONV_BACKWARD_WEIGHTS), size = c->weights.size;
    struct kc_array scratch = kc_make(c->dtype, (bytes + size - 1) / size);
    const struct dfi_images x = { c->x[lane].p, c->ldx, 0, 1 }, y = { c->y[lane].p, c->ldy, 0, 1 };
    dfi_conv_dw(&c->conv, &x, &y, 0, 1, accumulator, part, scratch.p);
    assert_true(kc_intact(&scratch, 0, 0, 0));
    kc_free(&scratch);
}

/* Rows of an accumulator are longer than the channels are many: the rest stays zero. */
static void check_padding(const struct conv_case *c, const struct kc_array *a, int lanes, size_t size,
                          size_t stride)
{
    const size_t rows = (size_t)(c->shape.kernel * c->shape.kernel * c->large_c), length = size / rows;
    for (int lane = 0; lane < lanes; lane++)
        for (size_t row = 0; row < rows; row++)
            for (size_t i = (size_t)c->small_c; i < length; i++)
                assert_true(kc_get(a, (size_t)lane * stride + row * length + i) == 0);
}

static void check_weights(const struct conv_case *c, int lanes, int accumulate)
{
    const size_t size = dfi_conv_dw_size(&c->conv), stride = size + 5;
    const int parts = dfi_conv_dw_parts(&c->conv);
    uint64_t state = 78;
    struct kc_array gradient = kc_make(c->dtype, c->weights.count);
    struct kc_array a = kc_make(c->dtype, stride * (size_t)lanes),
                    b = kc_make(c->dtype, stride * (size_t)lanes);
    struct sums s = make_sums(gradient.count);
    for (int lane = 0; lane < lanes; lane++) {
        memset(kc_at(&a, (size_t)lane * stride), 0, size * a.size);
        memset(kc_at(&b, (size_t)lane * stride), 0, size * a.size);
        for (int part = 0; part < parts; part++) {
            run_part(c, lane, kc_at(&a, (size_t)lane * stride), part);
            run_part(c, lane, kc_at(&b, (size_t)lane * stride), parts - 1 - part);
        }
        sum_naively(c, DFI_CONV_BACKWARD_WEIGHTS, lane, &s);
    }
    assert_true(kc_intact(&a, (size_t)lanes, (int)size, (ptrdiff_t)stride));
    assert_true(kc_same(&a, &b));
    check_padding(c, &a, lanes, size, stride);
    if (accumulate)
        kc_fill(&gradient, 1, (int)gradient.count, 0, &state);
    for (size_t i = 0; accumulate && i < gradient.count; i++)
        add_term(&s, i, kc_get(&gradient, i));
    dfi_conv_dw_reduce(&c->conv, a.p, stride, lanes, gradient.p, accumulate);
    assert_true(kc_intact(&gradient, 0, 0, 0));
    for (size_t i = 0; i < gradient.count; i++)
        check(c, DFI_CONV_BACKWARD_WEIGHTS, &s, i, kc_get(&gradient, i));
    free_sums(&s);
    kc_free(&a);
    kc_free(&b);
    kc_free(&gradient);
}

static struct dfi_conv describe(const struct dfi_kernels *kernels, int dtype, const struct shape *p,
                                enum dfi_numerics numerics)
{
    return (struct dfi_conv) { .transposed = p->transposed,
                               .cin = p->cin,
                               .cout = p->cout,
                               .kernel = p->kernel,
                               .stride = p->stride,
                               .padding = p->padding,
                               .in_h = p->h,
                               .in_w = p->w,
                               .dtype = dtype,
                               .numerics = numerics,
                               .kernels = kernels };
}

static void check_table(const struct dfi_kernels *kernels, int dtype, const struct shape *p,
                        enum dfi_numerics numerics, uint64_t seed)
{
    struct conv_case c = { .shape = *p, .dtype = dtype, .unit = dtype == DIFFC_F64 ? 0x1p-53 : 0x1p-24 };
    uint64_t state = seed;
    c.conv = describe(kernels, dtype, p, numerics);
    if (dfi_conv_init(&c.conv) != 0)
        return;
    const int out_h = c.conv.out_h, out_w = c.conv.out_w;
    c.ldx = p->cin + kc_pick(&state, 0, 1) * kc_pick(&state, 0, 9);
    c.ldy = p->cout + kc_pick(&state, 0, 1) * kc_pick(&state, 0, 9);
    c.small_h = p->transposed ? p->h : out_h;
    c.small_w = p->transposed ? p->w : out_w;
    c.small_c = p->transposed ? p->cin : p->cout;
    c.large_h = p->transposed ? out_h : p->h;
    c.large_w = p->transposed ? out_w : p->w;
    c.large_c = p->transposed ? p->cout : p->cin;
    c.weights = kc_make(dtype, (size_t)(p->cin * p->cout * p->kernel * p->kernel));
    c.bias = kc_make(dtype, (size_t)p->cout);
    kc_fill(&c.weights, 1, (int)c.weights.count, 0, &state);
    kc_fill(&c.bias, 1, p->cout, 0, &state);
    for (int i = 0; i < LANES; i++) {
        c.x[i] = kc_make(dtype, (size_t)(p->h * p->w) * (size_t)c.ldx);
        c.y[i] = kc_make(dtype, (size_t)(out_h * out_w) * (size_t)c.ldy);
        kc_fill(&c.x[i], (size_t)(p->h * p->w), p->cin, c.ldx, &state);
        kc_fill(&c.y[i], (size_t)(out_h * out_w), p->cout, c.ldy, &state);
    }
    double size = 0, unused = 0;
    const double there = check_run(&c, DFI_CONV_FORWARD, 0, 0, &size);
    const double back = check_run(&c, DFI_CONV_BACKWARD_DATA, 0, 0, &size);
    assert_true(fabs(there - back) <= size);
    check_run(&c, DFI_CONV_FORWARD, 1, (int)(seed & 1), &unused);
    check_run(&c, DFI_CONV_BACKWARD_DATA, 0, 1, &unused);
    check_weights(&c, 1 + (int)(seed % LANES), (int)(seed & 1));
    for (int i = 0; i < LANES; i++) {
        kc_free(&c.x[i]);
        kc_free(&c.y[i]);
    }
    kc_free(&c.weights);
    kc_free(&c.bias);
}

static void check_shape(const struct shape *shape, uint64_t seed)
{
    const struct dfi_kernels *tables[KC_TABLES];
    const int count = kc_list_tables(tables);
    for (int i = 0; i < count; i++)
        for (int numerics = DFI_NUMERICS_DEFAULT; numerics <= DFI_NUMERICS_FAST; numerics++)
            check_table(tables[i], DIFFC_F32, shape, (enum dfi_numerics)numerics, seed);
    check_table(dfi_kernels_get(0, DIFFC_F64), DIFFC_F64, shape, DFI_NUMERICS_DEFAULT, seed);
}

static void test_chosen_shapes(void **state)
{
    static const struct shape shapes[] = {
        { 0, 1, 1, 1, 1, 0, 1, 1 },     { 0, 3, 8, 3, 1, 1, 28, 28 },   { 0, 1, 64, 3, 1, 1, 28, 28 },
        { 0, 33, 5, 3, 2, 1, 28, 28 },  { 0, 6, 70, 3, 1, 1, 7, 7 },    { 0, 70, 6, 3, 1, 1, 7, 7 },
        { 0, 64, 64, 3, 1, 1, 7, 7 },   { 0, 65, 4, 3, 1, 1, 5, 6 },    { 0, 4, 65, 4, 2, 1, 6, 5 },
        { 0, 16, 16, 3, 2, 1, 1, 1 },   { 0, 2, 3, 7, 3, 3, 20, 1 },    { 0, 2, 3, 7, 3, 6, 1, 20 },
        { 0, 9, 9, 1, 3, 0, 10, 10 },   { 0, 9, 9, 1, 2, 2, 4, 4 },     { 0, 32, 32, 5, 1, 0, 5, 5 },
        { 1, 64, 32, 4, 2, 1, 7, 7 },   { 1, 32, 1, 4, 2, 1, 14, 14 },  { 1, 5, 6, 3, 1, 1, 9, 9 },
        { 1, 8, 8, 1, 3, 0, 4, 4 },     { 1, 3, 70, 2, 2, 0, 6, 6 },    { 1, 70, 3, 7, 3, 2, 4, 5 },
        { 1, 1, 1, 7, 1, 6, 12, 12 },   { 0, 40, 40, 3, 1, 1, 9, 130 }, { 0, 10, 9, 3, 1, 1, 3, 300 },
        { 0, 20, 17, 3, 2, 1, 5, 470 }, { 0, 3, 7, 3, 1, 1, 60, 3 },    { 0, 68, 68, 7, 1, 3, 3, 3 },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        check_shape(&shapes[i], i);
}

static void test_random_shapes(void **state)
{
    static const int kernels[] = { 1, 3, 4, 5, 7, 2, 6 };
    uint64_t random = 5;
    (void)state;
    for (uint64_t i = 0, tried = 0; i < 140 && tried < 5000; tried++) {
        struct shape s = { .transposed = kc_pick(&random, 0, 1),
                           .cin = kc_pick(&random, 0, 2) ? kc_pick(&random, 1, 70) : kc_pick(&random, 1, 5),
                           .cout = kc_pick(&random, 0, 2) ? kc_pick(&random, 1, 70) : kc_pick(&random, 1, 5),
                           .kernel = kernels[kc_pick(&random, 0, 6)],
                           .stride = kc_pick(&random, 1, 3),
                           .h = kc_pick(&random, 1, 20),
                           .w = kc_pick(&random, 1, 20) };
        s.padding = kc_pick(&random, 0, s.kernel);
        const int sharing = s.transposed ? 1 : s.stride * s.stride;
        if ((double)s.cin * s.cout * s.kernel * s.kernel * s.h * s.w / sharing > 4e5)
            continue;
        check_shape(&s, i++);
    }
}

static void test_refuses(void **state)
{
    static const struct shape shapes[] = { { 0, 1, 1, 5, 1, 0, 4, 9 },
                                           { 1, 1, 1, 3, 1, 2, 1, 1 },
                                           { 0, 1, 1, 8, 1, 0, 9, 9 },
                                           { 0, 1, 1, 3, 0, 0, 9, 9 } };
    (void)state;
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        struct dfi_conv conv = describe(dfi_kernels_get(0, DIFFC_F32), DIFFC_F32, &shapes[i],
                                        DFI_NUMERICS_DEFAULT);
        assert_int_equal(dfi_conv_init(&conv), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_chosen_shapes),
                                        cmocka_unit_test(test_random_shapes),
                                        cmocka_unit_test(test_refuses) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
