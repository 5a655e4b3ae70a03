#include "guide/guide.h"

#include <string.h>

/* Hands the tensors back; the list of queries stays. */
static void drop_tensors(struct diffc_guide *guide)
{
    for (int i = 0; i < guide->made; i++) {
        dfi_release(guide->queries[i].out);
        guide->queries[i].out = NULL;
    }
    guide->made = 0;
}

static void destroy(void *handle)
{
    struct diffc_guide *guide = handle;
    drop_tensors(guide);
    dfi_free(guide->object.context, guide->queries);
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

static int grow_list(struct diffc_guide *guide, int count)
{
    if (count <= guide->capacity)
        return DIFFC_OK;
    const size_t size = sizeof(*guide->queries);
    diffc_query *queries = dfi_realloc(guide->object.context, guide->queries, (size_t)guide->capacity * size,
                                       (size_t)count * size);
    if (!queries)
        return DIFFC_ERR_NOMEM;
    memset(queries + guide->capacity, 0, (size_t)(count - guide->capacity) * size);
    guide->queries = queries;
    guide->capacity = count;
    return DIFFC_OK;
}

/* Tensors for the outputs of `count` queries, kept until the shape changes. */
static int reserve(struct diffc_guide *guide, int count, const int64_t shape[4])
{
    if (memcmp(guide->shape, shape, sizeof(guide->shape)) != 0) {
        drop_tensors(guide);
        memcpy(guide->shape, shape, sizeof(guide->shape));
    }
    DFI_TRY(grow_list(guide, count));
    for (; guide->made < count; guide->made++)
        DFI_TRY(
            dfi_tensor_create(guide->object.context, DIFFC_F32, 4, shape, &guide->queries[guide->made].out));
    return DIFFC_OK;
}

static const char *text_of(int status)
{
    return status < 0 ? diffc_status_name(status) : "a positive status";
}

/* A status from a callback, with the message that belongs to it, if it left one. */
static int check_callback(int status, const char *who, int step)
{
    if (status == DIFFC_OK)
        return DIFFC_OK;
    const int failure = status < 0 ? status : DIFFC_ERR_ARG;
    if (dfi_message()[0] == '\0')
        return dfi_fail(failure, "step %d: the %s returned %s (%d)", step, who, text_of(status), status);
    return dfi_fail_in(failure, "step %d: the %s failed", step, who);
}

/* What is in the message now is no callback's. */
static void forget_message(void)
{
    dfi_fail(DIFFC_OK, "%s", "");
}

static int predict(const diffc_denoiser *denoiser, int step, const float *t, const diffc_query *queries,
                   int count)
{
    forget_message();
    return check_callback(denoiser->predict(denoiser->opaque, t, queries, count), "denoiser", step);
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

static int ask(struct diffc_guide *guide, const diffc_denoiser *denoiser, int step, const float *t,
               const struct diffc_tensor *x, int count, struct diffc_tensor *out)
{
    const diffc_combiner *combiner = &guide->combiner;
    diffc_query *queries = guide->queries;
    for (int i = 0; i < count; i++) {
        queries[i].x = NULL;
        queries[i].condition = 0;
    }
    forget_message();
    DFI_TRY(check_callback(combiner->expand(combiner->opaque, step, x, queries, count), "combiner's expand",
                           step));
    DFI_TRY(check_queries(guide, count, x));
    DFI_TRY(predict(denoiser, step, t, queries, count));
    forget_message();
    return check_callback(combiner->combine(combiner->opaque, step, queries, count, out),
                          "combiner's combine", step);
}

int dfi_guide_predict(struct diffc_guide *guide, const diffc_denoiser *denoiser, int step, const float *t,
                      const struct diffc_tensor *x, struct diffc_tensor *out)
{
    if (!guide) {
        const diffc_query query = { .x = x, .out = out, .condition = 0 };
        return predict(denoiser, step, t, &query, 1);
    }
    const int count = guide->combiner.query_count(guide->combiner.opaque, step);
    if (count < 1 || count > DFI_MAX_QUERIES)
        return dfi_fail(count < 0 ? count : DIFFC_ERR_CONFIG,
                        "step %d: the combiner's query_count gave %d, must be 1 to %d", step, count,
                        DFI_MAX_QUERIES);
    DFI_TRY(reserve(guide, count, out->shape));
    return ask(guide, denoiser, step, t, x, count, out);
}
