#include "guide/guide.h"

#include <string.h>

/* Hands the tensors back; the lists stay. */
static void drop_tensors(struct diffc_guide *guide)
{
    for (int i = 0; i < guide->made; i++) {
        dfi_release(guide->outs[i]);
        guide->outs[i] = NULL;
    }
    guide->made = 0;
}

static void destroy(void *handle)
{
    struct diffc_guide *guide = handle;
    struct diffc_context *context = guide->object.context;
    drop_tensors(guide);
    dfi_free(context, guide->queries);
    dfi_free(context, guide->asked);
    dfi_free(context, guide->outs);
    if (guide->combiner.release)
        guide->combiner.release(guide->combiner.opaque);
    dfi_object_free(guide);
}

int dfi_guide_new(struct diffc_context *context, const diffc_combiner *combiner, struct diffc_guide **guide)
{
    struct diffc_guide *made = dfi_object_new(context, sizeof(*made), destroy);
    if (!made)
        return DIFFC_ERR_NOMEM;
    made->combiner = *combiner;
    *guide = made;
    return DIFFC_OK;
}

int dfi_denoiser_read(const diffc_denoiser *source, diffc_denoiser *denoiser)
{
    DFI_TRY(dfi_options_read(denoiser, sizeof(*denoiser), source, "denoiser"));
    if (!denoiser->predict)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.predict is NULL");
    if (denoiser->out_channels < 0)
        return dfi_fail(DIFFC_ERR_ARG, "denoiser.out_channels is %d, must be at least 1, or 0 for those of x",
                        (int)denoiser->out_channels);
    if (denoiser->image_channels < 0)
        return dfi_fail(DIFFC_ERR_ARG,
                        "denoiser.image_channels is %d, must be at least 1, or 0 for those of x",
                        (int)denoiser->image_channels);
    return DIFFC_OK;
}

static int grow_lists(struct diffc_guide *guide, int count)
{
    struct diffc_context *context = guide->object.context;
    if (count <= guide->capacity)
        return DIFFC_OK;
    drop_tensors(guide);
    dfi_free(context, guide->queries);
    dfi_free(context, guide->asked);
    dfi_free(context, guide->outs);
    guide->queries = dfi_calloc(context, (size_t)count, sizeof(*guide->queries));
    guide->asked = dfi_calloc(context, (size_t)count, sizeof(*guide->asked));
    guide->outs = dfi_calloc(context, (size_t)count, sizeof(*guide->outs));
    guide->capacity = guide->queries && guide->asked && guide->outs ? count : 0;
    return guide->capacity ? DIFFC_OK : DIFFC_ERR_NOMEM;
}

/* Tensors for the outputs of `count` queries, kept until the shape changes. */
static int reserve(struct diffc_guide *guide, int count, const int64_t shape[4])
{
    if (memcmp(guide->shape, shape, sizeof(guide->shape)) != 0) {
        drop_tensors(guide);
        memcpy(guide->shape, shape, sizeof(guide->shape));
    }
    DFI_TRY(grow_lists(guide, count));
    for (; guide->made < count; guide->made++)
        DFI_TRY(dfi_tensor_create(guide->object.context, DIFFC_F32, 4, shape, &guide->outs[guide->made]));
    return DIFFC_OK;
}

static int check_callback(int status, const char *who, int step)
{
    return status == DIFFC_OK ? DIFFC_OK : dfi_callback_failed(status, "step %d: the %s", step, who);
}

static int predict(const struct dfi_ask *ask, const diffc_query *queries, int count)
{
    const diffc_denoiser *denoiser = ask->denoiser;
    dfi_forget_message();
    return check_callback(denoiser->predict(denoiser->opaque, ask->t, queries, count), "denoiser", ask->step);
}

static int check_queries(const struct diffc_guide *guide, int count, const struct diffc_tensor *x)
{
    const int64_t shape[4] = { x->shape[0], -1, -1, -1 };
    for (int i = 0; i < count; i++) {
        if (!guide->queries[i].x)
            return dfi_fail(DIFFC_ERR_CONFIG, "the combiner's expand set no x for query %d of %d", i, count);
        DFI_TRY(dfi_tensor_expect(guide->queries[i].x, "x of a query", 4, shape));
    }
    return DIFFC_OK;
}

static void reset_queries(struct diffc_guide *guide, int count, int32_t image_channels)
{
    for (int i = 0; i < count; i++)
        guide->queries[i] = (diffc_query) { .out = guide->outs[i], .image_channels = image_channels };
}

/* Lists what has to be predicted: hybrid images ask for the unconditional prediction once, not once for each
 * of their components. */
static int list_asked(struct diffc_guide *guide, int count)
{
    diffc_query *queries = guide->queries;
    int asked = 0;
    for (int i = 0; i < count; i++) {
        int same = 0;
        if (guide->plain)
            while (same < asked && (guide->asked[same].x != queries[i].x ||
                                    guide->asked[same].condition != queries[i].condition))
                same++;
        else
            same = asked;
        if (same == asked)
            guide->asked[asked++] = queries[i];
        else
            queries[i].out = guide->asked[same].out;
    }
    return asked;
}

static int ask_all(struct diffc_guide *guide, const struct dfi_ask *ask, int count)
{
    const diffc_combiner *combiner = &guide->combiner;
    diffc_query *queries = guide->queries;
    reset_queries(guide, count, ask->image_channels);
    dfi_forget_message();
    DFI_TRY(check_callback(combiner->expand(combiner->opaque, ask->step, ask->x, queries, count),
                           "combiner's expand", ask->step));
    DFI_TRY(check_queries(guide, count, ask->x));
    for (int i = 0; i < count; i++)
        queries[i].condition = dfi_condition_from(ask->base, queries[i].condition);
    DFI_TRY(predict(ask, guide->asked, list_asked(guide, count)));
    dfi_forget_message();
    return check_callback(combiner->combine(combiner->opaque, ask->step, queries, count, ask->out),
                          "combiner's combine", ask->step);
}

int dfi_guide_predict(struct diffc_guide *guide, const struct dfi_ask *ask)
{
    if (!guide) {
        const diffc_query query = {
            .x = ask->x, .out = ask->out, .condition = ask->base, .image_channels = ask->image_channels
        };
        return predict(ask, &query, 1);
    }
    if (guide->in_turn && !guide->together)
        return guide->in_turn(guide->combiner.opaque, ask);
    dfi_forget_message();
    const int count = guide->combiner.query_count(guide->combiner.opaque, ask->step);
    if (guide->in_turn && count > DFI_MAX_QUERIES)
        return guide->in_turn(guide->combiner.opaque, ask);
    if (count < 0)
        return check_callback(count, "combiner's query_count", ask->step);
    if (count < 1 || count > DFI_MAX_QUERIES)
        return dfi_fail(DIFFC_ERR_CONFIG, "step %d: the combiner's query_count gave %d, must be 1 to %d",
                        ask->step, count, DFI_MAX_QUERIES);
    DFI_TRY(reserve(guide, count, ask->out->shape));
    return ask_all(guide, ask, count);
}
