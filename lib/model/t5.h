#ifndef DFI_MODEL_T5_H
#define DFI_MODEL_T5_H

#include <diffc/text.h>

#include "io/archive.h"
#include "io/json.h"
#include "nn/exec.h"

/* What text_encoder/config.json says about a T5 encoder, checked and with the defaults
 * of T5Config. */
struct dfi_t5_config {
    int d_model, d_kv, d_ff, layers, heads, vocabulary;
    int buckets, max_distance;
    double epsilon;
    enum dfi_act act;
    int gated;
};

/* `path` begins the messages. ERR_CONFIG, ERR_UNSUPPORTED, ERR_LIMIT; each names the key. */
int dfi_t5_config_read(const struct json_t *root, const char *path, struct dfi_t5_config *config);

struct dfi_t5_values {
    int ids;    /* input [1, 1, tokens] */
    int mask;   /* input [tokens, 1, 1]: 1 for a token, 0 for padding; -1: none */
    int places; /* input [1, 1, 1]: where in its prompt a token stands; -1: none */
    int spans;  /* input [2, 1, 1] of dfi_attention(); -1: none */
    int out;    /* [d_model, 1, tokens]: last_hidden_state */
};

/* A sample is a prompt of `tokens`, padding included. */
void dfi_t5_build(struct dfi_graph *graph, const struct dfi_t5_config *config, int tokens,
                  struct dfi_t5_values *values);

/* A sample is one token, of prompts of at most `length`. For inference. */
void dfi_t5_build_rows(struct dfi_graph *graph, const struct dfi_t5_config *config, int length,
                       struct dfi_t5_values *values);

struct diffc_text_encoder {
    struct dfi_object object;
    struct dfi_t5_config config;
    struct diffc_archive *weights; /* what the parameters point into */
    struct dfi_params params;
    struct dfi_graph *graph;
    struct dfi_t5_values values;
    struct dfi_exec *exec;
    int length, batch;
};

struct dfi_text_encoder_config {
    int length, batch, map, finite;
    const char *variant;
    enum dfi_precision precision;
};

int dfi_text_encoder_open(struct diffc_context *context, const char *folder,
                          const struct dfi_text_encoder_config *config, struct diffc_text_encoder **encoder);

/* Bytes of the weights' files and of the plan, without loading any. */
int dfi_text_encoder_bytes(struct diffc_context *context, const char *folder,
                           const struct dfi_text_encoder_config *config, uint64_t *bytes);

/* ids [count][length], of which used[i] are no padding; states [count][length][d_model]. */
int dfi_text_encoder_run(struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                         int count, float *states);

#endif
