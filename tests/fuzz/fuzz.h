#ifndef DIFFC_TEST_FUZZ_H
#define DIFFC_TEST_FUZZ_H

#include <stdint.h>
#include <stdlib.h>

#include <diffc/diffc.h>

/* What the fuzz targets share: one context with small limits, whose memory fails now and then. When it fails
 * is a function of the input alone, so that whatever is found can be found again. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    long live, calls, failing;
} fuzz_memory;

static void *fuzz_alloc(void *opaque, size_t bytes)
{
    (void)opaque;
    if (++fuzz_memory.calls == fuzz_memory.failing)
        return NULL;
    void *const block = malloc(bytes);
    fuzz_memory.live += block != NULL;
    return block;
}

static void fuzz_release(void *opaque, void *block)
{
    (void)opaque;
    fuzz_memory.live--;
    free(block);
}

static inline diffc_context *fuzz_context(void)
{
    static diffc_context *context;
    if (!context) {
        diffc_context_options options = DIFFC_CONTEXT_OPTIONS;
        diffc_limits limits = DIFFC_LIMITS;
        limits.image_width = limits.image_height = 1024;
        limits.image_bytes = limits.idx_bytes = 4 << 20;
        limits.archive_header = 1 << 16;
        limits.archive_tensors = 256;
        options.threads = 1;
        options.allocator = (diffc_allocator) { fuzz_alloc, fuzz_release, NULL };
        options.limits = &limits;
        if (diffc_context_create(&options, &context))
            abort();
    }
    return context;
}

/* One input in four loses one allocation. Returns the number of live blocks, for fuzz_end(). */
static inline long fuzz_begin(const uint8_t *data, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 16777619u;
    fuzz_memory.calls = 0;
    fuzz_memory.failing = hash >> 30 ? 0 : 1 + (long)(hash % 24);
    return fuzz_memory.live;
}

/* Ends the run (the fuzzer sees a crash) if a rule of every reader was broken. */
static inline void fuzz_end(long live, int status, int made)
{
    const int injected = fuzz_memory.failing && fuzz_memory.calls >= fuzz_memory.failing;
    fuzz_memory.failing = 0;
    if (fuzz_memory.live != live || (status == DIFFC_OK) != made)
        abort();
    if (status == DIFFC_OK || status == DIFFC_ERR_FORMAT || status == DIFFC_ERR_TRUNCATED ||
        status == DIFFC_ERR_CHECKSUM || status == DIFFC_ERR_LIMIT || status == DIFFC_ERR_UNSUPPORTED)
        return;
    if (status != DIFFC_ERR_NOMEM || !injected)
        abort();
}

/* Reads every byte of a contiguous tensor, so that one outside its memory is noticed. */
static inline void fuzz_touch(const diffc_tensor *tensor)
{
    static const int sizes[] = { 0, 4, 2, 2, 8, 1, 4, 8 };
    const size_t bytes = (size_t)diffc_tensor_count(tensor) * (size_t)sizes[diffc_tensor_dtype(tensor)];
    const unsigned char *const data = diffc_tensor_data(tensor);
    static volatile unsigned sink;
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += data[i];
    sink = sum;
    (void)sink;
}

#endif
