#include <stdio.h>
#include <string.h>

#include "base/registry.h"
#include "base/status.h"

const void *dfi_registry_find(const void *entries, size_t stride, int count, const char *what,
                              const char *name)
{
    char names[400] = "";
    size_t used = 0;
    for (int i = 0; i < count; i++) {
        const void *at = (const char *)entries + (size_t)i * stride;
        const struct dfi_entry *entry = at;
        if (name && strcmp(entry->name, name) == 0)
            return entry;
        const int written = snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "", entry->name);
        used += written > 0 && (size_t)written < sizeof(names) - used ? (size_t)written : 0;
    }
    dfi_fail(DIFFC_ERR_ARG, "unknown %s \"%.60s\"; known: %s", what, name ? name : "(null)", names);
    return NULL;
}
