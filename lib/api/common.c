#include <string.h>

#include <diffc/common.h>
#include <diffc/communicator.h>
#include <diffc/version.h>

#include "base/object.h"
#include "base/status.h"

const char *diffc_status_name(int status)
{
    static const char *const names[] = {
        "DIFFC_OK",           "DIFFC_ERR_ARG",       "DIFFC_ERR_NOMEM",
        "DIFFC_ERR_IO",       "DIFFC_ERR_FORMAT",    "DIFFC_ERR_TRUNCATED",
        "DIFFC_ERR_CHECKSUM", "DIFFC_ERR_LIMIT",     "DIFFC_ERR_UNSUPPORTED",
        "DIFFC_ERR_CONFIG",   "DIFFC_ERR_NONFINITE", "DIFFC_ERR_CANCELLED",
        "DIFFC_ERR_VERSION",  "DIFFC_ERR_BUSY",      "DIFFC_ERR_STATE",
    };
    return status <= 0 && status > -DFI_COUNT(names) ? names[-status] : "unknown status";
}

const char *diffc_message(void)
{
    return dfi_message();
}

int diffc_fail(int status, const char *text)
{
    return dfi_fail(status, "%s", text ? text : "");
}

const char *diffc_version(void)
{
    return DIFFC_VERSION_TEXT;
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
