#ifndef DFI_KERNEL_KERNELS_H
#define DFI_KERNEL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* The table of kernels. A kernel is one thread's work on raw memory: it cannot fail and does not allocate.
 * Data pointers are void because the same table serves float (plain C, AVX2, AVX-512) and double (plain C:
 * the oracle of gradient checks). Pixels are rows of C values, `ld` elements apart (channels-last, so a slice
 * of a wider buffer needs no copy). A table of floats has a sibling for pixels that are stored in bfloat16:
 * what is called pixels below is, there, of that type, everything else and all arithmetic stays float. Every
 * size may be any number >= 0, every pointer has the alignment of its element only. */

enum dfi_act { DFI_ACT_NONE = 0, DFI_ACT_GELU, DFI_ACT_SILU, DFI_ACT_RELU, DFI_ACT_GELU_TANH };

/* A convolution seen as a list of taps: y[p][o] = bias[o] + sum over taps t and channels i of
 * x[base(p) + offset[t] + i] * w[t][i][o], for width x rows output pixels p. The input is packed so that no
 * tap leaves it. Each output value is one chain of fused multiply-adds in the order taps, channels, or with
 * at most DFI_NARROW output channels a few chains: the same bits wherever the tile borders lie. */
struct dfi_winograd;

struct dfi_taps_args {
    const void *x;            /* base of output pixel (0, 0) */
    ptrdiff_t x_pixel, x_row; /* elements between the bases of neighbours in a row, in a column */
    int taps;
    const ptrdiff_t *offset; /* [taps] elements */
    int cin, cout;
    const void *w;    /* [ceil(cout / block)][taps][cin][block], zero behind cout; block = dfi_taps_block() */
    const void *bias; /* [cout] or NULL */
    void *y;
    ptrdiff_t y_pixel, y_row;
    int width, rows;
    int accumulate; /* 1: y += */
};

/* Its gradient by the weights: dw[t][i][o] += sum over p of x[base(p) + offset[t] + at(i)] * dy[p][o]. The
 * channels of x lie in panels of P = DFI_TAPS_DW_PANEL: at(i) = i / P * x_panel + i % P; with x_panel = P
 * they follow each other. */
#define DFI_TAPS_DW_PANEL 6
struct dfi_taps_dw_args {
    const void *x;
    ptrdiff_t x_pixel, x_row, x_panel;
    int taps;
    const ptrdiff_t *offset;
    int cin, cout;
    const void *dy;
    ptrdiff_t dy_pixel, dy_row;
    int width, rows;
    void *dw; /* [taps][cin][ldw] */
    /* At least cout and a multiple of conv_block: whole vectors may be read and written (zeros stay zeros).
     */
    ptrdiff_t ldw;
};

/* Images seen as tiles of m x m pixels (kernel/winograd.h), numbered along rows, images one after the other.
 */
struct dfi_tiles {
    void *data;                  /* pixels; what is only read is not changed */
    ptrdiff_t pixel, row, image; /* elements from neighbour to neighbour */
    int images;                  /* in memory: image n lies where n % images does */
    int h, w;                    /* pixels outside read as zero and are not written */
    int y0, x0;                  /* of the first tile's first pixel */
    int across, per_image;       /* tiles */
};

/* Tiles first .. first + count - 1 between pixels and transformed values: value p of tile i, channel c lies
 * at values[(i / G) * group + (i % G) * tile + p * position + c] for groups of G = DFI_WINOGRAD_TILES. With
 * panels, c / panel * panel_step + c % panel takes the place of c: panel is 0 (none), a multiple of
 * winograd_grain, or at least `channels`. */
#define DFI_WINOGRAD_TILES 6

/* Values are stored as they are, in bfloat16, or in bfloat16 with those of tiles 2 i and 2 i + 1 side by side
 * (zeros behind the last tile): a pair is one element, and all are one group. */
enum dfi_winograd_store { DFI_WINOGRAD_FLOATS, DFI_WINOGRAD_BF16, DFI_WINOGRAD_TWINS };

