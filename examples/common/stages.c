#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "stages.h"

int ex_stage_number(const char *folder)
{
    static const char *const configs[] = { "unet/config.json", "config.json" };
    char path[EX_PATH];
    for (int i = 0; i < 2; i++) {
        if (!ex_exists(ex_path(path, folder, configs[i])))
            continue;
        json_t *config = json_load_file(path, 0, NULL); /* what is wrong with it the library will tell */
        const char *class = json_string_value(json_object_get(config, "class_embed_type"));
        int number = class && !strcmp(class, "timestep") ? 2 : 1;
        json_decref(config);
        return number;
    }
    return 0;
}

static int take(const char *folder, const char *name, struct ex_stages *stages)
{
    char path[EX_PATH], unet[EX_PATH];
    ex_path(path, folder, name);
    if (name[0] == '.' || !ex_exists(ex_path(unet, path, "unet/config.json")))
        return 0;
    char *place = ex_stage_number(path) == 1 ? stages->first : stages->second;
    if (*place)
        return ex_error(EX_FAILED, folder, "%s and %s are of the same stage: name one of them", place, path);
    memcpy(place, path, sizeof path);
    return 0;
}

int ex_stages_find(const char *folder, struct ex_stages *stages)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;
    int code = 0;
    *stages = (struct ex_stages) { "", "" };
    if (!stream)
        return ex_error(EX_FAILED, folder, "%s", strerror(errno));
    while (!code && (entry = readdir(stream)))
        code = take(folder, entry->d_name, stages);
    (void)closedir(stream);
    if (!code && !*stages->first && !*stages->second)
        code = ex_error(EX_FAILED, folder, "not a model: no unet/config.json in it or in a folder of it");
    return code;
}
