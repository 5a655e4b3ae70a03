#ifndef DIFFC_COMMUNICATOR_H
#define DIFFC_COMMUNICATOR_H

#include <diffc/common.h>

DIFFC_BEGIN

/* Several processes (ranks 0 .. size - 1) that train one model together. The library asks for one thing only:
 * that two ranks exchange bytes. Sums, broadcasts and agreements are made from it here, so that their order,
 * and with it the bits of the result, does not depend on what carries the bytes. libdiffc-mpi (diffc-mpi.h)
 * carries them over MPI; threads of one process, or sockets, will do as well. */

/* Most bytes that one call sends or receives. */
#define DIFFC_EXCHANGE_BYTES 1048576

/* Sends `send_bytes` bytes to rank `peer` and receives exactly `receive_bytes` bytes from it; either may be 0
 * (then nothing goes that way, and the pointer may be NULL). The peer makes the matching call; both may come
 * with bytes at once, so neither direction may wait for the other. Returns when `receive` is filled and
 * `send` may be changed. Called from the thread that is in a function of the trainer, one call at a time,
 * with the same calls in the same order on both sides. Returns 0, or a negative status when the peer cannot
 * be reached (ERR_IO is usual); a failed exchange must not hang, and later ones may fail too. diffc_fail()
 * gives the reason a text. */
typedef int (*diffc_exchange_fn)(void *opaque, int peer, const void *send, size_t send_bytes, void *receive,
                                 size_t receive_bytes);

typedef struct diffc_communicator {
    size_t struct_size;
    int32_t rank, size;         /* 0 <= rank < size */
    diffc_exchange_fn exchange; /* may be NULL when size is 1 */
    void *opaque;
} diffc_communicator;

#define DIFFC_COMMUNICATOR DIFFC_OPTIONS_OF(diffc_communicator)

/* For callbacks and for libraries on top of this one: `text` (NULL: none) becomes the calling thread's
 * diffc_message(), as one line, and `status` is returned. Thread-safe. Since 0.1. */
DIFFC_API int diffc_fail(int status, const char *text);

DIFFC_END

#endif
