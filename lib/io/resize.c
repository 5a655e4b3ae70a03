#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "base/float_mode.h"
#include "io/resize.h"

/* Separable resampling: one list of weights per row and column of the result. Pillow's methods have Pillow's
 * arithmetic, so that a picture prepared here is the one that Python prepares. */

struct span { /* source pixels first .. first + count - 1 make one pixel */
    int first, count;
};

struct axis {
    int in, out;
    int room;      /* weights per pixel */
    double cursor; /* of span_nearest() */
    struct span *spans;
    double *weights; /* [out][room] */
    int32_t *fixed;  /* the same times 2^22, for bytes */
};

struct dfi_resize_method {
    struct dfi_entry entry;
    double support; /* of the filter, in pixels of the coarser side; 0: spans of their own */
    double (*filter)(double x);
    void (*span)(struct axis *axis, int at, struct span *span, double *weights);
};

static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1 ? 1 - x : 0;
}

/* The source is taken where the centre of the pixel lies. Pillow adds up the scale from pixel to pixel, and
 * its rounding decides where a centre falls on a border. */
static void span_nearest(struct axis *axis, int at, struct span *span, double *weights)
{
    const double scale = (double)axis->in / axis->out;
    axis->cursor = at == 0 ? scale * 0.5 : axis->cursor + scale;
    const int from = (int)axis->cursor;
    *span = (struct span) { from < axis->in ? from : axis->in - 1, 1 };
    weights[0] = 1;
}

/* The mean over what the pixel covers, parts of pixels included. */
static void span_area(struct axis *axis, int at, struct span *span, double *weights)
{
    const double scale = (double)axis->in / axis->out, low = at * scale, high = (at + 1) * scale;
    const int first = (int)low;
    int end = (int)ceil(high - 1e-9 * scale);
    end = end > axis->in ? axis->in : end <= first ? first + 1 : end;
    *span = (struct span) { first, end - first };
    for (int i = first; i < end; i++) {
        const double covered = fmin(high, i + 1) - fmax(low, i);
        weights[i - first] = (covered > 0 ? covered : 0) / scale;
    }
}

/* torch.nn.functional.interpolate(mode="bilinear", align_corners=True): corner pixels keep their places. */
static void span_corners(struct axis *axis, int at, struct span *span, double *weights)
{
    const double x = axis->out > 1 ? (double)at * (axis->in - 1) / (axis->out - 1) : 0;
    const int first = (int)x;
    *span = (struct span) { first, first + 1 < axis->in ? 2 : 1 };
    weights[0] = 1 - (x - first);
    if (span->count == 2)
        weights[1] = x - first;
    else
        weights[0] = 1;
}

static const struct dfi_resize_method methods[] = {
    { { "bicubic", "cubic convolution, a = -0.5, widened when shrinking (Pillow)" }, 2, bicubic, NULL },
    { { "bilinear", "triangle filter, widened when shrinking (Pillow)" }, 1, triangle, NULL },
    { { "area", "mean of what a pixel covers" }, 0, NULL, span_area },
    { { "nearest", "the pixel at the centre (Pillow)" }, 0, NULL, span_nearest },
    { { "bilinear_corners", "linear between pixels, corners on corners (PyTorch, align_corners)" },
      0,
      NULL,
      span_corners },
};

const struct dfi_entry *dfi_resize_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(methods) ? &methods[index].entry : NULL;
}

const struct dfi_resize_method *dfi_resize_find(const char *name)
{
    return dfi_registry_find(methods, sizeof(methods[0]), DFI_COUNT(methods), "method", name);
}

/* Pillow's spans: all pixels whose centres the filter reaches, weights divided by their sum. */
static void span_filter(const struct dfi_resize_method *method, const struct axis *axis, int at,
                        struct span *span, double *weights)
{
    const double scale = (double)axis->in / axis->out, wide = scale < 1 ? 1 : scale;
    const double support = method->support * wide, centre = (at + 0.5) * scale, step = 1 / wide;
    int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
    double sum = 0;
    first = first < 0 ? 0 : first;
    end = end > axis->in ? axis->in : end;
    *span = (struct span) { first, end - first };
    for (int i = 0; i < span->count; i++) {
        weights[i] = method->filter((i + first - centre + 0.5) * step);
        sum += weights[i];
    }
    for (int i = 0; i < span->count && sum != 0; i++)
        weights[i] /= sum;
}

#define FIXED_BITS 22

static void free_axis(struct diffc_context *context, struct axis *axis)
{
    dfi_free(context, axis->spans);
    dfi_free(context, axis->weights);
    dfi_free(context, axis->fixed);
}

static int make_axis(struct diffc_context *context, const struct dfi_resize_method *method, int in, int out,
                     struct axis *axis)
{
    const double scale = (double)in / out, wide = scale < 1 ? 1 : scale;
    size_t weights;
    *axis = (struct axis) { .in = in, .out = out };
    axis->room = (int)ceil((method->filter ? method->support : 1) * wide) * 2 + 1;
    if (dfi_ck_mul((size_t)out, (size_t)axis->room, &weights) || weights > SIZE_MAX / sizeof(double))
        return dfi_fail(DIFFC_ERR_LIMIT, "%d pixels from %d need too many weights", out, in);
    axis->spans = dfi_calloc(context, (size_t)out, sizeof(*axis->spans));
    axis->weights = dfi_calloc(context, weights, sizeof(*axis->weights));
    axis->fixed = dfi_calloc(context, weights, sizeof(*axis->fixed));
    if (!axis->spans || !axis->weights || !axis->fixed)
        return DIFFC_ERR_NOMEM;
    for (int at = 0; at < out; at++) {
        double *at_weights = axis->weights + (size_t)at * (size_t)axis->room;
        if (method->filter)
            span_filter(method, axis, at, &axis->spans[at], at_weights);
        else
            method->span(axis, at, &axis->spans[at], at_weights);
    }
    for (size_t i = 0; i < weights; i++)
        axis->fixed[i] = (int32_t)(axis->weights[i] * (1 << FIXED_BITS) +
                                   (axis->weights[i] < 0 ? -0.5 : 0.5));
    return DIFFC_OK;
}

