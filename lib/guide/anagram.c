#include <string.h>

#include "guide/guide.h"

/* Several views of one picture (Geng, Park, Owens, "Visual Anagrams", 2024): each is predicted as it is seen,
 * the predictions are turned back and reduced. */

enum reduction { MEAN, SUM, ALTERNATE };

static const struct dfi_entry reductions[] = {
    /* in the order of enum reduction */
    { "mean", "the mean of all views" },
    { "sum", "the sum of all views, variances their mean" },
    { "alternate", "one view a step, in turn" },
};

struct anagram {
    struct diffc_context *context; /* not kept: the guide keeps it */
    struct diffc_guide *inner;
    enum reduction reduction;
    int count;
    diffc_view *views[DFI_MAX_VIEWS];
    int32_t conditions[DFI_MAX_VIEWS];
    struct diffc_tensor *seen[DFI_MAX_VIEWS]; /* x in each view */
    struct diffc_tensor *part, *turned;       /* one view's prediction, and turned back */
};

const struct dfi_entry *dfi_reduction_entry(int index)
{
    return index >= 0 && index < DFI_COUNT(reductions) ? &reductions[index] : NULL;
}

/* Views first .. first + result - 1 are asked at a step. */
static int views_at(const struct anagram *anagram, int step, int *first)
{
    const int turn = step % anagram->count;
    *first = anagram->reduction != ALTERNATE ? 0 : turn < 0 ? turn + anagram->count : turn;
    return anagram->reduction == ALTERNATE ? 1 : anagram->count;
}

/* A view of the caller's is tried with pictures, and may mix their channels: it takes nothing else. */
static int check_group(const struct diffc_view *view, int64_t channels, int32_t image_channels)
{
    return view->rule || channels == image_channels
               ? DIFFC_OK
               : dfi_fail(DIFFC_ERR_CONFIG, "view \"%s\" takes %d channels at once, not the %lld left over",
                          view->own_name, (int)image_channels, (long long)channels);
}

static int look(struct anagram *anagram, int view, const struct diffc_tensor *x, int32_t image_channels)
{
    const int64_t *shape = x->shape;
    struct diffc_view *at = anagram->views[view];
    DFI_TRY(dfi_view_bind(at, image_channels, shape[2], shape[3]));
    DFI_TRY(dfi_guide_room(anagram->context, x->shape, &anagram->seen[view]));
    for (int64_t first = 0; first < shape[1];
         first += image_channels) { /* the picture, then what conditions */
        const int64_t channels = shape[1] - first < image_channels ? shape[1] - first : image_channels;
        const struct dfi_planes from = dfi_planes_of(x, first, channels);
        const struct dfi_planes to = dfi_planes_of(anagram->seen[view], first, channels);
        DFI_TRY(check_group(at, channels, image_channels));
        DFI_TRY(dfi_view_run(at, DFI_VIEW_APPLY, &from, &to));
    }
    return DIFFC_OK;
}

/* Adds the prediction in `part` to out, turned back. */
static int collect(struct anagram *anagram, int view, int32_t channels, int is_first,
                   struct diffc_tensor *out)
{
    struct diffc_view *at = anagram->views[view];
    const int64_t more = out->shape[1] - channels;
    const struct dfi_planes part = dfi_planes_of(anagram->part, 0, channels);
    const struct dfi_planes turned = dfi_planes_of(anagram->turned, 0, channels);
    const struct dfi_planes variance = dfi_planes_of(anagram->part, channels, more);
    const struct dfi_planes turned_variance = dfi_planes_of(anagram->turned, channels, more);
    const struct dfi_planes all = dfi_planes_of(anagram->turned, 0, out->shape[1]);
    const struct dfi_planes total = dfi_planes_of(out, 0, out->shape[1]);
    DFI_TRY(dfi_view_run(at, DFI_VIEW_INVERT, &part, &turned));
    if (more > 0 && at->sign) /* else they stay as they are */
        DFI_TRY(check_group(at, more, channels));
    if (more > 0)
        DFI_TRY(dfi_view_run(at, DFI_VIEW_INVERT_VARIANCE, &variance, &turned_variance));
    dfi_planes_add(&all, &total, is_first);
    return DIFFC_OK;
}

static void reduce(const struct anagram *anagram, int32_t channels, struct diffc_tensor *out)
{
    const int first = anagram->reduction == SUM ? channels : 0; /* variances are a mean in any case */
    const struct dfi_planes planes = dfi_planes_of(out, first, out->shape[1] - first);
    if (anagram->reduction != ALTERNATE)
        dfi_planes_divide(&planes, (float)anagram->count);
}

