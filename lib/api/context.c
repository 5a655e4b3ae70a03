#include <string.h>

#include <diffc/context.h>

#include "base/context.h"
#include "kernel/gemm.h"

struct warm_up {
    uint32_t cpu_flags;
};

static void warm_worker(void *opaque, int index, int worker)
{
    const struct warm_up *warm_up = opaque;
    (void)index;
    (void)worker;
    (void)dfi_gemm_prepare(warm_up->cpu_flags);
}

/* Matrix products allocate on their first call, per concurrent caller: let every worker have had one. */
static void warm_up_products(struct diffc_context *context)
{
    struct warm_up warm_up = { context->cpu_flags };
    context->kernel_set = dfi_gemm_prepare(context->cpu_flags);
    if (context->threads > 1)
        dfi_parallel_whole(context, warm_worker, &warm_up, 2 * context->threads);
}

int diffc_context_create(const diffc_context_options *options, diffc_context **context)
{
    struct diffc_context *made = NULL;
    DFI_REQUIRE(context);
    DFI_TRY(dfi_context_new(options, &made));
    warm_up_products(made);
    *context = made;
    return DIFFC_OK;
}

void diffc_context_cancel(diffc_context *context)
{
    if (context)
        atomic_store(&context->cancel, 1);
}

int diffc_context_threads(const diffc_context *context)
{
    return context ? context->threads : 0;
}

uint32_t diffc_context_cpu_flags(const diffc_context *context)
{
    return context ? context->cpu_flags : 0;
}

const char *diffc_context_kernel_set(const diffc_context *context)
{
    return context ? context->kernel_set : "";
}

int diffc_context_limits(const diffc_context *context, diffc_limits *limits)
{
    DFI_REQUIRE(context);
    DFI_REQUIRE(limits);
    const size_t given = limits->struct_size;
    if (given < sizeof(given))
        return dfi_fail(DIFFC_ERR_ARG, "limits.struct_size is %zu, must be the size of the struct", given);
    memcpy(limits, &context->limits, given < sizeof(*limits) ? given : sizeof(*limits));
    limits->struct_size = given;
    return DIFFC_OK;
}
