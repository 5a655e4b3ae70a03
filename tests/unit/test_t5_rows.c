/* The text encoder computes rows that repeat once: with the bits of a graph in which every place of a prompt
 * is a row, whatever the buckets, the lengths, the ids of the padding, the neighbours and the threads. */

#include "graph_case.h"
#include "io_case.h"
#include "nn/node.h"
#include "text_model.h"

#define WIDTH 32
#define LONG 300
#define PROMPTS 8

static const char bias_name[] = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";

/* The tiny encoder with another table of distances. */
static void write_folder(int buckets, int reach)
{
    static const int bf16[] = { DIFFC_BF16 };
    diffc_archive *archive = NULL, *changed = NULL;
    const int64_t shape[2] = { buckets, 4 };
    char text[1024];
    (void)mkdir(io_path("rows"), 0777);
    assert_int_equal(tiny_t5_archive(io_context, 100, bf16, 1, &archive), DIFFC_OK);
    assert_int_equal(diffc_archive_create(io_context, &changed), DIFFC_OK);
    for (int i = 0; i < diffc_archive_count(archive); i++) {
        const char *name = diffc_archive_name(archive, i);
        diffc_tensor *tensor = NULL;
        if (strcmp(name, bias_name) == 0) {
            assert_int_equal(diffc_tensor_create(io_context, DIFFC_F32, 2, shape, &tensor), DIFFC_OK);
            dt_weights(name, 2, shape, diffc_tensor_data(tensor), 4 * (size_t)buckets);
        } else {
            assert_int_equal(diffc_archive_get(archive, name, &tensor), DIFFC_OK);
        }
        assert_int_equal(diffc_archive_add(changed, name, tensor), DIFFC_OK);
        diffc_release(&tensor);
    }
    assert_int_equal(diffc_archive_save(changed, io_path("rows/model.safetensors")), DIFFC_OK);
    diffc_release(&changed);
    diffc_release(&archive);
    snprintf(text, sizeof(text),
             "{\"d_model\":32,\"d_kv\":16,\"d_ff\":80,\"num_layers\":3,\"num_heads\":4,\"vocab_size\":100,"
             "\"relative_attention_num_buckets\":%d,\"relative_attention_max_distance\":%d,"
             "\"feed_forward_proj\":\"gated-gelu\"}",
             buckets, reach);
    assert_int_equal(write_text(io_path("rows/config.json"), text), 0);
}

static diffc_text_encoder *open_encoder(struct diffc_context *context, int length, int batch,
                                        const char *precision)
{
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    diffc_text_encoder *encoder = NULL;
    options.length = length;
    options.batch = batch;
    options.precision = precision;
    if (diffc_text_encoder_open(context, io_path("rows"), &options, &encoder))
        fail_msg("%s", diffc_message());
    return encoder;
}

/* Over the parameters of an encoder. */
static void run_whole(struct diffc_text_encoder *encoder, const int32_t *ids, const int32_t *used,
                      float *states)
{
    const struct dfi_exec_options options = { .batch = 1,
                                              .conditions = 1,
                                              .precision = encoder->exec->options.precision };
    const int length = encoder->length;
    struct dfi_graph *graph = NULL;
    struct dfi_exec *exec = NULL;
    struct dfi_t5_values values;
    assert_int_equal(dfi_graph_create(encoder->object.context, &encoder->params, &graph), DIFFC_OK);
    dfi_t5_build(graph, &encoder->config, length, &values);
    assert_int_equal(dfi_graph_finish(graph), DIFFC_OK);
    assert_int_equal(dfi_exec_create(graph, &encoder->params, &options, &exec), DIFFC_OK);
    for (int n = 0; n < PROMPTS; n++) {
        for (int i = 0; i < length; i++) {
            ((float *)dfi_exec_value(exec, values.ids).data)[i] = (float)ids[n * length + i];
            ((float *)dfi_exec_value(exec, values.mask).data)[i] = i < used[n];
        }
        assert_int_equal(dfi_exec_forward(exec, 0), DIFFC_OK);
        memcpy(states + n * length * WIDTH, dfi_exec_value(exec, values.out).data,
               (size_t)(length * WIDTH) * sizeof(*states));
    }
    dfi_exec_destroy(exec);
    dfi_graph_destroy(graph);
}