static int query_count(void *opaque, int step)
{
    const struct anagram *anagram = opaque;
    int first;
    const int views = views_at(anagram, step, &first), each = dfi_inner_count(anagram->inner, step);
    return each < 0 || each > DFI_MAX_QUERIES ? each : views * each;
}

static int expand(void *opaque, int step, const diffc_tensor *x, diffc_query *queries, int count)
{
    struct anagram *anagram = opaque;
    int first;
    const int views = views_at(anagram, step, &first), each = count / views;
    for (int i = first; i < first + views; i++, queries += each) {
        DFI_TRY(look(anagram, i, x, queries[0].image_channels));
        DFI_TRY(
            dfi_inner_expand(anagram->inner, step, anagram->conditions[i], anagram->seen[i], queries, each));
    }
    return DIFFC_OK;
}

static int reserve_parts(struct anagram *anagram, const struct diffc_tensor *out)
{
    DFI_TRY(dfi_guide_room(anagram->context, out->shape, &anagram->part));
    return dfi_guide_room(anagram->context, out->shape, &anagram->turned);
}

static int combine(void *opaque, int step, const diffc_query *queries, int count, diffc_tensor *out)
{
    struct anagram *anagram = opaque;
    const int32_t channels = queries[0].image_channels;
    int first;
    const int views = views_at(anagram, step, &first), each = count / views;
    DFI_TRY(reserve_parts(anagram, out));
    for (int i = 0; i < views; i++) {
        DFI_TRY(dfi_inner_combine(anagram->inner, step, queries + i * each, each, anagram->part));
        DFI_TRY(collect(anagram, first + i, channels, i == 0, out));
    }
    reduce(anagram, channels, out);
    return DIFFC_OK;
}

/* For inner guides that keep something from expand to combine, or have too many queries. */
static int in_turn(void *opaque, const struct dfi_ask *ask)
{
    struct anagram *anagram = opaque;
    int first;
    const int views = views_at(anagram, ask->step, &first);
    DFI_TRY(reserve_parts(anagram, ask->out));
    for (int i = first; i < first + views; i++) {
        struct dfi_ask one = *ask;
        DFI_TRY(look(anagram, i, ask->x, ask->image_channels));
        one.x = anagram->seen[i];
        one.out = anagram->part;
        one.base = dfi_condition_from(ask->base, anagram->conditions[i]);
        DFI_TRY(dfi_guide_predict(anagram->inner, &one));
        DFI_TRY(collect(anagram, i, ask->image_channels, i == first, ask->out));
    }
    reduce(anagram, ask->image_channels, ask->out);
    return DIFFC_OK;
}

static void release(void *opaque)
{
    struct anagram *anagram = opaque;
    for (int i = 0; i < anagram->count; i++) {
        dfi_release(anagram->views[i]);
        dfi_release(anagram->seen[i]);
    }
    dfi_release(anagram->part);
    dfi_release(anagram->turned);
    dfi_release(anagram->inner);
    dfi_free(anagram->context, anagram);
}

int dfi_guide_new_views(struct diffc_context *context, diffc_view *const *views, const int32_t *conditions,
                        int count, const char *reduction, struct diffc_guide *inner,
                        struct diffc_guide **guide)
{
    const struct dfi_entry *rule = dfi_registry_find(reductions, sizeof(*rule), DFI_COUNT(reductions),
                                                     "reduction", reduction);
    if (!rule)
        return DIFFC_ERR_ARG;
    struct anagram *anagram = dfi_calloc(context, 1, sizeof(*anagram));
    if (!anagram)
        return DIFFC_ERR_NOMEM;
    anagram->context = context;
    anagram->reduction = (enum reduction)(rule - reductions);
    anagram->inner = inner ? dfi_retain(inner) : NULL;
    anagram->count = count;
    for (int i = 0; i < count; i++) {
        anagram->views[i] = dfi_retain(views[i]);
        anagram->conditions[i] = conditions ? conditions[i] : i;
    }
    const diffc_combiner combiner = { sizeof(combiner), query_count, expand, combine, release, anagram };
    const int status = dfi_guide_new(context, &combiner, guide);
    if (status < 0) {
        release(anagram);
        return status;
    }
    (*guide)->together = dfi_inner_is_plain(inner);
    (*guide)->in_turn = in_turn;
    return DIFFC_OK;
}
