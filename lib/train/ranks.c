/* What several ranks do together besides the sums of lib/nn: see that they are alike, and become alike. */

#include "io/reader.h"
#include "train/trainer.h"

#include <string.h>

struct fingerprint {
    uint32_t kernels, weights;
};

static struct fingerprint fingerprint_of(const struct diffc_trainer *trainer)
{
    const struct diffc_context *context = trainer->object.context;
    const struct dfi_params *params = &trainer->model->params;
    struct fingerprint print;
    print.kernels = dfi_crc32(0, context->kernel_set, strlen(context->kernel_set));
    print.kernels = dfi_crc32(print.kernels, &context->cpu_flags, sizeof(context->cpu_flags));
    const char *config = trainer->model->json ? trainer->model->json : "";
    print.weights = dfi_crc32(0, config, strlen(config));
    print.weights = dfi_crc32(print.weights, params->values, params->value_count * sizeof(float));
    print.weights = dfi_crc32(print.weights, params->stats, params->stat_count * sizeof(float));
    return print;
}

/* A rank that differs goes on to the end, as the others do. */
static int compare_settings(struct diffc_trainer *trainer)
{
    struct dfi_comm *comm = &trainer->config.comm;
    char mine[DFI_SETTING_TEXT] = "", first[DFI_SETTING_TEXT];
    const char *key;
    int status = DIFFC_OK;
    for (int i = 0; dfi_train_setting(&trainer->config, i, &key, mine); i++) {
        memcpy(first, mine, sizeof(first));
        DFI_TRY(dfi_comm_broadcast(comm, first, sizeof(first)));
        if (status == DIFFC_OK && strcmp(first, mine) != 0)
            status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d has %s %s, rank 0 has %s", comm->rank, key, mine,
                              first);
    }
    return dfi_comm_agree(comm, status);
}

int dfi_ranks_compare(struct diffc_trainer *trainer)
{
    struct dfi_comm *comm = &trainer->config.comm;
    if (comm->size == 1)
        return DIFFC_OK;
    DFI_TRY(compare_settings(trainer));
    const struct fingerprint mine = fingerprint_of(trainer);
    struct fingerprint first = mine;
    DFI_TRY(dfi_comm_broadcast(comm, &first, sizeof(first)));
    int status = DIFFC_OK;
    if (first.kernels != mine.kernels)
        status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d has kernels %s, not those of rank 0 (see cpu_mask)",
                          comm->rank, trainer->object.context->kernel_set);
    else if (first.weights != mine.weights)
        status = dfi_fail(DIFFC_ERR_CONFIG, "rank %d has other weights, or another config.json, than rank 0",
                          comm->rank);
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
    dfi_trainer_name_objective(trainer);
    trainer->has_gradients = trainer->has_statistics = 0;
    dfi_exec_refresh(trainer->exec);
    return DIFFC_OK;
}