/* The padding of the last two prompts is of several ids, in runs and not. */
static void make_prompts(int length, int32_t *ids, int32_t *used)
{
    static const int lengths[PROMPTS] = { 1, 2, 10, 15, 40, LONG, 1, 20 };
    for (int n = 0; n < PROMPTS; n++) {
        used[n] = lengths[n] < length ? lengths[n] : length;
        for (int i = 0; i < length; i++) {
            const int padding = n < PROMPTS - 2 ? 0 : i < 40 ? i / 3 % 2 : i / 25;
            ids[n * length + i] = i < used[n] ? 3 + (7 * i + n) % 90 : padding;
        }
    }
}

static void check_encoder(struct diffc_text_encoder *encoder)
{
    static int32_t ids[PROMPTS * LONG], used[PROMPTS];
    static float whole[PROMPTS * LONG * WIDTH];
    const size_t bytes = (size_t)(PROMPTS * encoder->length * WIDTH) * sizeof(*whole);
    diffc_tensor *states = NULL;
    make_prompts(encoder->length, ids, used);
    run_whole(encoder, ids, used, whole);
    assert_int_equal(diffc_text_encoder_run(encoder, ids, used, PROMPTS, &states), DIFFC_OK);
    assert_memory_equal(diffc_tensor_data(states), whole, bytes);
    diffc_release(&states);
}

static void test_same_bits(void **state)
{
    static const int cases[][3] = {
        { 32, 128, 77 }, { 8, 20, 77 }, { 4, 3, LONG }, { 64, 1000, LONG }, { 32, 128, 1 }
    };
    static const uint32_t masks[] = { DIFFC_CPU_NONE, DIFFC_CPU_AVX2, 0 };
    (void)state;
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        write_folder(cases[c][0], cases[c][1]);
        for (int m = 0; m < 3; m++)
            for (int run = 0; run < 3; run++) {
                struct diffc_context *context = open_context(run == 0 ? 1 : 3, masks[m]);
                diffc_text_encoder *encoder = open_encoder(context, cases[c][2], 1 + 2 * run,
                                                           run == 1 ? "bf16" : "fp32");
                check_encoder(encoder);
                diffc_release(&encoder);
                diffc_release(&context);
            }
    }
}

static int count_rows(diffc_text_encoder *encoder, const int32_t *ids, int32_t count)
{
    diffc_tensor *states = NULL;
    assert_int_equal(diffc_text_encoder_run(encoder, ids, &count, 1, &states), DIFFC_OK);
    diffc_release(&states);
    return encoder->exec->batch;
}

/* Distances 1 to 7 have buckets of their own; those from 8, 12, 16, 23, 32, 46 and 64 on begin one. */
static void test_row_counts(void **state)
{
    int32_t ids[77] = { 1 };
    (void)state;
    write_folder(32, 128);
    diffc_text_encoder *encoder = open_encoder(io_context, 77, 1, "fp32");
    assert_int_equal(count_rows(encoder, ids, 1), 15);
    assert_int_equal(count_rows(encoder, ids, 2), 22);
    assert_int_equal(count_rows(encoder, ids, 77), 77);
    for (int i = 0; i < 77; i++)
        ids[i] = i % 2;
    assert_int_equal(count_rows(encoder, ids, 1), 77);
    diffc_release(&encoder);
}

static void test_limits(void **state)
{
    const struct dfi_t5_config config = tiny_t5(100);
    const struct dfi_exec_options trains = { .batch = 1, .parts = 77, .conditions = 1, .backward = 1 };
    const struct dfi_exec_options large = { .batch = 4096, .parts = 4097, .conditions = 1 };
    struct dfi_t5_values values;
    struct net net;
    size_t bytes = 0;
    (void)state;
    net_open(&net, io_context, DIFFC_F32);
    dfi_t5_build_rows(net.graph, &config, 77, &values);
    assert_int_equal(dfi_graph_finish(net.graph), DIFFC_OK);
    assert_int_equal(dfi_exec_bytes(net.graph, &trains, &bytes), DIFFC_ERR_UNSUPPORTED);
    assert_int_equal(dfi_exec_bytes(net.graph, &large, &bytes), DIFFC_ERR_LIMIT);
    struct dfi_attention wrong = { values.ids, values.ids, values.ids,   -1, -1,
                                   -1,         values.ids, values.spans, 1,  1 };
    assert_int_equal(dfi_attention(net.graph, &wrong), -1); /* a mask */
    assert_non_null(strstr(diffc_message(), "with spans"));
    net_close(&net);
}

static int tear_down(void **state)
{
    char command[512];
    snprintf(command, sizeof(command), "rm -rf %s/rows", io_folder);
    return system(command) != 0 ? -1 : io_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same_bits), cmocka_unit_test(test_row_counts),
                                        cmocka_unit_test(test_limits) };
    return cmocka_run_group_tests(tests, io_setup, tear_down);
}
