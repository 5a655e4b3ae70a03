#include <diffc/guidance.h>

#include "guide/factor.h"
#include "guide/view.h"

int diffc_view_create(diffc_context *context, const char *name, const diffc_view_options *options,
                      diffc_view **view)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(name);
    DFI_REQUIRE(view);
    diffc_view_options read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    return dfi_view_new(context, name, &read, view);
}

int diffc_view_create_own(diffc_context *context, const diffc_view_functions *functions, diffc_view **view)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(functions);
    DFI_REQUIRE(view);
    diffc_view_functions read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), functions, "functions"));
    if (!read.apply || !read.invert)
        return dfi_fail(DIFFC_ERR_ARG, "functions.apply and invert must not be NULL");
    return dfi_view_new_own(context, &read, view);
}

/* Two different pictures of one shape. */
static int check_pair(const diffc_tensor *from, const char *from_name, const diffc_tensor *to,
                      const char *to_name)
{
    static const int64_t any[4] = { -1, -1, -1, -1 };
    DFI_TRY(dfi_tensor_expect(from, from_name, 4, any));
    DFI_TRY(dfi_tensor_expect(to, to_name, 4, from->shape));
    if (dfi_tensor_count(from) == 0)
        return dfi_fail(DIFFC_ERR_ARG, "%s has no elements", from_name);
    if (from->data == to->data)
        return dfi_fail(DIFFC_ERR_ARG, "%s and %s are the same memory", from_name, to_name);
    return DIFFC_OK;
}

static int run_view(diffc_view *view, enum dfi_view_way way, const diffc_tensor *from, diffc_tensor *to)
{
    const int64_t *shape = from->shape;
    const struct dfi_planes in = dfi_planes_of(from, 0, shape[1]), out = dfi_planes_of(to, 0, shape[1]);
    DFI_TRY(dfi_view_bind(view, shape[1], shape[2], shape[3]));
    return dfi_view_run(view, way, &in, &out);
}

int diffc_view_apply(diffc_view *view, const diffc_tensor *x, diffc_tensor *seen)
{
    DFI_REQUIRE(view);
    DFI_REQUIRE(x);
    DFI_REQUIRE(seen);
    DFI_TRY(check_pair(x, "x", seen, "seen"));
    return run_view(view, DFI_VIEW_APPLY, x, seen);
}

int diffc_view_invert(diffc_view *view, const diffc_tensor *seen, diffc_tensor *x)
{
    DFI_REQUIRE(view);
    DFI_REQUIRE(x);
    DFI_REQUIRE(seen);
    DFI_TRY(check_pair(seen, "seen", x, "x"));
    return run_view(view, DFI_VIEW_INVERT, seen, x);
}

int diffc_factorization_create(diffc_context *context, const char *name,
                               const diffc_factorization_options *options,
                               diffc_factorization **factorization)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(name);
    DFI_REQUIRE(factorization);
    diffc_factorization_options read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), options, "options"));
    return dfi_factor_new(context, name, &read, factorization);
}

int diffc_factorization_create_own(diffc_context *context, const diffc_factorization_functions *functions,
                                   diffc_factorization **factorization)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(functions);
    DFI_REQUIRE(factorization);
    diffc_factorization_functions read;
    DFI_TRY(dfi_options_read(&read, sizeof(read), functions, "functions"));
    if (!read.component)
        return dfi_fail(DIFFC_ERR_ARG, "functions.component must not be NULL");
    if (read.count < 1 || read.count > DFI_MAX_COMPONENTS)
        return dfi_fail(DIFFC_ERR_ARG, "functions.count is %d, must be 1 to %d", (int)read.count,
                        DFI_MAX_COMPONENTS);
    return dfi_factor_new_own(context, &read, factorization);
}

int diffc_factorization_count(const diffc_factorization *factorization)
{
    return factorization ? factorization->count : 0;
}

int diffc_factorization_component(diffc_factorization *factorization, int k, const diffc_tensor *x,
                                  diffc_tensor *component)
{
    DFI_REQUIRE(factorization);
    DFI_REQUIRE(x);
    DFI_REQUIRE(component);
    if (k < 0 || k >= factorization->count)
        return dfi_fail(DIFFC_ERR_ARG, "k is %d, must be 0 to %d", k, factorization->count - 1);
    DFI_TRY(check_pair(x, "x", component, "component"));
    const int64_t *shape = x->shape;
    const struct dfi_planes in = dfi_planes_of(x, 0, shape[1]), out = dfi_planes_of(component, 0, shape[1]);
    DFI_TRY(dfi_factor_bind(factorization, shape[1], shape[2], shape[3]));
    return dfi_factor_run(factorization, k, &in, &out);
}
