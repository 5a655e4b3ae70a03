/* Makes FOLDER/tokenizer and FOLDER/text_encoder with the tests' tokenizer and random weights.
 * usage: make_text_model FOLDER SPIECE_MODEL */

#include "../unit/text_model.h"

static int copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    char block[4096];
    int failed = !in || !out;
    for (size_t got; !failed && (got = fread(block, 1, sizeof(block), in)) > 0;)
        failed = fwrite(block, 1, got, out) != got;
    if (in)
        fclose(in);
    return (out && fclose(out)) || failed;
}

int main(int argc, char **argv)
{
    static const int dtypes[] = { DIFFC_F16, DIFFC_F32, DIFFC_BF16 };
    diffc_context *context = NULL;
    char path[400];
    if (argc != 3 || mkdir(argv[1], 0777))
        return 2;
    snprintf(path, sizeof(path), "%s/tokenizer", argv[1]);
    int failed = mkdir(path, 0777);
    snprintf(path, sizeof(path), "%s/tokenizer/spiece.model", argv[1]);
    failed = failed || copy_file(argv[2], path);
    snprintf(path, sizeof(path), "%s/text_encoder", argv[1]);
    failed = failed || diffc_context_create(NULL, &context) || tiny_t5_folder(context, path, 1400, dtypes, 3);
    if (failed)
        fprintf(stderr, "make_text_model: %s\n", diffc_message());
    diffc_release(&context);
    return failed != 0;
}
