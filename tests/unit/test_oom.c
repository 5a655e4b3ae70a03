#include "oom.h"

#include "base/file.h"
#include "tensor/tensor.h"

static const int64_t shape[] = { 2, 3, 4 };

static int create_context(struct oom *oom)
{
    diffc_context *context = NULL;
    diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
    options.threads = 3;
    options.allocator = oom->allocator;
    const int status = diffc_context_create(&options, &context);
    assert_true((status == DIFFC_OK) == (context != NULL));
    diffc_release(&context);
    return status;
}

static int setup_tensor(struct oom *oom)
{
    diffc_tensor *tensor = NULL;
    const int status = diffc_tensor_create(oom->context, DIFFC_F32, 3, shape, &tensor);
    oom->state = tensor;
    return status;
}

static void teardown_handle(struct oom *oom)
{
    diffc_release(&oom->state);
}

static int give_back(int status, diffc_tensor **made)
{
    assert_true((status == DIFFC_OK) == (*made != NULL));
    diffc_release(made);
    return status;
}

static int create_tensor(struct oom *oom)
{
    diffc_tensor *made = NULL;
    return give_back(diffc_tensor_create(oom->context, DIFFC_F32, 3, shape, &made), &made);
}

static void count_release(void *opaque)
{
    ++*(int *)opaque;
}

static int wrap_tensor(struct oom *oom)
{
    float data[24];
    int released = 0;
    diffc_tensor *made = NULL;
    const int status = diffc_tensor_wrap(oom->context, DIFFC_F32, 3, shape, NULL, data, count_release,
                                         &released, &made);
    (void)give_back(status, &made);
    assert_int_equal(released, status == DIFFC_OK);
    return status;
}

static int over_tensor(struct oom *oom)
{
    diffc_tensor *made = NULL;
    return give_back(
        dfi_tensor_over(oom->context, DIFFC_F32, 3, shape, diffc_tensor_data(oom->state), oom->state, &made),
        &made);
}

static int slice_tensor(struct oom *oom)
{
    diffc_tensor *made = NULL;
    return give_back(diffc_tensor_slice(oom->state, 1, 2, 2, -1, &made), &made);
}

static int permute_tensor(struct oom *oom)
{
    diffc_tensor *made = NULL;
    return give_back(diffc_tensor_permute(oom->state, (const int[]) { 2, 0, 1 }, &made), &made);
}

static int reshape_tensor(struct oom *oom)
{
    diffc_tensor *made = NULL;
    return give_back(diffc_tensor_reshape(oom->state, 1, (const int64_t[]) { -1 }, &made), &made);
}

static int convert_tensor(struct oom *oom)
{
    diffc_tensor *made = NULL;
    return give_back(diffc_tensor_convert(oom->state, DIFFC_BF16, &made), &made);
}

static int setup_view(struct oom *oom)
{
    diffc_tensor *whole = NULL, *view = NULL;
    int status = diffc_tensor_create(oom->context, DIFFC_F32, 3, shape, &whole);
    if (status == DIFFC_OK)
        status = diffc_tensor_permute(whole, (const int[]) { 2, 1, 0 }, &view);
    diffc_release(&whole);
    oom->state = view;
    return status;
}

static int random_view(struct oom *oom)
{
    return diffc_rng_normal(oom->state, 1, 2, 3);
}

static int random_generator(struct oom *oom)
{
    diffc_generator *generator = NULL;
    const int status = diffc_generator_create(oom->context, 180, &generator);
    assert_true((status == DIFFC_OK) == (generator != NULL));
    diffc_release(&generator);
    return status;
}

static int write_file(struct oom *oom)
{
    struct dfi_atomic_file file;
    const int status = dfi_atomic_begin(oom->context, "oom-test.tmp", 100, &file);
    if (status == DIFFC_OK)
        dfi_atomic_abort(&file);
    return status;
}

static int load_file(struct oom *oom)
{
    void *data = NULL;
    size_t size;
    const int status = dfi_file_load(oom->context, "/proc/self/exe", (size_t)1 << 30, &data, &size);
    dfi_free(oom->context, data);
    return status;
}

static const struct oom_function functions[] = {
    { "context_create", NULL, create_context, NULL },
    { "tensor_create", NULL, create_tensor, NULL },
    { "tensor_wrap", NULL, wrap_tensor, NULL },
    { "tensor_over", setup_tensor, over_tensor, teardown_handle },
    { "tensor_slice", setup_tensor, slice_tensor, teardown_handle },
    { "tensor_permute", setup_tensor, permute_tensor, teardown_handle },
    { "tensor_reshape", setup_tensor, reshape_tensor, teardown_handle },
    { "tensor_convert", setup_tensor, convert_tensor, teardown_handle },
    { "rng_normal of a view", setup_view, random_view, teardown_handle },
    { "generator_create", NULL, random_generator, NULL },
    { "atomic file", NULL, write_file, NULL },
    { "file_load", NULL, load_file, NULL },
};

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    OOM_RUN(functions);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_allocation_may_fail) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