struct dfi_winograd_args {
    const struct dfi_winograd *scheme;
    struct dfi_tiles tiles;
    int first, count, channels;
    void *values;
    ptrdiff_t position, tile, group;
    /* of the input and the gradient */
    enum dfi_winograd_store store;
    int panel;
    ptrdiff_t panel_step;
    /* of the output: pixels = act((value + base) * scale + bias); scale and bias [channels] or NULL */
    const void *scale, *bias;
    enum dfi_act act;
    struct dfi_tiles base; /* may be the output itself; data NULL: nothing is added */
};

/* Where number i lies, `width` side by side in a panel, panels `step` apart. */
static inline ptrdiff_t dfi_in_panels(ptrdiff_t i, ptrdiff_t width, ptrdiff_t step)
{
    return i / width * step + i % width;
}

static inline ptrdiff_t dfi_winograd_channel(const struct dfi_winograd_args *args, int c)
{
    return args->panel ? dfi_in_panels(c, args->panel, args->panel_step) : c;
}

/* Memory that will be wanted soon: `count` runs of `bytes`, `step` bytes apart. */
struct dfi_prefetch {
    const void *from;
    ptrdiff_t step;
    int count, bytes;
};

/* c[block][group][position][6][width] (+)= a[group][position][6][k] * b[block][position][k][width]; width is
 * a multiple of winograd_grain, at most winograd_block. */
struct dfi_winograd_multiply_args {
    const void *a;
    ptrdiff_t a_group, a_position, a_tile;
    const void *b;
    ptrdiff_t b_block, b_position;
    void *c;
    ptrdiff_t c_block, c_group, c_position;
    int positions, blocks, groups, k, width;
    int accumulate;              /* 0: c is only written */
    struct dfi_prefetch next[2]; /* fetched little by little beside the products */
};

/* Attention of one head: y[query] = sum over keys of softmax(scale * q k' + bias) v, for at most
 * DFI_ATTEND_QUERIES queries. Keys come in one or two parts. A key takes part where its mask is over 0 (all
 * do if none is). A query has the same bits alone as among others. */
#define DFI_ATTEND_QUERIES 64
struct dfi_attend_args {
    const void *q; /* rows of c, ldq apart */
    ptrdiff_t ldq;
    int queries, c, value_c;
    struct dfi_attend_keys {
        const void *k, *v; /* rows of c, and of value_c */
        ptrdiff_t ldk, ldv;
        int count;
    } part[2];
    double scale;
    const void *bias; /* [queries][keys], rows ldb apart; NULL: none */
    ptrdiff_t ldb;
    const void *mask; /* [keys]; NULL: none */
    void *y;          /* rows of value_c */
    ptrdiff_t ldy;
    void *scratch; /* dfi_attend_scratch() values */
};

static inline size_t dfi_attend_scratch(int keys, int c, int value_c)
{
    return DFI_ATTEND_QUERIES * ((size_t)keys + (size_t)c + 2 * (size_t)value_c);
}

/* c[position][rows][width] (+)= sum over tiles of a[position][panel][tile][a_width] times
 * b[position][panel][tile][b_width]: row i is number i % a_width of panel i / a_width, and so are columns.
 * a_width is a multiple of six, b_width of winograd_block if there are several panels. Rows are taken six at
 * a time: up to five more are read and written, without meaning. */
struct dfi_winograd_outer_args {
    const void *a;
    ptrdiff_t a_position, a_panel, a_width;
    const void *b;
    ptrdiff_t b_position, b_panel, b_width;
    void *c;
    ptrdiff_t c_position, ldc;
    int positions, tiles, rows, width;
    int accumulate; /* 0: c is only written */
    struct dfi_prefetch next[2];
};

struct dfi_adam_args {
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    double correction1, correction2; /* 1 - beta^step */
    int decoupled;                   /* 1: AdamW */
    double gradient_scale;           /* clipping */
};

/* K(name, isa, result, arguments): isa says which versions exist: C, or C_AVX2_AVX512; with PIXELS before it
 * there is one more of each for pixels in bfloat16, and of those with SIMD one for AVX-512 with BF16; DOTS is
 * C and AVX-512 with BF16, PIXELS_DOTS both for either type of pixels. From this list grow the prototypes,
 * the tables, the tests and the benchmark. */
