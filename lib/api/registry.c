#include <diffc/common.h>

#include "base/registry.h"
#include "base/status.h"
#include "guide/factor.h"
#include "guide/guide.h"
#include "io/resize.h"
#include "model/model.h"
#include "pipe/pipe.h"
#include "sched/sched.h"
#include "train/train.h"

static const struct dfi_entry *find_entry(int registry, int index)
{
    switch (registry) {
    case DIFFC_REGISTRY_SCHEDULE: return dfi_schedule_entry(index);
    case DIFFC_REGISTRY_SPACING: return dfi_spacing_entry(index);
    case DIFFC_REGISTRY_STEP: return dfi_step_entry(index);
    case DIFFC_REGISTRY_ARCHITECTURE: {
        const struct dfi_architecture *architecture = dfi_architecture_at(index);
        return architecture ? &architecture->entry : NULL;
    }
    case DIFFC_REGISTRY_OBJECTIVE: return dfi_objective_entry(index);
    case DIFFC_REGISTRY_VIEW: return dfi_view_entry(index);
    case DIFFC_REGISTRY_FACTORIZATION: return dfi_factor_entry(index);
    case DIFFC_REGISTRY_REDUCTION: return dfi_reduction_entry(index);
    case DIFFC_REGISTRY_RESIZE: return dfi_resize_entry(index);
    case DIFFC_REGISTRY_MASK: return dfi_mask_entry(index);
    default: return NULL;
    }
}

int diffc_registry_entry(int registry, int index, const char **name, const char **description)
{
    if (registry < DIFFC_REGISTRY_SCHEDULE || registry > DIFFC_REGISTRY_MASK)
        return dfi_fail(DIFFC_ERR_ARG, "registry is %d, must be a diffc_registry", registry);
    const struct dfi_entry *entry = index >= 0 ? find_entry(registry, index) : NULL;
    if (!entry)
        return dfi_fail(DIFFC_ERR_ARG, "registry %d has no entry %d", registry, index);
    if (name)
        *name = entry->name;
    if (description)
        *description = entry->description;
    return DIFFC_OK;
}