/* One pass over the planes: across rows (step 1), or down columns. */
struct pass {
    const struct axis *axis;
    const void *in;
    void *out;
    int bytes; /* 1: U8 */
    int lines; /* rows when it goes across, columns when it goes down */
    int down;
};

static unsigned char filter_bytes(const unsigned char *x, ptrdiff_t step, const int32_t *weights, int count)
{
    int64_t sum = 1 << (FIXED_BITS - 1);
    for (int i = 0; i < count; i++)
        sum += (int64_t)weights[i] * x[i * step];
    sum >>= FIXED_BITS;
    return (unsigned char)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static float filter_floats(const float *x, ptrdiff_t step, const double *weights, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += x[i * step] * weights[i];
    return (float)sum;
}

static void run_plane(void *work, int plane, int worker)
{
    const struct pass *pass = work;
    const struct axis *axis = pass->axis;
    const ptrdiff_t lines = pass->lines, step = pass->down ? lines : 1;
    const ptrdiff_t in_line = pass->down ? 1 : axis->in, out_line = pass->down ? 1 : axis->out;
    const ptrdiff_t in_plane = lines * axis->in * plane, out_plane = lines * axis->out * plane;
    struct dfi_float_mode mode;
    (void)worker;
    dfi_float_enter(&mode, 0);
    for (ptrdiff_t line = 0; line < lines; line++)
        for (int at = 0; at < axis->out; at++) {
            const struct span span = axis->spans[at];
            const size_t weights = (size_t)at * (size_t)axis->room;
            const ptrdiff_t from = in_plane + line * in_line + span.first * step;
            const ptrdiff_t to = out_plane + line * out_line + at * step;
            if (pass->bytes)
                ((unsigned char *)pass->out)[to] = filter_bytes((const unsigned char *)pass->in + from, step,
                                                                axis->fixed + weights, span.count);
            else
                ((float *)pass->out)[to] = filter_floats((const float *)pass->in + from, step,
                                                         axis->weights + weights, span.count);
        }
    dfi_float_leave(&mode);
}

/* Every size but the last two is a plane. */
static int like_with(const struct diffc_tensor *image, int64_t height, int64_t width,
                     struct diffc_tensor **tensor)
{
    int64_t shape[DIFFC_MAX_DIMS];
    memcpy(shape, image->shape, sizeof(shape));
    shape[image->ndim - 2] = height;
    shape[image->ndim - 1] = width;
    return dfi_tensor_create(image->object.context, image->dtype, image->ndim, shape, tensor);
}

/* Across, then down, as Pillow goes; an axis that keeps its size is left alone. */
static int run(const struct diffc_tensor *image, const struct axis axes[2], struct diffc_tensor *across,
               struct diffc_tensor *resized)
{
    struct diffc_context *context = image->object.context;
    const int planes = (int)(dfi_tensor_count(image) / axes[0].in / axes[1].in);
    struct pass pass = { .axis = &axes[1],
                         .in = image->data,
                         .out = across->data,
                         .bytes = image->dtype == DIFFC_U8,
                         .lines = axes[0].in };
    if (axes[1].in != axes[1].out)
        DFI_TRY(dfi_parallel(context, run_plane, &pass, planes));
    else
        dfi_tensor_copy(image, across);
    pass = (struct pass) { .axis = &axes[0],
                           .in = across->data,
                           .out = resized->data,
                           .bytes = pass.bytes,
                           .lines = axes[1].out,
                           .down = 1 };
    if (axes[0].in != axes[0].out)
        return dfi_parallel(context, run_plane, &pass, planes);
    dfi_tensor_copy(across, resized);
    return dfi_cancel_take(context);
}

static int contiguous_of(const struct diffc_tensor *image, struct diffc_tensor **plain)
{
    DFI_TRY(dfi_tensor_create(image->object.context, image->dtype, image->ndim, image->shape, plain));
    dfi_tensor_copy(image, *plain);
    return DIFFC_OK;
}

int dfi_image_resize(const struct diffc_tensor *image, int height, int width,
                     const struct dfi_resize_method *method, struct diffc_tensor **resized)
{
    struct diffc_context *context = image->object.context;
    const int h = (int)image->shape[image->ndim - 2], w = (int)image->shape[image->ndim - 1];
    struct axis axes[2] = { { 0 }, { 0 } };
    struct diffc_tensor *plain = NULL, *across = NULL, *made = NULL;
    int status = dfi_tensor_is_contiguous(image) ? DIFFC_OK : contiguous_of(image, &plain);
    if (status == DIFFC_OK)
        status = make_axis(context, method, h, height, &axes[0]);
    if (status == DIFFC_OK)
        status = make_axis(context, method, w, width, &axes[1]);
    if (status == DIFFC_OK)
        status = like_with(image, h, width, &across);
    if (status == DIFFC_OK)
        status = like_with(image, height, width, &made);
    if (status == DIFFC_OK)
        status = run(plain ? plain : image, axes, across, made);
    free_axis(context, &axes[0]);
    free_axis(context, &axes[1]);
    dfi_release(plain);
    dfi_release(across);
    if (status == DIFFC_OK)
        *resized = made;
    else
        dfi_release(made);
    return status;
}