#define DFI_KERNEL_LIST(K) \
    /* convolution */ \
    K(taps, C_AVX2_AVX512, void, (const struct dfi_taps_args *args)) \
    K(taps_dw, C_AVX2_AVX512, void, (const struct dfi_taps_dw_args *args)) \
    /* The same products of pairs of bfloat16, summed in float: a pair counts as one value of x, and of dy \
     * in taps_dw; w is [ceil(cout / block)][taps][cin][block][2]. pair_pixels makes y[p][i][2] of pixels a \
     * and b (b NULL: zeros). */ \
    K(taps_bf16, DOTS, void, (const struct dfi_taps_args *args)) \
    K(taps_dw_bf16, DOTS, void, (const struct dfi_taps_dw_args *args)) \
    K(pair_pixels, PIXELS_DOTS, void, \
      (const void *a, const void *b, ptrdiff_t ld, size_t pixels, int c, void *y)) \
    /* weights at w[o*w_out + i*w_in + position[t]] to the layout of dfi_taps_args.w, and an accumulator of \
     * taps_dw to gradient[o][i][t] (+ gradient if accumulate) */ \
    K(pack_weights, C, void, \
      (const void *w, ptrdiff_t w_out, ptrdiff_t w_in, const int *position, int taps, int cin, int cout, \
       int block, void *packed)) \
    K(unpack_gradient, C, void, \
      (const void *dw, ptrdiff_t ldw, int taps, int cin, int cout, void *gradient, int accumulate)) \
    /* weights as a file has them (diffc_dtype F32, F16, BF16), rows ld apart, to panel[k][width] of the \
     * table's own type: column r is row r, zero behind `rows` */ \
    K(widen_panel, C_AVX2_AVX512, void, \
      (const void *w, int dtype, ptrdiff_t ld, int rows, size_t k, int width, void *panel)) \
    /* Winograd: pixels to values (B^T d B), values to pixels (A^T M A), gradient pixels to values (A Y A^T) \
     */ \
    K(winograd_input, PIXELS_C_AVX2_AVX512, void, (const struct dfi_winograd_args *args)) \
    K(winograd_output, PIXELS_C_AVX2_AVX512, void, (const struct dfi_winograd_args *args)) \
    K(winograd_gradient, PIXELS_C_AVX2_AVX512, void, (const struct dfi_winograd_args *args)) \
    /* G g G^T of `count` filters, tap t at taps[t * tap + i], and its adjoint, added to taps[number[t] * \
     * tap + i] \
     */ \
    K(winograd_weights, C_AVX2_AVX512, void, \
      (const struct dfi_winograd *scheme, const void *taps, ptrdiff_t tap, void *values, ptrdiff_t position, \
       size_t count)) \
    K(winograd_weights_back, C_AVX2_AVX512, void, \
      (const struct dfi_winograd *scheme, const void *values, ptrdiff_t position, void *taps, \
       const int *number, ptrdiff_t tap, size_t count)) \
    K(winograd_multiply, C_AVX2_AVX512, void, (const struct dfi_winograd_multiply_args *args)) \
    K(winograd_outer, C_AVX2_AVX512, void, (const struct dfi_winograd_outer_args *args)) \
    /* The same products of bfloat16, summed in float. Values that a sum takes in follow each other in \
     * pairs: pair_rows makes y[r / 2][i][r % 2] = x[r][i] of `rows` rows of floats (a last odd one is \
     * paired with zeros), pairs of rows ldy apart. b is [k / 2][width][2] at each position, k even; panels \
     * of the outer product are [tiles / 2][a_width or b_width][2] (strides count pairs), tiles even. */ \
    K(winograd_multiply_bf16, DOTS, void, (const struct dfi_winograd_multiply_args *args)) \
    K(winograd_outer_bf16, DOTS, void, (const struct dfi_winograd_outer_args *args)) \
    K(pair_rows, DOTS, void, (const void *x, ptrdiff_t ldx, int rows, size_t n, void *y, ptrdiff_t ldy)) \
    /* y = x: pixels to values, and values to pixels */ \
    K(load_pixels, PIXELS_C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, size_t pixels, int c)) \
    K(store_pixels, PIXELS_C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, size_t pixels, int c)) \
    /* From here to affine2, x, y, dy, g and dx are pixels. */ \
    /* sums over pixels of x and, unless sum_squares is NULL, of x*x, added to double accumulators [c] */ \
    K(moments, PIXELS_C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, size_t pixels, int c, double *sum, double *sum_squares)) \
    /* the same of x - center[c] (one pixel): for values whose mean is far from zero */ \
    K(moments_about, PIXELS_C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, size_t pixels, int c, const void *center, double *sum, \
       double *sum_squares)) \
    /* y = act(x * scale[c] + shift[c]); scale NULL: 1, shift NULL: 0; y may be x */ \
    K(affine_act, PIXELS_C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, size_t pixels, int c, const void *scale, \
       const void *shift, enum dfi_act act)) \
    /* g = dy * act'(x * scale + shift); adds the sums over pixels of g and g*x to double accumulators [c] \
     * (either may be NULL); g may be dy */ \
    K(affine_act_backward, PIXELS_C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *g, ptrdiff_t ldg, size_t pixels, \
       int c, const void *scale, const void *shift, enum dfi_act act, double *sum_g, double *sum_gx)) \
    /* dx = a[c]*g + b[c]*x + d[c] (+ dx if accumulate); x with b, and d, may be NULL; dx may be g */ \
    K(affine2, PIXELS_C_AVX2_AVX512, void, \
      (const void *g, ptrdiff_t ldg, const void *x, ptrdiff_t ldx, void *dx, ptrdiff_t lddx, size_t pixels, \
       int c, const void *a, const void *b, const void *d, int accumulate)) \
    /* flat arrays */ \
    /* y = the n numbers of half precision (DIFFC_F16) or bfloat16 (DIFFC_BF16) at x */ \
    K(widen, C_AVX2_AVX512, void, (int dtype, const void *x, void *y, size_t n)) \
    K(axpby, C_AVX2_AVX512, void, \
      (size_t n, double a, const void *x, double b, void *y)) /* y = a x + b y; b = 0 does not read y */ \
    K(sum_squares, C_AVX2_AVX512, double, (const void *x, size_t n)) \
    K(adam, C_AVX2_AVX512, void, \
      (void *w, const void *gradient, void *m, void *v, size_t n, const struct dfi_adam_args *args)) \
    /* mean squared error pieces: returns sum (p - t)^2; dp = scale * (p - t) unless NULL */ \
    K(squared_error, C_AVX2_AVX512, double, \
      (const void *p, const void *t, void *dp, double scale, size_t n)) \
    /* sums `lanes` arrays, lane_stride elements apart, in the fixed tree of pairs; y = sum (+ y if \
     * accumulate) */ \
    K(tree_sum, C_AVX2_AVX512, void, \
      (const void *x, size_t lane_stride, int lanes, void *y, size_t n, int accumulate)) \
    /* rows of c values */ \
    K(softmax, C, void, (const void *x, void *y, size_t rows, int c)) \
    K(softmax_backward, C, void, (const void *y, const void *dy, void *dx, size_t rows, int c)) \
    /* y = (x - mean) / sqrt(variance + epsilon) * weight + bias of each row; backward: gradients of x (+ dx \
     * if accumulate), and of weight and bias, added to double accumulators [c] */ \
    K(layer_norm, C, void, \
      (const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, size_t rows, int c, const void *weight, \
       const void *bias, double epsilon)) \
    K(layer_norm_backward, C, void, \
      (const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *dx, ptrdiff_t lddx, size_t rows, \
       int c, const void *weight, double epsilon, int accumulate, double *dweight, double *dbias)) \
    /* rows of attention scores, in place: softmax(scale * x + bias) over the keys whose mask is over 0 (all \
     * if none is); bias (rows ldb apart) and mask [c] may be NULL. backward: dp = p * (dp - sum(p dp)) */ \
    K(attention_softmax, C_AVX2_AVX512, void, \
      (void *x, ptrdiff_t ldx, size_t rows, int c, double scale, const void *bias, ptrdiff_t ldb, \
       const void *mask)) \
    /* the whole of it for one head and a few queries: see struct dfi_attend_args */ \
    K(attend, C_AVX2_AVX512, void, (const struct dfi_attend_args *args)) \
    K(attention_softmax_backward, C_AVX2_AVX512, void, \
      (const void *p, ptrdiff_t ldp, void *dp, ptrdiff_t lddp, size_t rows, int c)) \
    /* y = x / sqrt(mean(x^2) + epsilon) * weight of each row; backward: gradients of x (+ dx if accumulate; \
     * dx may be NULL), and of weight, added to double accumulators [c] */ \
    K(rms_norm, C_AVX2_AVX512, void, \
      (const void *x, ptrdiff_t ldx, void *y, ptrdiff_t ldy, size_t rows, int c, const void *weight, \
       double epsilon)) \
    K(rms_norm_backward, C, void, \
      (const void *x, ptrdiff_t ldx, const void *dy, ptrdiff_t lddy, void *dx, ptrdiff_t lddx, size_t rows, \
       int c, const void *weight, double epsilon, int accumulate, double *dweight)) \
    /* y = act(a) * b of flat arrays; backward: da = dy * b * act'(a), db = dy * act(a), each added to if \
     * its flag says so, either may be NULL */ \
    K(gate, C_AVX2_AVX512, void, (const void *a, const void *b, void *y, size_t n, enum dfi_act act)) \
    K(gate_backward, C_AVX2_AVX512, void, \
      (const void *a, const void *b, const void *dy, void *da, void *db, size_t n, enum dfi_act act, \
       int accumulate_a, int accumulate_b)) \
    /* -sum t log softmax(x), summed over rows; dx = scale * (softmax(x) sum(t) - t) unless NULL */ \
    K(cross_entropy, C, double, (const void *x, const void *t, void *dx, double scale, size_t rows, int c)) \
    /* one image, k x k windows, stride k, channels-last, contiguous pixels ldx apart; of avg_pool x and dx \
     * are pixels, y and dy values */ \
    K(avg_pool, PIXELS_C, void, \
      (const void *x, ptrdiff_t ldx, void *y, int h, int w, int c, int kh, int kw)) \
    K(avg_pool_backward, PIXELS_C, void, \
      (const void *dy, void *dx, ptrdiff_t lddx, int h, int w, int c, int kh, int kw, int accumulate)) \
    K(max_pool, C, void, (const void *x, ptrdiff_t ldx, void *y, int h, int w, int c, int k)) \
    K(max_pool_backward, C, void, \
      (const void *x, ptrdiff_t ldx, const void *dy, void *dx, ptrdiff_t lddx, int h, int w, int c, int k, \
       int accumulate)) \
    /* one channel [h][w] with strides: separable filter of `size` (odd) taps, borders by reflection (-1 is \
     * 1); y is [h][w] contiguous and may be x; scratch: h*w values */ \
    K(blur, C, void, \
      (const void *x, ptrdiff_t x_row, ptrdiff_t x_pixel, void *y, int h, int w, const double *taps, \
       int size, void *scratch))

