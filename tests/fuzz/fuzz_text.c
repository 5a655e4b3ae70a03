#include "fuzz.h"

#include <stdio.h>
#include <string.h>

/* A text through the model of the tests: the first byte chooses the options. */

static diffc_tokenizer *open_model(diffc_context *context)
{
    static diffc_tokenizer *tokenizer;
    if (!tokenizer && diffc_tokenizer_open(context, FUZZ_MODEL, &tokenizer))
        abort();
    return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    diffc_context *const context = fuzz_context();
    const diffc_tokenizer *tokenizer = open_model(context);
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    int32_t ids[77], used = 0;
    int64_t dropped = -1;
    const unsigned choice = size ? data[0] : 0;
    options.form = (int32_t)(choice & 3) % 3;
    options.parse_special = choice >> 2 & 1;
    options.strict = choice >> 3 & 1;
    const long live = fuzz_begin(data, size);
    const int status = diffc_tokenizer_prompt(tokenizer, size ? (const char *)data + 1 : "",
                                              size ? size - 1 : 0, &options, 77, ids, &used, &dropped);
    if (status == DIFFC_OK && (used < 1 || used > 77 || dropped < 0 || ids[used - 1] != 1))
        abort();
    fuzz_end(live, status, status == DIFFC_OK);
    return 0;
}
