#include <string.h>
#include <zlib.h>

#include "base/checked.h"

#include "io/gz.h"

enum { INPUT_SIZE = 32768, MAX_HEADER = 65536 };

struct dfi_gz {
    struct dfi_reader *reader;
    z_stream stream;
    gz_header header;
    size_t start; /* of the present member */
    int ended;    /* the present member's trailer was read */
    unsigned char input[INPUT_SIZE];
};

static void *allocate(void *opaque, unsigned items, unsigned size)
{
    size_t bytes;
    return dfi_ck_mul(items, size, &bytes) ? NULL : dfi_alloc(opaque, bytes);
}

static void release(void *opaque, void *block)
{
    dfi_free(opaque, block);
}

int dfi_gz_open(struct dfi_reader *reader, struct dfi_gz **gz)
{
    struct dfi_gz *const opened = dfi_calloc(reader->context, 1, sizeof(*opened));
    if (!opened)
        return DIFFC_ERR_NOMEM;
    opened->reader = reader;
    opened->start = reader->position;
    opened->stream.zalloc = allocate;
    opened->stream.zfree = release;
    opened->stream.opaque = reader->context;
    if (inflateInit2(&opened->stream, 15 + 16) != Z_OK) { /* 16: a gzip header, nothing else */
        dfi_free(reader->context, opened);
        return dfi_fail(DIFFC_ERR_NOMEM, "%s: no memory for unpacking", reader->name);
    }
    inflateGetHeader(&opened->stream, &opened->header);
    *gz = opened;
    return DIFFC_OK;
}

void dfi_gz_close(struct dfi_gz *gz)
{
    if (!gz)
        return;
    inflateEnd(&gz->stream);
    dfi_free(gz->reader->context, gz);
}

static int fill_input(struct dfi_gz *gz)
{
    if (gz->stream.avail_in > 0)
        return DIFFC_OK;
    const size_t left = dfi_reader_left(gz->reader);
    const size_t want = left < INPUT_SIZE ? left : INPUT_SIZE;
    DFI_TRY(dfi_reader_read(gz->reader, gz->input, want));
    gz->stream.next_in = gz->input;
    gz->stream.avail_in = (unsigned)want;
    return DIFFC_OK;
}

static size_t byte_position(const struct dfi_gz *gz)
{
    return gz->reader->position - gz->stream.avail_in;
}

static int fail_inflate(const struct dfi_gz *gz, int result)
{
    const char *const name = gz->reader->name;
    const char *const reason = gz->stream.msg ? gz->stream.msg : "bad data";
    if (result == Z_MEM_ERROR)
        return dfi_fail(DIFFC_ERR_NOMEM, "%s: no memory for unpacking", name);
    /* Behind the header, zlib calls "incorrect" only the two fields of the trailer. */
    const int trailer = gz->header.done == 1 && strncmp(reason, "incorrect", 9) == 0;
    return dfi_fail(trailer ? DIFFC_ERR_CHECKSUM : DIFFC_ERR_FORMAT, "%s: byte %zu: gzip: %s", name,
                    byte_position(gz), reason);
}

/* The input is used up and inflate wants more. */
static int fail_end(const struct dfi_gz *gz)
{
    const size_t length = byte_position(gz) - gz->start;
    if (gz->header.done != 1 && length > 10)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: gzip header without an end in %zu bytes", gz->reader->name,
                        length);
    return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: gzip stream ends early, at byte %zu", gz->reader->name,
                    gz->reader->size);
}

/* Unpacks up to `size` bytes, fewer only at the end of the member. */
static int inflate_some(struct dfi_gz *gz, unsigned char *data, size_t size, size_t *got)
{
    *got = 0;
    while (*got < size && !gz->ended) {
        DFI_TRY(fill_input(gz));
        if (gz->stream.avail_in == 0)
            return fail_end(gz);
        if (gz->header.done != 1 && byte_position(gz) - gz->start > MAX_HEADER)
            return dfi_fail(DIFFC_ERR_FORMAT, "%s: gzip header longer than %d bytes", gz->reader->name,
                            MAX_HEADER);
        const size_t want = size - *got < 1u << 30 ? size - *got : 1u << 30;
        gz->stream.next_out = data + *got;
        gz->stream.avail_out = (unsigned)want;
        const int result = inflate(&gz->stream, Z_NO_FLUSH);
        *got += want - gz->stream.avail_out;
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return fail_inflate(gz, result);
        gz->ended = result == Z_STREAM_END;
    }
    return DIFFC_OK;
}

/* Whether another member stands right behind the one that ended. */
static int finds_member(struct dfi_gz *gz)
{
    DFI_TRY(fill_input(gz));
    return gz->stream.avail_in > 0 && gz->stream.next_in[0] == 0x1F;
}

/* Goes on to it: 1 if there is one. */
static int next_member(struct dfi_gz *gz)
{
    const int found = finds_member(gz);
    if (found <= 0)
        return found;
    if (inflateReset(&gz->stream) != Z_OK)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: gzip: bad stream", gz->reader->name);
    gz->header.done = 0;
    inflateGetHeader(&gz->stream, &gz->header);
    gz->start = byte_position(gz);
    gz->ended = 0;
    return 1;
}

int dfi_gz_read(struct dfi_gz *gz, void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t got;
        DFI_TRY(inflate_some(gz, (unsigned char *)data + done, size - done, &got));
        done += got;
        if (done == size)
            break;
        const int more = next_member(gz);
        DFI_TRY(more);
        if (!more)
            return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: unpacked data ends %zu bytes early", gz->reader->name,
                            size - done);
    }
    return DIFFC_OK;
}

static int is_zero(const unsigned char *bytes, size_t count)
{
    while (count > 0 && bytes[count - 1] == 0)
        count--;
    return count == 0;
}

int dfi_gz_finish(struct dfi_gz *gz)
{
    unsigned char extra;
    size_t got;
    DFI_TRY(inflate_some(gz, &extra, 1, &got));
    if (got > 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: more unpacked data than its header says", gz->reader->name);
    const int found = finds_member(gz);
    DFI_TRY(found);
    const size_t tail = gz->reader->size - byte_position(gz);
    if (found)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: another gzip member behind complete data",
                        gz->reader->name, byte_position(gz));
    if (!is_zero(gz->stream.next_in, gz->stream.avail_in))
        dfi_log(gz->reader->context, DIFFC_LOG_WARNING, "%s: %zu bytes behind the gzip stream are ignored",
                gz->reader->name, tail);
    return DIFFC_OK;
}
