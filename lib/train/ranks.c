/* What several ranks do together besides the sums of lib/nn: see that they are alike, and become alike. */

#include "io/reader.h"
#include "train/trainer.h"

#include <string.h>

struct fingerprint {
    uint32_t options, kernels, weights;
};

static uint32_t add_text(uint32_t crc, const char *text)
{
    return dfi_crc32(crc, text, strlen(text) + 1);
}

static struct fingerprint fingerprint_of(const struct diffc_trainer *trainer)
{
    const struct diffc_context *context = trainer->object.context;
    const struct dfi_params *params = &trainer->model->params;
    struct fingerprint print = { 0, 0, 0 };
    char value[DFI_SETTING_TEXT];
    const char *key;
    for (int i = 0; dfi_train_setting(&trainer->config, i, &key, value); i++)
        print.options = add_text(print.options, value);
    print.options = dfi_crc32(print.options, &trainer->config.tiles, sizeof(trainer->config.tiles));
    print.kernels = dfi_crc32(add_text(0, context->kernel_set), &context->cpu_flags,
                              sizeof(context->cpu_flags));
    print.weights = dfi_crc32(0, params->values, params->value_count * sizeof(float));
    print.weights = dfi_crc32(print.weights, params->stats, params->stat_count * sizeof(float));
    return print;
}

int dfi_ranks_compare(struct diffc_trainer *trainer)
{
    struct dfi_comm *comm = &trainer->config.comm;
    if (comm->size == 1)
        return DIFFC_OK;
    const struct fingerprint mine = fingerprint_of(trainer);
    struct fingerprint first = mine;
    DFI_TRY(dfi_comm_broadcast(comm, &first, sizeof(first)));
    const char *what = first.options != mine.options   ? "options"
                       : first.kernels != mine.kernels ? "kernels (see cpu_mask)"
                       : first.weights != mine.weights ? "weights"
                                                       : NULL;
    int status = DIFFC_OK;
    if (what)
        status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d has other %s than rank 0", comm->rank, what);
    return dfi_comm_agree(comm, status);
}

struct position {
    int64_t step, skipped;
    double loss, learning_rate, gradient_norm;
};

int dfi_ranks_share_state(struct diffc_trainer *trainer)
{
    struct dfi_comm *comm = &trainer->config.comm;
    const struct dfi_params *params = &trainer->model->params;
    const size_t values = params->value_count * sizeof(float), stats = params->stat_count * sizeof(float);
    struct position at = { trainer->step, trainer->skipped, trainer->loss, trainer->learning_rate,
                           trainer->gradient_norm };
    DFI_TRY(dfi_comm_broadcast(comm, &at, sizeof(at)));
    DFI_TRY(dfi_comm_broadcast(comm, params->values, values));
    DFI_TRY(dfi_comm_broadcast(comm, params->stats, stats));
    DFI_TRY(dfi_comm_broadcast(comm, trainer->m, values));
    DFI_TRY(dfi_comm_broadcast(comm, trainer->v, values));
    if (trainer->ema) {
        DFI_TRY(dfi_comm_broadcast(comm, trainer->ema, values));
        DFI_TRY(dfi_comm_broadcast(comm, trainer->ema_stats, stats));
    }
    trainer->step = at.step;
    trainer->skipped = at.skipped;
    trainer->loss = at.loss;
    trainer->learning_rate = at.learning_rate;
    trainer->gradient_norm = at.gradient_norm;
    trainer->has_gradients = trainer->has_statistics = 0;
    dfi_exec_refresh(trainer->exec);
    return DIFFC_OK;
}
