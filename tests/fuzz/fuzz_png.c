#include "fuzz.h"

#include "io/png.h"

/* The number of channels that is asked for depends on the size, so that the corpus needs no byte for it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int channels[] = { 0, 1, 3, 4 };
    diffc_context *const context = fuzz_context();
    diffc_tensor *image = NULL;
    const long live = fuzz_begin(data, size);
    const int status = dfi_png_decode(context, data, size, channels[size % 4], &image);
    const int made = image != NULL;
    if (made)
        fuzz_touch(image);
    diffc_release(&image);
    fuzz_end(live, status, made);
    return 0;
}
