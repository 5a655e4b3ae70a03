#include <string.h>
#include <zlib.h>

#include "base/checked.h"
#include "base/file.h"

#include "io/reader.h"

int dfi_reader_open(struct dfi_reader *reader, struct diffc_context *context, const char *path)
{
    *reader = (struct dfi_reader) { .context = context, .name = path, .fd = -1 };
    return dfi_file_open(path, &reader->fd, &reader->size);
}

void dfi_reader_memory(struct dfi_reader *reader, struct diffc_context *context, const char *name,
                       const void *data, size_t size)
{
    static const unsigned char nothing[1];
    *reader = (struct dfi_reader) {
        .context = context, .name = name, .size = size, .memory = size ? data : nothing, .fd = -1
    };
}

void dfi_reader_close(struct dfi_reader *reader)
{
    if (reader->fd >= 0)
        dfi_file_calls()->close(reader->fd);
    reader->fd = -1;
}

size_t dfi_reader_left(const struct dfi_reader *reader)
{
    return reader->size - reader->position;
}

int dfi_reader_peek(struct dfi_reader *reader, void *data, size_t size, size_t *got)
{
    const size_t count = size < reader->size ? size : reader->size;
    if (reader->memory) {
        memcpy(data, reader->memory, count);
    } else {
        DFI_TRY(dfi_file_read(reader->fd, reader->name, reader->ahead, count));
        reader->ahead_end = count;
        memcpy(data, reader->ahead, count);
    }
    *got = count;
    return DIFFC_OK;
}

static int read_file(struct dfi_reader *reader, unsigned char *data, size_t size)
{
    const size_t held = reader->ahead_end - reader->ahead_start;
    const size_t count = size < held ? size : held;
    memcpy(data, reader->ahead + reader->ahead_start, count);
    reader->ahead_start += count;
    return size > count ? dfi_file_read(reader->fd, reader->name, data + count, size - count) : DIFFC_OK;
}

int dfi_reader_read(struct dfi_reader *reader, void *data, size_t size)
{
    if (dfi_ck_range(reader->position, size, reader->size))
        return dfi_fail(DIFFC_ERR_TRUNCATED, "%s: %zu bytes wanted at byte %zu, but it has %zu", reader->name,
                        size, reader->position, reader->size);
    if (size == 0)
        return DIFFC_OK;
    if (reader->memory)
        memcpy(data, reader->memory + reader->position, size);
    else
        DFI_TRY(read_file(reader, data, size));
    reader->position += size;
    return DIFFC_OK;
}

uint64_t dfi_load_le(const unsigned char *bytes, int count)
{
    uint64_t value = 0;
    for (int i = count - 1; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

uint32_t dfi_load_be32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void dfi_swap_bytes(void *data, size_t count, size_t width)
{
    unsigned char *bytes = data;
    for (size_t i = 0; i < count; i++, bytes += width) {
        for (size_t j = 0; j < width / 2; j++) {
            const unsigned char byte = bytes[j];
            bytes[j] = bytes[width - 1 - j];
            bytes[width - 1 - j] = byte;
        }
    }
}

int dfi_big_endian(void)
{
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
}

const char *dfi_clip(const char *text, char *out, size_t size)
{
    size_t length = strnlen(text, size);
    const int cut = length == size;
    if (cut) {
        length = size - 4;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80)
            length--;
    }
    memcpy(out, text, length);
    memcpy(out + length, cut ? "..." : "", cut ? 4 : 1);
    return out;
}

uint32_t dfi_crc32(uint32_t crc, const void *data, size_t size)
{
    return (uint32_t)crc32_z(crc, data, size);
}
