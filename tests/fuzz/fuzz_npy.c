#include "fuzz.h"

#include "io/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    diffc_context *const context = fuzz_context();
    diffc_tensor *tensor = NULL;
    const long live = fuzz_begin(data, size);
    const int status = dfi_npy_decode(context, data, size, &tensor);
    const int made = tensor != NULL;
    if (made)
        fuzz_touch(tensor);
    diffc_release(&tensor);
    fuzz_end(live, status, made);
    return 0;
}
