#ifndef TESTS_TEXT_MODEL_H
#define TESTS_TEXT_MODEL_H

/* A text encoder folder with the weights of deterministic.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <diffc/diffc.h>

#include "deterministic.h"
#include "io/json.h"
#include "model/t5.h"
#include "tensor/tensor.h"

#define TINY_T5 \
    "{\"model_type\":\"t5\",\"architectures\":[\"T5EncoderModel\"],\"d_model\":32,\"d_kv\":16,\"d_ff\":80," \
    "\"num_layers\":3,\"num_heads\":4,\"vocab_size\":%d,\"relative_attention_num_buckets\":32," \
    "\"relative_attention_max_distance\":128,\"layer_norm_epsilon\":1e-06," \
    "\"feed_forward_proj\":\"gated-gelu\",\"dropout_rate\":0.1,\"is_encoder_decoder\":false," \
    "\"pad_token_id\":0,\"eos_token_id\":1,\"tie_word_embeddings\":false}"

static inline struct dfi_t5_config tiny_t5(int vocabulary)
{
    struct dfi_t5_config config = { 0 };
    struct json_t *root = NULL;
    const struct dfi_json_limits limits = { 8, 100, 100 };
    char text[1024];
    snprintf(text, sizeof(text), TINY_T5, vocabulary);
    if (dfi_json_parse("tiny", text, strlen(text), &limits, &root) ||
        dfi_t5_config_read(root, "tiny", &config))
        abort();
    dfi_json_free(root);
    return config;
}

static inline int write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return -1;
    const int status = fputs(text, file) < 0;
    return fclose(file) || status ? -1 : 0;
}

/* All tensors of the encoder in an archive; dtypes[i % count] is that of tensor i. */
static inline int tiny_t5_archive(diffc_context *context, int vocabulary, const int *dtypes, int count,
                                  diffc_archive **archive)
{
    const struct dfi_t5_config config = tiny_t5(vocabulary);
    struct dfi_params params;
    struct dfi_graph *graph = NULL;
    struct dfi_t5_values values;
    dfi_params_init(&params, context, DIFFC_F32);
    int status = dfi_graph_create(context, &params, &graph);
    if (status == DIFFC_OK) {
        dfi_t5_build(graph, &config, 77, &values);
        status = dfi_graph_finish(graph);
    }
    if (status == DIFFC_OK)
        status = diffc_archive_create(context, archive);
    for (int i = 0; i < params.count && status == DIFFC_OK; i++) {
        const struct dfi_param *param = &params.list[i];
        diffc_tensor *made = NULL, *stored = NULL;
        status = diffc_tensor_create(context, DIFFC_F32, param->ndim, param->shape, &made);
        if (status == DIFFC_OK) {
            dt_weights(param->name, param->ndim, param->shape, diffc_tensor_data(made), param->count);
            status = diffc_tensor_convert(made, dtypes[i % count], &stored);
        }
        if (status == DIFFC_OK)
            status = diffc_archive_add(*archive, param->name, stored);
        diffc_release(&stored);
        diffc_release(&made);
    }
    dfi_graph_destroy(graph);
    dfi_params_clear(&params);
    return status;
}

/* FOLDER/config.json and FOLDER/model.safetensors. */
static inline int tiny_t5_folder(diffc_context *context, const char *folder, int vocabulary,
                                 const int *dtypes, int count)
{
    diffc_archive *archive = NULL;
    char path[1024], text[1024];
    (void)mkdir(folder, 0777);
    snprintf(text, sizeof(text), TINY_T5, vocabulary);
    snprintf(path, sizeof(path), "%s/config.json", folder);
    int status = write_text(path, text) ? DIFFC_ERR_IO : DIFFC_OK;
    if (status == DIFFC_OK)
        status = tiny_t5_archive(context, vocabulary, dtypes, count, &archive);
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    if (status == DIFFC_OK)
        status = diffc_archive_save(archive, path);
    diffc_release(&archive);
    return status;
}

#endif
