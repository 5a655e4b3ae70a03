#include <string.h>

#include <diffc/common.h>
#include <diffc/version.h>

#include "base/object.h"
#include "base/registry.h"
#include "base/status.h"
#include "model/model.h"
#include "sched/sched.h"
#include "train/train.h"

#define TEXT(number) #number
#define DOTTED(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *diffc_status_name(int status)
{
    static const char *const names[] = {
        "DIFFC_OK",           "DIFFC_ERR_ARG",       "DIFFC_ERR_NOMEM",       "DIFFC_ERR_IO",
        "DIFFC_ERR_FORMAT",   "DIFFC_ERR_TRUNCATED", "DIFFC_ERR_CHECKSUM",    "DIFFC_ERR_LIMIT",
        "DIFFC_ERR_UNSUPPORTED", "DIFFC_ERR_CONFIG", "DIFFC_ERR_NONFINITE",   "DIFFC_ERR_CANCELLED",
        "DIFFC_ERR_VERSION",  "DIFFC_ERR_BUSY",      "DIFFC_ERR_STATE",
    };
    return status <= 0 && status > -DFI_COUNT(names) ? names[-status] : "unknown status";
}

const char *diffc_message(void)
{
    return dfi_message();
}

const char *diffc_version(void)
{
    return DOTTED(DIFFC_VERSION_MAJOR, DIFFC_VERSION_MINOR, DIFFC_VERSION_PATCH);
}

int diffc_abi_version(void)
{
    return DIFFC_ABI_VERSION;
}

/* The variable has the caller's handle type, so it is read and written as bytes. */
void diffc_release(void *handle_address)
{
    void *handle;
    static void *const none = NULL;
    if (!handle_address)
        return;
    memcpy(&handle, handle_address, sizeof(handle));
    memcpy(handle_address, &none, sizeof(none));
    dfi_release(handle);
}

void *diffc_retain(void *handle)
{
    return dfi_retain(handle);
}

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
    default: return NULL;
    }
}

int diffc_registry_entry(int registry, int index, const char **name, const char **description)
{
    if (registry < DIFFC_REGISTRY_SCHEDULE || registry > DIFFC_REGISTRY_OBJECTIVE)
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
