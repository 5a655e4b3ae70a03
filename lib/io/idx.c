#include "base/checked.h"
#include "tensor/tensor.h"

#include "io/gz.h"
#include "io/idx.h"

enum { MAX_IDX_DIMS = 4, IDX_U8 = 0x08 };

/* The unpacked bytes: `gz` is NULL for a plain file. */
struct source {
    struct dfi_reader *reader;
    struct dfi_gz *gz;
    unsigned char head[4];
};

static int read_bytes(struct source *source, void *data, size_t size)
{
    return source->gz ? dfi_gz_read(source->gz, data, size) : dfi_reader_read(source->reader, data, size);
}

static int open_source(struct source *source, struct dfi_reader *reader)
{
    *source = (struct source) { .reader = reader };
    unsigned char magic[2];
    size_t got;
    DFI_TRY(dfi_reader_peek(reader, magic, 2, &got));
    if (got == 2 && magic[0] == 0x1F && magic[1] == 0x8B)
        DFI_TRY(dfi_gz_open(reader, &source->gz));
    return read_bytes(source, source->head, 4);
}

static int check_magic(const struct source *source)
{
    const unsigned char *const head = source->head;
    const char *const name = source->reader->name;
    if (head[0] != 0 || head[1] != 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: starts with %02x %02x %02x %02x, an IDX file with 00 00 08%s",
                        name, head[0], head[1], head[2], head[3],
                        head[2] == 0 && head[3] == 0 ? " (the bytes seem to be swapped)" : "");
    if (head[2] == 0x09 || (head[2] >= 0x0B && head[2] <= 0x0E))
        return dfi_fail(DIFFC_ERR_UNSUPPORTED,
                        "%s: IDX element type 0x%02x, only unsigned bytes (0x08) are read", name, head[2]);
    if (head[2] != IDX_U8)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte 2: IDX element type 0x%02x does not exist", name,
                        head[2]);
    if (head[3] == 0)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte 3: IDX file of 0 dimensions", name);
    if (head[3] > MAX_IDX_DIMS)
        return dfi_fail(DIFFC_ERR_UNSUPPORTED, "%s: IDX file of %d dimensions, at most %d are read", name,
                        head[3], MAX_IDX_DIMS);
    return DIFFC_OK;
}

/* The shape; and whether so many bytes are allowed, and can be in the file, before memory is asked for. */
static int read_shape(struct source *source, int ndim, int64_t *shape, size_t *bytes)
{
    const struct dfi_reader *const reader = source->reader;
    const size_t limit = (size_t)reader->context->limits.idx_bytes;
    for (int i = 0; i < ndim; i++) {
        unsigned char size[4];
        DFI_TRY(read_bytes(source, size, 4));
        shape[i] = dfi_load_be32(size);
        if (shape[i] == 0)
            return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %d: dimension %d is 0", reader->name, 4 + 4 * i, i);
    }
    if (dfi_ck_product(shape, ndim, bytes) || *bytes > limit)
        return dfi_fail(DIFFC_ERR_LIMIT, "%s: IDX data is larger than limits.idx_bytes = %zu", reader->name,
                        limit);
    const size_t left = dfi_reader_left(reader);
    const int impossible = source->gz ? *bytes / DFI_DEFLATE_RATIO > reader->size : *bytes > left;
    if (impossible)
        return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: %zu bytes of data wanted, but the file has %zu",
                        reader->name, *bytes, source->gz ? reader->size : left);
    if (!source->gz && *bytes < left)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: %zu bytes behind the data", reader->name, left - *bytes);
    return DIFFC_OK;
}

static int read_tensor(struct source *source, struct diffc_tensor **tensor)
{
    int64_t shape[MAX_IDX_DIMS];
    size_t bytes = 0;
    DFI_TRY(check_magic(source));
    const int ndim = source->head[3];
    DFI_TRY(read_shape(source, ndim, shape, &bytes));
    struct diffc_tensor *made = NULL;
    DFI_TRY(dfi_tensor_create(source->reader->context, DIFFC_U8, ndim, shape, &made));
    int status = read_bytes(source, made->data, bytes);
    if (!status && source->gz)
        status = dfi_gz_finish(source->gz);
    if (status)
        dfi_release(made);
    else
        *tensor = made;
    return status;
}

int dfi_idx_read(struct dfi_reader *reader, struct diffc_tensor **tensor)
{
    struct source source;
    int status = open_source(&source, reader);
    if (!status)
        status = read_tensor(&source, tensor);
    dfi_gz_close(source.gz);
    return status;
}

int dfi_idx_decode(struct diffc_context *context, const void *data, size_t size, struct diffc_tensor **tensor)
{
    struct dfi_reader reader;
    dfi_reader_memory(&reader, context, "memory", data, size);
    return dfi_idx_read(&reader, tensor);
}
