#ifndef DFI_MODEL_IF_CONFIG_H
#define DFI_MODEL_IF_CONFIG_H

#include "io/json.h"
#include "kernel/kernels.h"

#define DFI_IF_LEVELS 16

/* What unet/config.json says about a UNet2DConditionModel of the DeepFloyd IF family, checked and with
 * the defaults of diffusers filled in. Lists are in the order of the levels, largest image first. */
struct dfi_if_config {
    int sample_height, sample_width; /* 0: none given */
    int in_channels, out_channels;
    int levels;
    int channels[DFI_IF_LEVELS], layers[DFI_IF_LEVELS];
    int head_width[DFI_IF_LEVELS]; /* on the way down; the way up takes the list from its start, not reversed
                                    */
    int attends_down[DFI_IF_LEVELS], attends_up[DFI_IF_LEVELS];
    int only_cross[DFI_IF_LEVELS], mid_only_cross;
    enum dfi_act act;
    int norm_groups;
    double norm_epsilon;
    int text_width, cross_width;   /* of the text states, and within attention */
    int projects_text, pools_text; /* encoder_hid_proj, add_embedding */
    int pool_heads;
    int norms_text; /* cross_attention_norm */
    int classes;    /* class_embed_type "timestep" */
    int time_width;
    int cosine_first;
    double frequency_shift;
    enum dfi_act time_act; /* DFI_ACT_NONE: none */
    int scale_shift, skip_time_act;
    double resnet_divisor, mid_divisor;
    double dropout; /* that it was trained with: not applied */
};

/* `path` begins the messages. ERR_CONFIG for values that make no sense, ERR_UNSUPPORTED for those that this
 * family does not have, ERR_LIMIT for those that are too large; each names the key. */
int dfi_if_config_read(const struct json_t *root, const char *path, struct dfi_if_config *config);

/* The same from text. */
int dfi_if_config_parse(const char *text, const char *path, struct dfi_if_config *config);

/* 1 for keys that are read or known to have no effect. */
int dfi_if_config_knows(const char *key);

/* Channels of the picture that such a network denoises: the input may carry a second picture beside it. */
int dfi_if_sample_channels(const struct dfi_if_config *config);

#endif
