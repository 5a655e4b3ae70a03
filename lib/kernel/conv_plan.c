#include <diffc/tensor.h>
#include <string.h>

#include "kernel/conv_plan.h"

size_t dfi_conv_element(const struct dfi_conv *conv)
{
    return conv->dtype == DIFFC_F64 ? sizeof(double) : sizeof(float);
}

int dfi_conv_list_shifts(const struct dfi_conv *conv, int scatters, int phase, int *position, int *shift)
{
    int count = 0;
    if (scatters) {
        for (int k = conv->kernel - 1; k >= 0; k--)
            if ((phase + conv->padding - k) % conv->stride == 0) {
                position[count] = k;
                shift[count++] = (phase + conv->padding - k) / conv->stride;
            }
    } else {
        for (int k = 0; k < conv->kernel; k++) {
            position[count] = k;
            shift[count++] = k - conv->padding;
        }
    }
    return count;
}

struct dfi_conv_plan dfi_conv_plan_make(const struct dfi_conv *conv, enum dfi_conv_pass pass)
{
    const int backward = pass == DFI_CONV_BACKWARD_DATA;
    struct dfi_conv_plan plan = { .scatters = conv->transposed != backward,
                                  .src_h = backward ? conv->out_h : conv->in_h,
                                  .src_w = backward ? conv->out_w : conv->in_w,
                                  .src_c = backward ? conv->cout : conv->cin,
                                  .dst_h = backward ? conv->in_h : conv->out_h,
                                  .dst_w = backward ? conv->in_w : conv->out_w,
                                  .dst_c = backward ? conv->cin : conv->cout,
                                  .src = backward ? conv->out : conv->in,
                                  .dst = backward ? conv->in : conv->out,
                                  .src_step = 1,
                                  .dst_step = 1,
                                  .dots = conv->dots[pass] };
    int position[DFI_CONV_MAX_KERNEL], shift[DFI_CONV_MAX_KERNEL], found = 0;
    *(plan.scatters ? &plan.dst_step : &plan.src_step) = conv->stride;
    for (int phase = 0; phase < plan.dst_step; phase++) {
        const int count = dfi_conv_list_shifts(conv, plan.scatters, phase, position, shift);
        if (count > 0) {
            plan.low = found && plan.low < shift[0] ? plan.low : shift[0];
            plan.high = found && plan.high > shift[count - 1] ? plan.high : shift[count - 1];
            found = 1;
        }
    }
    plan.base_h = (plan.dst_h + plan.dst_step - 1) / plan.dst_step;
    plan.base_w = (plan.dst_w + plan.dst_step - 1) / plan.dst_step;
    return plan;
}

struct dfi_conv_plan dfi_conv_plan_gather(const struct dfi_conv *conv)
{
    struct dfi_conv_plan plan = dfi_conv_plan_make(conv, conv->transposed ? DFI_CONV_BACKWARD_DATA
                                                                          : DFI_CONV_FORWARD);
    plan.dots = conv->dots[DFI_CONV_BACKWARD_WEIGHTS];
    return plan;
}

int dfi_conv_dw_row(const struct dfi_conv_plan *plan)
{
    return (plan->dst_c + DFI_CONV_DW_GRAIN - 1) / DFI_CONV_DW_GRAIN * DFI_CONV_DW_GRAIN;
}

void dfi_conv_list_taps(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, int phase_y,
                        int phase_x, struct dfi_conv_taps *taps)
{
    int position_y[DFI_CONV_MAX_KERNEL], shift_y[DFI_CONV_MAX_KERNEL];
    int position_x[DFI_CONV_MAX_KERNEL], shift_x[DFI_CONV_MAX_KERNEL];
    const int count_y = dfi_conv_list_shifts(conv, plan->scatters, phase_y, position_y, shift_y);
    const int count_x = dfi_conv_list_shifts(conv, plan->scatters, phase_x, position_x, shift_x);
    taps->count = 0;
    for (int a = 0; a < count_y; a++)
        for (int b = 0; b < count_x; b++) {
            taps->position[taps->count] = position_y[a] * conv->kernel + position_x[b];
            taps->shift_y[taps->count] = shift_y[a];
            taps->shift_x[taps->count++] = shift_x[b];
        }
}

int dfi_conv_packed_width(const struct dfi_conv_plan *plan)
{
    return (plan->base_w - 1) * plan->src_step + plan->high - plan->low + 1;
}

int dfi_conv_packed_rows(const struct dfi_conv_plan *plan, int base_rows)
{
    return (base_rows - 1) * plan->src_step + plan->high - plan->low + 1;
}

int dfi_conv_stays_inside(const struct dfi_conv_plan *plan)
{
    return plan->low >= 0 && (plan->base_h - 1) * plan->src_step + plan->high < plan->src_h &&
           (plan->base_w - 1) * plan->src_step + plan->high < plan->src_w;
}

/* Values of pixels as the products want them. */
static void load_values(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, const void *x,
                        ptrdiff_t ldx, void *target, size_t pixels)
{
    const int c = plan->src_c, flat = ldx == c, n = flat ? (int)pixels * c : c;
    const size_t bytes = (size_t)n * sizeof(uint16_t), rows = flat ? 1 : pixels;
    if (!plan->dots)
        plan->src->load_pixels(x, ldx, target, c, rows, n);
    else if (plan->src->pixel != sizeof(uint16_t))
        conv->kernels->bf16->store_pixels(x, ldx, target, c, rows, n);
    else
        for (size_t p = 0; p < rows; p++)
            memcpy((char *)target + p * bytes, dfi_conv_pixel(plan->src, x, (ptrdiff_t)p * ldx), bytes);
}

void dfi_conv_pack_rows(const struct dfi_conv *conv, const struct dfi_conv_plan *plan, const void *x,
                        ptrdiff_t ldx, int first, int rows, char *packed)
{
    const size_t pixel = (size_t)dfi_conv_factors(plan) * dfi_conv_element(conv);
    const int width = dfi_conv_packed_width(plan);
    const int from = plan->low < 0 ? 0 : plan->low, border = from - plan->low;
    const int left = border < width ? border : width;
    int count = plan->src_w - from < width - left ? plan->src_w - from : width - left;
    if (count < 0)
        count = 0;
    for (int row = first; row < first + rows; row++, packed += (size_t)width * pixel) {
        if (row < 0 || row >= plan->src_h || count == 0) {
            memset(packed, 0, (size_t)width * pixel);
            continue;
        }
        const void *source = dfi_conv_pixel(plan->src, x, ((ptrdiff_t)row * plan->src_w + from) * ldx);
        char *target = packed + (size_t)left * pixel;
        memset(packed, 0, (size_t)left * pixel);
        load_values(conv, plan, source, ldx, target, (size_t)count);
        memset(target + (size_t)count * pixel, 0, (size_t)(width - left - count) * pixel);
    }
}
