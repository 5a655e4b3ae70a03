#include "text/wire.h"

#include "base/checked.h"

static int fail(const struct dfi_wire *wire, size_t position, const char *what)
{
    return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: %s", wire->name, wire->base + position, what);
}

static int read_varint(struct dfi_wire *wire, uint64_t *value)
{
    const size_t start = wire->position;
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (wire->position == wire->size)
            return fail(wire, start, "a number is cut short");
        const unsigned char byte = wire->data[wire->position++];
        if (shift == 63 && byte > 1)
            return fail(wire, start, "a number of more than 64 bits");
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (!(byte & 0x80))
            return DIFFC_OK;
    }
    return fail(wire, start, "a number of more than 10 bytes");
}

static int read_fixed(struct dfi_wire *wire, size_t bytes, uint64_t *value)
{
    if (dfi_ck_range(wire->position, bytes, wire->size))
        return fail(wire, wire->position, "a number is cut short");
    *value = 0;
    for (size_t i = 0; i < bytes; i++)
        *value |= (uint64_t)wire->data[wire->position + i] << 8 * i;
    wire->position += bytes;
    return DIFFC_OK;
}

static int read_bytes(struct dfi_wire *wire, struct dfi_wire_field *field)
{
    uint64_t size;
    DFI_TRY(read_varint(wire, &size));
    if (size > SIZE_MAX || dfi_ck_range(wire->position, (size_t)size, wire->size))
        return fail(wire, wire->position, "a length beyond the end");
    field->data = wire->data + wire->position;
    field->size = (size_t)size;
    wire->position += field->size;
    return DIFFC_OK;
}

int dfi_wire_next(struct dfi_wire *wire, struct dfi_wire_field *field)
{
    uint64_t key;
    const size_t start = wire->position;
    if (start == wire->size)
        return 0;
    DFI_TRY(read_varint(wire, &key));
    if (key >> 3 == 0 || key >> 3 > 0x1FFFFFFF)
        return fail(wire, start, "a field number out of range");
    *field = (struct dfi_wire_field) { .number = (uint32_t)(key >> 3),
                                       .type = (int)(key & 7),
                                       .offset = wire->base + start };
    int status;
    switch (field->type) {
    case DFI_WIRE_VARINT: status = read_varint(wire, &field->value); break;
    case DFI_WIRE_FIXED64: status = read_fixed(wire, 8, &field->value); break;
    case DFI_WIRE_FIXED32: status = read_fixed(wire, 4, &field->value); break;
    case DFI_WIRE_BYTES: status = read_bytes(wire, field); break;
    default: status = fail(wire, start, "a field of a type that is not used"); break;
    }
    return status < 0 ? status : 1;
}

int dfi_wire_expect(const struct dfi_wire *wire, const struct dfi_wire_field *field, int type)
{
    if (field->type != type)
        return dfi_fail(DIFFC_ERR_FORMAT, "%s: byte %zu: field %u has wire type %d, must be %d", wire->name,
                        field->offset, (unsigned)field->number, field->type, type);
    return DIFFC_OK;
}

int dfi_wire_enter(const struct dfi_wire *wire, const struct dfi_wire_field *field, struct dfi_wire *inner)
{
    DFI_TRY(dfi_wire_expect(wire, field, DFI_WIRE_BYTES));
    *inner = (struct dfi_wire) { wire->name, field->data, field->size, 0,
                                 wire->base + (size_t)(field->data - wire->data) };
    return DIFFC_OK;
}
