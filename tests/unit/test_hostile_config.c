/* JSON files of a model's folder: rows J of the table of hostile inputs that hold for all of them. */

#include "hostile_files.h"

enum reader { UNET, TEXT_ENCODER, SCHEDULER, INDEX, READERS };

static const struct {
    const char *name, *text;
} files[READERS] = {
    { "config.json",
      "{\"_class_name\":\"UNet2DConditionModel\",\"sample_size\":8,\"in_channels\":6,\"out_channels\":6,"
      "\"block_out_channels\":[16,32],\"layers_per_block\":[1,1],\"norm_num_groups\":8,\"norm_eps\":1e-05,"
      "\"down_block_types\":[\"ResnetDownsampleBlock2D\",\"SimpleCrossAttnDownBlock2D\"],"
      "\"up_block_types\":[\"SimpleCrossAttnUpBlock2D\",\"ResnetUpsampleBlock2D\"],"
      "\"mid_block_type\":\"UNetMidBlock2DSimpleCrossAttn\",\"cross_attention_dim\":32,\"act_fn\":\"gelu\","
      "\"encoder_hid_dim\":8,\"addition_embed_type\":\"text\",\"addition_embed_type_num_heads\":2,"
      "\"attention_head_dim\":8,\"only_cross_attention\":[true,false],\"dropout\":0.0,"
      "\"class_embed_type\":null,\"resnet_time_scale_shift\":\"scale_shift\"}" },
    { "config.json",
      "{\"model_type\":\"t5\",\"d_model\":8,\"d_kv\":4,\"d_ff\":16,\"num_layers\":1,\"num_heads\":2,"
      "\"vocab_size\":100,\"relative_attention_num_buckets\":32,\"relative_attention_max_distance\":128,"
      "\"layer_norm_epsilon\":1e-06,\"feed_forward_proj\":\"gated-gelu\"}" },
    { "scheduler_config.json",
      "{\"_class_name\":\"DPMSolverMultistepScheduler\",\"beta_schedule\":\"squaredcos_cap_v2\","
      "\"num_train_timesteps\":1000,\"prediction_type\":\"epsilon\",\"thresholding\":true,"
      "\"dynamic_thresholding_ratio\":0.95,\"sample_max_value\":1.5,\"variance_type\":\"learned_range\","
      "\"lambda_min_clipped\":-Infinity,\"trained_betas\":null}" },
    { "model.safetensors.index.json",
      "{\"metadata\":{\"total_size\":1},\"weight_map\":{\"a\":\"model-00001-of-00001.safetensors\"}}" },
};

static int read_folder(diffc_context *context, enum reader reader, void **handle)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_sampler_options steps = DIFFC_SAMPLER_OPTIONS;
    diffc_model *model = NULL;
    diffc_sampler *sampler = NULL;
    diffc_archive *archive = NULL;
    int64_t bytes = 0;
    int status = DIFFC_OK;
    options.without_weights = 1;
    steps.steps = 10;
    switch (reader) {
    case UNET:
        status = diffc_model_open(context, io_folder, &options, &model);
        *handle = model;
        break;
    case TEXT_ENCODER: status = diffc_text_encoder_bytes(context, io_folder, NULL, &bytes); break;
    case SCHEDULER:
        status = diffc_sampler_open(context, io_folder, &steps, &sampler);
        *handle = sampler;
        break;
    default: status = diffc_archive_open(context, io_folder, NULL, &archive); *handle = archive;
    }
    return status;
}

/* A folder in which all but the file at hand is right. */
static void begin(void)
{
    struct bytes weights = make_safetensors(ONE("\"U8\"", "[1]", "[0,1]"), 1);
    io_empty_folder();
    bytes_save(&weights, io_path("model-00001-of-00001.safetensors"));
    bytes_free(&weights);
}

static int is_expected(enum reader reader, int status)
{
    return status == DIFFC_ERR_FORMAT || status == DIFFC_ERR_CONFIG || status == DIFFC_ERR_UNSUPPORTED ||
           status == DIFFC_ERR_LIMIT || (reader == INDEX && status == DIFFC_ERR_IO);
}

static void check_damaged(enum reader reader, const struct bytes *file, int must_fail)
{
    void *handle = NULL;
    const long live = io_memory.live;
    const double start = hostile_now();
    bytes_save(file, io_path(files[reader].name));
    const int status = read_folder(io_context, reader, &handle);
    if (status == DIFFC_OK ? must_fail : !is_expected(reader, status) || handle)
        fail_msg("%.*s: %s: %s", (int)file->size, (char *)file->data, diffc_status_name(status),
                 diffc_message());
    if (status < 0 && (strchr(diffc_message(), '\n') || !strstr(diffc_message(), io_folder)))
        fail_msg("%.*s: message \"%s\"", (int)file->size, (char *)file->data, diffc_message());
    diffc_release(&handle);
    assert_int_equal(io_memory.live, live);
    assert_true(hostile_now() - start < 1);
    hostile_cases++;
}

