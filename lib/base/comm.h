#ifndef DFI_BASE_COMM_H
#define DFI_BASE_COMM_H

#include <diffc/communicator.h>

#include "base/context.h"

/* The ranks of a training, a power of two of them. All calls but the first are made by all ranks in the same
 * order. Once an exchange has failed, every later call fails with its status. */
struct dfi_comm {
    int rank, size;
    diffc_exchange_fn exchange;
    void *opaque;
    int broken; /* the status of the exchange that failed */
    char *scratch;
};

/* Bytes of scratch, which the caller puts into `scratch`. */
#define DFI_COMM_SCRATCH ((size_t)DIFFC_EXCHANGE_BYTES)

/* Checks rank and size against `lanes`, which the size must divide. ERR_ARG, ERR_CONFIG. */
int dfi_comm_init(struct dfi_comm *comm, const diffc_communicator *source, int lanes);

/* The rank's own status if that is a failure, otherwise the smallest of all ranks: if one has failed, all do.
 */
int dfi_comm_agree(struct dfi_comm *comm, int status);

/* Adds up `values` (n floats or doubles, as `element` says) over the ranks, in the fixed tree ((0 1) (2 3))
 * ..., in place; and agrees on `status` on the way. */
int dfi_comm_sum(struct dfi_comm *comm, void *values, size_t n, size_t element, int status);

/* Rank 0's bytes to all. */
int dfi_comm_broadcast(struct dfi_comm *comm, void *data, size_t bytes);

#endif
