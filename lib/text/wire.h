#ifndef DFI_TEXT_WIRE_H
#define DFI_TEXT_WIRE_H

#include "base/context.h"

/* Protocol Buffers (protobuf.dev, "Encoding"): the fields of one message, one after another. Everything is
 * bounded by the message; groups, which nobody writes any more, are refused. */
struct dfi_wire {
    const char *name; /* of the file, for messages */
    const unsigned char *data;
    size_t size, position;
    size_t base; /* of data within the file */
};

enum { DFI_WIRE_VARINT = 0, DFI_WIRE_FIXED64 = 1, DFI_WIRE_BYTES = 2, DFI_WIRE_FIXED32 = 5 };

struct dfi_wire_field {
    uint32_t number;
    int type;
    uint64_t value;            /* of VARINT, FIXED32 and FIXED64 */
    const unsigned char *data; /* of BYTES */
    size_t size;
    size_t offset; /* of the field within the file */
};

/* 1 and the next field, 0 at the end, or ERR_FORMAT with the offset. */
int dfi_wire_next(struct dfi_wire *wire, struct dfi_wire_field *field);

/* The message that a field of BYTES holds; ERR_FORMAT if it is of another type. */
int dfi_wire_enter(const struct dfi_wire *wire, const struct dfi_wire_field *field, struct dfi_wire *inner);

/* ERR_FORMAT, naming the field and what it should be, unless it has that type. */
int dfi_wire_expect(const struct dfi_wire *wire, const struct dfi_wire_field *field, int type);

#endif
