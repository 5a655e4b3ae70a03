/* Batches: which samples, what is drawn for each, and where that goes in the plan's inputs. */

#include <string.h>

#include "base/random.h"
#include "train/trainer.h"

/* The random numbers of one sample: they depend on the seed and on its place in the run, never on the batch.
 */
struct draw {
    uint64_t noise_stream;
    uint32_t time, dropout;
};

static struct draw draw_at(const struct dfi_batch *batch, int64_t index, int i)
{
    struct draw draw = { 0, 0, 0 };
    uint32_t words[4];
    if (batch->evaluates) {
        draw.noise_stream = dfi_stream(DFI_STREAM_EVALUATE, 2 * (uint64_t)index);
        dfi_philox(batch->seed, dfi_stream(DFI_STREAM_EVALUATE, 2 * (uint64_t)index + 1), 0, words);
        draw.time = words[0];
        return draw;
    }
    const uint64_t counter = (uint64_t)(batch->epoch * batch->dataset->count + batch->first + i);
    draw.noise_stream = dfi_stream(DFI_STREAM_NOISE, counter);
    dfi_philox(batch->seed, dfi_stream(DFI_STREAM_TIME, 0), counter, words);
    draw.time = words[0];
    dfi_philox(batch->seed, dfi_stream(DFI_STREAM_DROPOUT, 0), counter, words);
    draw.dropout = words[0];
    return draw;
}

static int64_t sample_at(const struct dfi_batch *batch, int i)
{
    const uint64_t position = (uint64_t)(batch->first + i);
    if (batch->evaluates)
        return (int64_t)position;
    return (int64_t)dfi_permute(batch->seed, dfi_stream(DFI_STREAM_SHUFFLE, (uint64_t)batch->epoch),
                                (uint64_t)batch->dataset->count, position);
}

/* Everything that can fail, on the calling thread and in order: the user's function runs here. */
static int choose_samples(struct diffc_trainer *trainer, const struct dfi_batch *batch)
{
    const size_t values = dfi_dataset_values(batch->dataset);
    const int classes = trainer->model->config.classes;
    const int uses_labels = trainer->config.objective->classifies || trainer->model->loss_values.cls >= 0;
    for (int i = 0; i < batch->count; i++) {
        const int64_t index = sample_at(batch, i);
        int32_t *label = &trainer->labels[i];
        trainer->indices[i] = index;
        *label = 0;
        if (batch->dataset->read)
            DFI_TRY(dfi_dataset_read(batch->dataset, index, trainer->images + (size_t)i * values, label));
        else
            *label = dfi_dataset_label(batch->dataset, index);
        if (uses_labels && (*label < 0 || *label >= classes))
            return dfi_fail(DIFFC_ERR_FORMAT, "sample %lld has label %d, must be 0 to %d", (long long)index,
                            (int)*label, classes - 1);
    }
    return DIFFC_OK;
}

/* [C, H, W] into the channels-last pixels of sample n. */
static void put_image(const struct dfi_block *block, int n, const float *image)
{
    const size_t pixels = (size_t)block->h * (size_t)block->w;
    float *out = (float *)block->data + n * block->sample_stride;
    for (int c = 0; c < block->c; c++)
        for (size_t p = 0; p < pixels; p++)
            out[(ptrdiff_t)p * block->ld + c] = image[(size_t)c * pixels + p];
}

static void put_one_hot(const struct dfi_block *block, int n, int label)
{
    float *out = (float *)block->data + n * block->sample_stride;
    memset(out, 0, (size_t)block->c * sizeof(*out));
    if (label >= 0)
        out[label] = 1;
}

struct job {
    struct diffc_trainer *trainer;
    const struct dfi_batch *batch;
    struct dfi_block x, t, cls, target;
};

static void make_sample(void *work, int i, int worker)
{
    const struct job *job = work;
    const struct diffc_trainer *trainer = job->trainer;
    const struct dfi_objective *objective = trainer->config.objective;
    const struct diffc_dataset *dataset = job->batch->dataset;
    const size_t values = dfi_dataset_values(dataset);
    const struct draw draw = draw_at(job->batch, trainer->indices[i], i);
    float *x = trainer->images + (size_t)i * values, *e = trainer->noise + (size_t)i * values;
    (void)worker;
    if (!dataset->read)
        dfi_dataset_image(dataset, trainer->indices[i], x);
    if (objective->noisy)
        dfi_normal_fill(job->batch->seed, draw.noise_stream, 0, e, values);
    const float t = objective->make(&trainer->constants, draw.time, x, e, values);
    put_image(&job->x, i, x);
    if (objective->classifies)
        put_one_hot(&job->target, i, trainer->labels[i]);
    else
        put_image(&job->target, i, e);
    if (job->t.data)
        ((float *)job->t.data)[i * job->t.sample_stride] = t;
    if (job->cls.data) {
        const int dropped = !job->batch->evaluates &&
                            dfi_class_dropped(trainer->config.class_dropout, draw.dropout);
        put_one_hot(&job->cls, i, dropped ? -1 : trainer->labels[i]);
    }
}

static struct dfi_block block_of(const struct dfi_exec *exec, int value)
{
    return value < 0 ? (struct dfi_block) { .data = NULL } : dfi_exec_value(exec, value);
}

int dfi_batch_load(struct diffc_trainer *trainer, const struct dfi_batch *batch)
{
    const struct dfi_model_values *values = &trainer->model->loss_values;
    struct dfi_batch part = *batch;
    int first;
    if (values->text >= 0)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED,
                        "data sets have no text for an if_unet: diffc_trainer_gradients() takes it");
    part.count = dfi_exec_share(trainer->exec, batch->count, &first);
    part.first += first;
    DFI_TRY(choose_samples(trainer, &part));
    struct job job = { trainer,
                       &part,
                       block_of(trainer->exec, values->x),
                       block_of(trainer->exec, values->t),
                       block_of(trainer->exec, values->cls),
                       block_of(trainer->exec, values->target) };
    return dfi_parallel(trainer->object.context, make_sample, &job, part.count);
}