/* Ends at every byte, and every bit turned. */
static void test_damage(void **state)
{
    (void)state;
    for (int reader = UNET; reader < READERS; reader++) {
        struct bytes file = text_file(files[reader].text, strlen(files[reader].text));
        const size_t whole = file.size;
        begin();
        check_damaged((enum reader)reader, &file, 0);
        for (file.size = 0; file.size < whole; file.size++)
            check_damaged((enum reader)reader, &file, 1);
        for (size_t bit = 0; bit < 8 * whole; bit++) {
            file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            check_damaged((enum reader)reader, &file, 0);
            file.data[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        bytes_free(&file);
    }
}

/* J1 through each reader: line and column, under the name of the file. */
static void test_j1_syntax(void **state)
{
    static const char *const wrong[] = { "{\"a\":\n1,}", "{\n'a':1}", "{\"a\":\n01}", "{\"a\":\nNaN}",
                                         "{\"a\":1,\n\"a\":2}" };
    (void)state;
    for (int reader = UNET; reader < READERS; reader++) {
        begin();
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
            struct bytes file = text_file(wrong[i], strlen(wrong[i]));
            char place[128];
            void *handle = NULL;
            bytes_save(&file, io_path(files[reader].name));
            bytes_free(&file);
            assert_int_equal(read_folder(io_context, (enum reader)reader, &handle), DIFFC_ERR_FORMAT);
            snprintf(place, sizeof(place), "%s/%s: line 2, column ", io_folder, files[reader].name);
            if (!strstr(diffc_message(), place))
                fail_msg("no \"%s\" in \"%s\"", place, diffc_message());
        }
    }
}

/* A file that is too large, no file at all, or none that can be read: at once, and never blocking. */
static void test_no_file(void **state)
{
    (void)state;
    for (int reader = UNET; reader < INDEX; reader++) {
        void *handle = NULL;
        begin();
        const char *path = io_path(files[reader].name);
        assert_int_equal(mkfifo(path, 0600), 0);
        assert_int_equal(read_folder(io_context, (enum reader)reader, &handle), DIFFC_ERR_IO);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(read_folder(io_context, (enum reader)reader, &handle), DIFFC_ERR_IO);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(symlink("nowhere", path), 0);
        assert_int_equal(read_folder(io_context, (enum reader)reader, &handle), DIFFC_ERR_IO);
        assert_int_equal(unlink(path), 0);
        struct bytes file = text_file(files[reader].text, strlen(files[reader].text));
        bytes_fill(&file, ' ', (1 << 20) - file.size);
        for (int over = 0; over < 2; over++) {
            bytes_save(&file, path);
            assert_int_equal(read_folder(io_context, (enum reader)reader, &handle),
                             over ? DIFFC_ERR_LIMIT : DIFFC_OK);
            diffc_release(&handle);
            bytes_fill(&file, ' ', 1);
        }
        bytes_free(&file);
    }
}

/* A kilobyte that asks for tens of thousands of layers. */
static void test_j4_layers(void **state)
{
    char text[4096] = "", down[1024] = "", up[1024] = "", channels[256] = "", heads[256] = "", only[256] = "";
    void *handle = NULL;
    (void)state;
    for (int i = 0; i < 8; i++) {
        const char *comma = i ? "," : "";
        snprintf(down + strlen(down), sizeof(down) - strlen(down), "%s\"SimpleCrossAttnDownBlock2D\"", comma);
        snprintf(up + strlen(up), sizeof(up) - strlen(up), "%s\"SimpleCrossAttnUpBlock2D\"", comma);
        snprintf(channels + strlen(channels), sizeof(channels) - strlen(channels), "%s16", comma);
        snprintf(heads + strlen(heads), sizeof(heads) - strlen(heads), "%s8", comma);
        snprintf(only + strlen(only), sizeof(only) - strlen(only), "%strue", comma);
    }
    begin();
    snprintf(
        text, sizeof(text),
        "{\"_class_name\":\"UNet2DConditionModel\",\"sample_size\":1024,\"in_channels\":6,\"out_channels\":6,"
        "\"block_out_channels\":[%s],\"layers_per_block\":64,\"norm_num_groups\":8,"
        "\"down_block_types\":[%s],\"up_block_types\":[%s],"
        "\"mid_block_type\":\"UNetMidBlock2DSimpleCrossAttn\",\"cross_attention_dim\":32,\"act_fn\":\"gelu\","
        "\"encoder_hid_dim\":8,\"addition_embed_type\":\"text\",\"addition_embed_type_num_heads\":2,"
        "\"attention_head_dim\":[%s],\"only_cross_attention\":[%s],"
        "\"resnet_time_scale_shift\":\"scale_shift\"}",
        channels, down, up, heads, only);
    struct bytes file = text_file(text, strlen(text));
    bytes_save(&file, io_path("config.json"));
    bytes_free(&file);
    assert_int_equal(read_folder(io_context, UNET, &handle), DIFFC_ERR_LIMIT);
    assert_non_null(strstr(diffc_message(), "layers_per_block: 512 layers"));
    assert_null(handle);
}

static void keep_line(void *opaque, int level, const char *line)
{
    (void)level;
    snprintf(opaque, 200, "%s", line);
}

/* J2: a key that nobody knows is told to the log. */
static void test_j2_unknown_key(void **state)
{
    char line[200] = "", text[2048];
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    diffc_context *context = NULL;
    void *handle = NULL;
    (void)state;
    options.log = keep_line;
    options.log_opaque = line;
    options.log_level = DIFFC_LOG_INFO;
    assert_int_equal(diffc_context_create(&options, &context), DIFFC_OK);
    begin();
    snprintf(text, sizeof(text), "{\"brand_new_key\":[{}],%s", files[UNET].text + 1);
    struct bytes file = text_file(text, strlen(text));
    bytes_save(&file, io_path("config.json"));
    bytes_free(&file);
    assert_int_equal(read_folder(context, UNET, &handle), DIFFC_OK);
    assert_non_null(strstr(line, "config.json: key \"brand_new_key\" is not known"));
    diffc_release(&handle);
    diffc_release(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),         cmocka_unit_test(test_j1_syntax),
        cmocka_unit_test(test_no_file),        cmocka_unit_test(test_j4_layers),
        cmocka_unit_test(test_j2_unknown_key),
    };
    return cmocka_run_group_tests(tests, hostile_setup, hostile_teardown);
}
