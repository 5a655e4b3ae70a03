#ifndef DFI_BASE_REGISTRY_H
#define DFI_BASE_REGISTRY_H

#include <stddef.h>

/* Every entry of a registry begins with this, so one loop finds names in any of them. */
struct dfi_entry {
    const char *name;
    const char *description;
};

/* The entry of that name among `count` entries `stride` bytes apart; NULL with a message that lists the names
 * if there is none: "unknown WHAT "name"; known: a, b, c". */
const void *dfi_registry_find(const void *entries, size_t stride, int count, const char *what,
                              const char *name);

#endif
