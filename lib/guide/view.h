#ifndef DFI_GUIDE_VIEW_H
#define DFI_GUIDE_VIEW_H

#include <diffc/guidance.h>

#include "base/registry.h"
#include "tensor/tensor.h"

/* A view of the library is a permutation of pixels with one sign: seen[p] = sign x[map[p]]. */
struct dfi_view_rule {
    struct dfi_entry entry;
    double parameter, low, high; /* default, smallest and largest; all 0: the view has none */
    int whole;                   /* 1: the parameter is a whole number */
    int seed_bits;               /* 0: takes no seed */
    float sign;
    /* Writes the map for h x w pixels, or fails with a message why there is none. NULL: the identity. */
    int (*fill)(const struct diffc_view *view, int h, int w, int32_t *map);
};

struct diffc_view {
    struct dfi_object object;
    const struct dfi_view_rule *rule; /* NULL: of the caller's */
    double parameter;
    uint64_t seed;
    int64_t h, w; /* size of what follows; 0: none yet */
    int32_t *map; /* [h * w] */

    diffc_view_functions own;
    char *own_name;
    int64_t channels;          /* that it was tried with */
    struct diffc_tensor *sign; /* [1, 1, h, w]: what is seen of ones, if that is 1 or -1 everywhere; NULL: a
                                  map that mixes pixels, which variances do not follow */
    struct diffc_tensor *room[2]; /* for its callbacks */
};

/* Some channels of a batch of pictures. */
struct dfi_planes {
    float *data; /* of the first sample */
    int64_t samples, channels, h, w;
    int64_t stride; /* floats from sample to sample */
};

static inline struct dfi_planes dfi_planes_of(const struct diffc_tensor *tensor, int64_t first, int64_t count)
{
    const int64_t *shape = tensor->shape, pixels = shape[2] * shape[3];
    return (struct dfi_planes) {
        (float *)tensor->data + first * pixels, shape[0], count, shape[2], shape[3], shape[1] * pixels,
    };
}

#define DFI_OWN_TOLERANCE 1e-4 /* of the norm: what rounding may do in a caller's function */

/* An F32 tensor of this shape, kept in *kept from call to call. */
int dfi_guide_room(struct diffc_context *context, const int64_t shape[4], struct diffc_tensor **kept);

void dfi_planes_copy(const struct dfi_planes *from, const struct dfi_planes *to);

enum dfi_view_way { DFI_VIEW_APPLY, DFI_VIEW_INVERT, DFI_VIEW_INVERT_VARIANCE };

const struct dfi_entry *dfi_view_entry(int index);

int dfi_view_new(struct diffc_context *context, const char *name, const diffc_view_options *options,
                 struct diffc_view **view);
int dfi_view_new_own(struct diffc_context *context, const diffc_view_functions *functions,
                     struct diffc_view **view);

/* Makes a view ready for a size: its map, or the trial of a caller's functions. */
int dfi_view_bind(struct diffc_view *view, int64_t channels, int64_t h, int64_t w);

/* Planes of one size, bound before; the memory must differ. */
int dfi_view_run(struct diffc_view *view, enum dfi_view_way way, const struct dfi_planes *from,
                 const struct dfi_planes *to);

/* view_maps.c, jigsaw.c */
extern const struct dfi_view_rule dfi_view_rules[];
extern const int dfi_view_rule_count;
int dfi_view_fill_jigsaw(const struct diffc_view *view, int h, int w, int32_t *map);

#endif
