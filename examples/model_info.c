/* What a model is made of, without loading it: architecture, parameters, tensors, and how much memory it
 * would take. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "common/arguments.h"
#include "common/stages.h"

struct request {
    const char *path, *variant;
    int json, batch;
};

static int read_request(struct request *request, int argc, char **argv)
{
    const struct ex_option options[] = {
        { "json", EX_FLAG, &request->json, 0, 0, NULL, "one object, with all tensors" },
        { "variant", EX_TEXT, &request->variant, 0, 0, "NAME", "of the weights, such as fp16" },
        { "batch", EX_INT, &request->batch, 1, 4096, "N",
          "the memory is that of so many pictures with guidance (default 1)" },
    };
    const struct ex_program program = {
        .about = "Describes a safetensors file, a folder with config.json and weights, or a whole pipeline, "
                 "without\n"
                 "loading weights.",
        .operand = "DIR|FILE",
        .operand_target = &request->path,
    };
    return ex_arguments_read(&program, options, sizeof options / sizeof options[0], NULL, argc, argv);
}

static const char *dtype_name(int dtype)
{
    static const char *const names[] = { "", "F32", "F16", "BF16", "F64", "U8", "I32", "I64" };
    return dtype >= 1 && dtype <= 7 ? names[dtype] : "?";
}

static int64_t dtype_size(int dtype)
{
    static const int sizes[] = { 0, 4, 2, 2, 8, 1, 4, 8 };
    return dtype >= 1 && dtype <= 7 ? sizes[dtype] : 0;
}

/* T5's embedding has two names, and a file may hold it twice. */
static int is_second(const diffc_archive *archive, const char *name)
{
    diffc_tensor *first = NULL;
    if (strcmp(name, "encoder.embed_tokens.weight") || diffc_archive_get(archive, "shared.weight", &first))
        return 0;
    diffc_release(&first);
    return 1;
}

/* All tensors of an archive; adds up values and bytes. */
static json_t *list_tensors(const diffc_archive *archive, int64_t *values, int64_t *bytes)
{
    json_t *list = json_array();
    const char *name;
    for (int i = 0; (name = diffc_archive_name(archive, i)); i++) {
        diffc_tensor *tensor = NULL;
        if (diffc_archive_get(archive, name, &tensor))
            break;
        json_t *shape = json_array();
        for (int d = 0; d < diffc_tensor_ndim(tensor); d++)
            json_array_append_new(shape, json_integer(diffc_tensor_dim(tensor, d)));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", name, "dtype",
                                              dtype_name(diffc_tensor_dtype(tensor)), "shape", shape));
        *values += is_second(archive, name) ? 0 : diffc_tensor_count(tensor);
        *bytes += diffc_tensor_count(tensor) * dtype_size(diffc_tensor_dtype(tensor));
        diffc_release(&tensor);
    }
    return list;
}

/* The folder that a file lies in, if that has a config.json; otherwise the path itself. */
static const char *component_of(char buffer[EX_PATH], const char *path)
{
    char config[EX_PATH];
    snprintf(buffer, EX_PATH, "%s", path);
    char *slash = strrchr(buffer, '/');
    if (slash && !ex_exists(ex_path(config, path, "config.json"))) {
        *slash = '\0';
        if (ex_exists(ex_path(config, buffer, "config.json")))
            return buffer;
    }
    return path;
}

/* The class that a folder's config.json names, or NULL. */
static json_t *folder_class(const char *folder)
{
    char path[EX_PATH];
    json_t *config = json_load_file(ex_path(path, folder, "config.json"), 0, NULL);
    json_t *name = json_object_get(config, "_class_name");
    if (!name)
        name = json_array_get(json_object_get(config, "architectures"), 0);
    json_incref(name);
    json_decref(config);
    return name;
}

/* The network over mapped files: parameters, and the memory of a session with two conditions, as it would be
 * by default and at the least. */
static int add_network(diffc_context *context, const struct request *request, const char *path, int64_t bytes,
                       json_t *info)
{
    diffc_model_options options = DIFFC_MODEL_OPTIONS;
    diffc_session_options session = DIFFC_SESSION_OPTIONS;
    diffc_model *model = NULL;
    const char *architecture = NULL;
    int64_t memory = 0, least = 0;
    options.map = 1;
    options.variant = request->variant;
    session.batch = request->batch;
    int status = diffc_model_open(context, path, &options, &model);
    status = status ? status : diffc_model_describe(model, &architecture, NULL);
    status = status ? status : diffc_session_bytes(model, &session, &memory);
    if (!status) {
        for (least = memory, session.memory = memory - 1; !diffc_session_bytes(model, &session, &least);)
            session.memory = least - 1;
        json_object_set_new(info, "architecture", json_string(architecture));
        json_object_set_new(info, "parameters", json_integer(diffc_model_parameter_count(model)));
        json_object_set_new(info, "memory",
                            json_pack("{s:I, s:I, s:I, s:I}", "weights", (json_int_t)bytes, "session",
                                      (json_int_t)memory, "total", (json_int_t)(bytes + memory), "least",
                                      (json_int_t)(bytes + least)));
    }
    diffc_release(&model);
    return status;
}

/* An encoder of one prompt over its weights. */
static int add_encoder(diffc_context *context, const struct request *request, const char *path, int64_t bytes,
                       json_t *info)
{
    diffc_text_encoder_options options = DIFFC_TEXT_ENCODER_OPTIONS;
    int64_t total = 0;
    options.variant = request->variant;
    int status = diffc_text_encoder_bytes(context, path, &options, &total);
    if (!status)
        json_object_set_new(
            info, "memory",
            json_pack("{s:I, s:I}", "weights", (json_int_t)bytes, "total", (json_int_t)total));
    return status;
}