struct dfi_kernels {
    const char *name;                   /* "c", "avx2", "avx512", "double" */
    size_t pixel;                       /* bytes of an element of pixels */
    const struct dfi_kernels *bf16;     /* of floats: the table for pixels in bfloat16 */
    int conv_block;                     /* output channels per block of packed convolution weights */
    int winograd_block, winograd_grain; /* width of a block of transformed weights: at most, a multiple of */
    int winograd_panel; /* channels side by side in the source of an outer product: a multiple of six and of
                           winograd_grain */
    int dots;           /* 1: has instructions for products of bfloat16 */
    int narrow;         /* 1: up to DFI_NARROW output channels make blocks of one channel */
#define DFI_KERNEL_MEMBER(name, isa, result, arguments) result(*name) arguments;
    DFI_KERNEL_LIST(DFI_KERNEL_MEMBER)
#undef DFI_KERNEL_MEMBER
};

/* Blocks of packed weights for a convolution with `cout` output channels. */
#define DFI_NARROW 4
static inline int dfi_taps_block(const struct dfi_kernels *kernels, int cout)
{
    return kernels->narrow && cout <= DFI_NARROW ? 1 : kernels->conv_block;
}

/* The table for DIFFC_CPU_... flags; `dtype` DIFFC_F32 or DIFFC_F64 (plain C whatever the flags). Constant
 * tables: nothing is set up. */
const struct dfi_kernels *dfi_kernels_get(uint32_t cpu_flags, int dtype);

#endif
