#include "fuzz.h"

#include <string.h>

#include "text/spiece.h"

/* A model, and what it makes of a text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "aAb \xC3\xA9\x80 </s> The LICENSE \xEF\xBC\xA1\xEF\xBF\xBD";
    diffc_context *const context = fuzz_context();
    diffc_tokenizer *tokenizer = NULL;
    diffc_text_options options = DIFFC_TEXT_OPTIONS;
    int32_t ids[77];
    const long live = fuzz_begin(data, size);
    int status = dfi_tokenizer_parse(context, "fuzz", data, size, &tokenizer);
    int made = tokenizer != NULL;
    options.parse_special = size & 1;
    options.form = size & 2 ? DIFFC_TEXT_RAW : DIFFC_TEXT_LOWER;
    if (made &&
        (status = diffc_tokenizer_prompt(tokenizer, text, sizeof(text) - 1, &options, 77, ids, NULL, NULL)))
        made = 0;
    diffc_release(&tokenizer);
    fuzz_end(live, status, made);
    return 0;
}