/* One component: its tensors, and its network if the library has such a one. */
static json_t *describe(diffc_context *context, const struct request *request, const char *path)
{
    diffc_archive_options options = DIFFC_ARCHIVE_OPTIONS;
    diffc_archive *archive = NULL;
    int64_t values = 0, bytes = 0;
    char folder[EX_PATH];
    const char *component = component_of(folder, path);
    options.map = 1;
    options.variant = request->variant;
    if (diffc_archive_open(context, path, &options, &archive))
        return NULL;
    json_t *info = json_object(), *class = folder_class(component);
    json_object_set_new(info, "path", json_string(path));
    if (class)
        json_object_set_new(info, "class", class);
    json_t *tensors = list_tensors(archive, &values, &bytes);
    diffc_release(&archive);
    const char *name = class ? json_string_value(class) : "";
    int status = 0;
    if (!strncmp(name, "T5", 2))
        status = add_encoder(context, request, component, bytes, info);
    if (class && strcmp(name, "UNet2DConditionModel") != 0) {
        json_object_set_new(info, "architecture", json_incref(class));
    } else {
        status = add_network(context, request, component, bytes, info);
        status = class ? status : 0; /* a file of tensors may be no network */
    }
    if (status) {
        json_decref(tensors);
        json_decref(info);
        return NULL;
    }
    if (!json_object_get(info, "architecture"))
        json_object_set_new(info, "architecture", json_string("unknown"));
    if (!json_object_get(info, "parameters"))
        json_object_set_new(info, "parameters", json_integer(values));
    if (!json_object_get(info, "memory"))
        json_object_set_new(
            info, "memory",
            json_pack("{s:I, s:I}", "weights", (json_int_t)bytes, "total", (json_int_t)bytes));
    json_object_set_new(info, "tensors", tensors);
    return info;
}

static void print_one(json_t *info)
{
    json_t *tensors = json_object_get(info, "tensors"), *memory = json_object_get(info, "memory");
    const char *key;
    json_t *value;
    size_t i;
    printf("%s\n  architecture  %s\n  parameters    %" PRIi64 "\n  tensors       %zu\n",
           json_string_value(json_object_get(info, "path")),
           json_string_value(json_object_get(info, "architecture")),
           (int64_t)json_integer_value(json_object_get(info, "parameters")), json_array_size(tensors));
    json_object_foreach (memory, key, value)
        printf("  memory: %-12s %12.1f MiB\n", key, (double)json_integer_value(value) / 0x1p20);
    json_array_foreach (tensors, i, value) {
        char *shape = json_dumps(json_object_get(value, "shape"), JSON_COMPACT);
        printf("    %-4s %-20s %s\n", json_string_value(json_object_get(value, "dtype")), shape,
               json_string_value(json_object_get(value, "name")));
        free(shape);
    }
}

static int print(const struct request *request, json_t *info)
{
    const json_t *components = json_object_get(info, "components");
    size_t i;
    json_t *value;
    if (request->json) {
        char *text = json_dumps(info, JSON_INDENT(1));
        printf("%s\n", text);
        free(text);
    } else if (components) {
        json_array_foreach (components, i, value)
            print_one(value);
    } else {
        print_one(info);
    }
    return 0;
}

/* A pipeline: every component of which it has weights. */
static int describe_pipeline(diffc_context *context, const struct request *request, const char *folder,
                             json_t *components)
{
    static const char *const names[] = { "unet", "text_encoder" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[EX_PATH];
        if (!ex_exists(ex_path(path, folder, names[i])))
            continue;
        json_t *info = describe(context, request, path);
        if (!info)
            return ex_failed(path, DIFFC_ERR_IO);
        json_array_append_new(components, info);
    }
    return 0;
}

/* One pipeline, or those of a folder that holds both stages. */
static int describe_all(diffc_context *context, const struct request *request, json_t *components)
{
    struct ex_stages stages;
    if (ex_stage_number(request->path))
        return describe_pipeline(context, request, request->path, components);
    int code = ex_stages_find(request->path, &stages);
    if (!code && stages.first[0])
        code = describe_pipeline(context, request, stages.first, components);
    if (!code && stages.second[0])
        code = describe_pipeline(context, request, stages.second, components);
    return code;
}

/* A folder that is more than one with weights. */
static int is_pipeline(const char *path)
{
    char part[EX_PATH];
    struct stat entry;
    return stat(path, &entry) == 0 && S_ISDIR(entry.st_mode) &&
           !ex_exists(ex_path(part, path, "config.json"));
}

int main(int argc, char **argv)
{
    struct request request = { .batch = 1 };
    diffc_context *context = NULL;
    ex_begin();
    int code = read_request(&request, argc, argv);
    if (code >= 0)
        return code;
    json_t *info = NULL;
    code = ex_context_create(0, 0, &context);
    if (code)
        return code;
    if (is_pipeline(request.path)) {
        json_t *components = json_array();
        code = describe_all(context, &request, components);
        info = json_pack("{s:s, s:o}", "path", request.path, "components", components);
    } else {
        info = describe(context, &request, request.path);
        code = info ? 0 : ex_failed(request.path, DIFFC_ERR_IO);
    }
    if (!code)
        code = print(&request, info);
    json_decref(info);
    diffc_release(&context);
    return ex_end(code, NULL);
}
