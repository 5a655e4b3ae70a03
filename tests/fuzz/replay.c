#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

/* Stands in for the fuzzing engine: runs the target on the files and folders that are named, and on every
 * part of each file that begins at its start. */

static int run_file(const char *path)
{
    static unsigned char data[1 << 16];
    FILE *const file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "cannot open %s\n", path);
        return -1;
    }
    const size_t size = fread(data, 1, sizeof(data), file);
    fclose(file);
    for (size_t part = 0; part <= size; part++) {
        unsigned char *const copy = malloc(part ? part : 1); /* exact, so that a byte too many is noticed */
        if (!copy)
            return -1;
        memcpy(copy, data, part);
        LLVMFuzzerTestOneInput(copy, part);
        free(copy);
    }
    return 1;
}

static int run_folder(DIR *folder, const char *path)
{
    int count = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.')
            continue;
        if (run_file(name) < 0)
            return -1;
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        DIR *const folder = opendir(argv[i]);
        const int count = folder ? run_folder(folder, argv[i]) : run_file(argv[i]);
        if (folder)
            closedir(folder);
        if (count < 0)
            return 1;
        total += count;
    }
    printf("%d files\n", total);
    return total > 0 ? 0 : 1;
}
