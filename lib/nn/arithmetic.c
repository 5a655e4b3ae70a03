/* The named choices of arithmetic. */

#include "base/registry.h"
#include "nn/exec.h"

static const struct dfi_entry numerics_names[] = {
    [DFI_NUMERICS_DEFAULT] = { "default", "tiles of 4 x 4 pixels: about twice the rounding error" },
    [DFI_NUMERICS_EXACT] = { "exact", "plain sums, or tiles of 2 x 2" },
    [DFI_NUMERICS_FAST] = { "fast", "tiles of 7 x 7 pixels: about 20 times the rounding error" },
};

const char *dfi_numerics_name(enum dfi_numerics numerics)
{
    return numerics_names[numerics].name;
}

int dfi_numerics_find(const char *name, enum dfi_numerics *numerics)
{
    const struct dfi_entry *entry = numerics_names;
    if (name)
        entry = dfi_registry_find(numerics_names, sizeof(*entry), DFI_COUNT(numerics_names), "numerics",
                                  name);
    if (!entry)
        return DIFFC_ERR_ARG;
    *numerics = (enum dfi_numerics)(entry - numerics_names);
    return DIFFC_OK;
}

static const struct dfi_entry precision_names[] = {
    [DFI_PRECISION_F32] = { "fp32", "values in float" },
    [DFI_PRECISION_BF16] = { "bf16", "values between convolutions and norms, and factors, in bfloat16" },
};

const char *dfi_precision_name(enum dfi_precision precision)
{
    return precision_names[precision].name;
}

int dfi_precision_find(const char *name, enum dfi_precision *precision)
{
    const struct dfi_entry *entry = precision_names;
    if (name)
        entry = dfi_registry_find(precision_names, sizeof(*entry), DFI_COUNT(precision_names), "precision",
                                  name);
    if (!entry)
        return DIFFC_ERR_ARG;
    *precision = (enum dfi_precision)(entry - precision_names);
    return DIFFC_OK;
}
