#include "base/comm.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES 512
#define SMALL_BYTES ((size_t)4096) /* up to here what counts is the number of messages, not their size */

int dfi_comm_init(struct dfi_comm *comm, const diffc_communicator *source, int lanes)
{
    diffc_communicator given;
    memset(comm, 0, sizeof(*comm));
    comm->size = 1;
    if (!source)
        return DIFFC_OK;
    DFI_TRY(dfi_options_read(&given, sizeof(given), source, "diffc_communicator"));
    if (given.size < 1 || given.rank < 0 || given.rank >= given.size)
        return dfi_fail(DIFFC_ERR_ARG, "communicator: rank %d of %d", (int)given.rank, (int)given.size);
    if (given.size > 1 && !given.exchange)
        return dfi_fail(DIFFC_ERR_ARG, "communicator: exchange is NULL");
    if (lanes % given.size != 0)
        return dfi_fail(DIFFC_ERR_CONFIG, "%d ranks do not divide the %d lanes of a batch", (int)given.size,
                        lanes);
    comm->rank = given.rank;
    comm->size = given.size;
    comm->exchange = given.exchange;
    comm->opaque = given.opaque;
    return DIFFC_OK;
}

static int exchange(struct dfi_comm *comm, int peer, const void *send, size_t send_bytes, void *receive,
                    size_t receive_bytes)
{
    if (comm->broken)
        return dfi_fail(comm->broken, "an exchange with another rank has failed before");
    /* A rank in trouble still exchanges: its message must stay what it is. */
    char kept[MESSAGE_BYTES];
    (void)snprintf(kept, sizeof(kept), "%s", dfi_message());
    dfi_forget_message();
    const int status = comm->exchange(comm->opaque, peer, send, send_bytes, receive, receive_bytes);
    if (status == 0)
        return dfi_fail(DIFFC_OK, "%s", kept);
    comm->broken = status < 0 ? status : DIFFC_ERR_IO;
    if (*dfi_message())
        return dfi_fail_in(comm->broken, "rank %d, exchange with rank %d", comm->rank, peer);
    return dfi_fail(comm->broken, "rank %d, exchange with rank %d failed", comm->rank, peer);
}

struct verdict {
    int64_t status, rank;
};

static int is_worse(const struct verdict *a, const struct verdict *b)
{
    return a->status < b->status || (a->status == b->status && a->rank < b->rank);
}

/* Recursive doubling: after step k a rank knows about the 2^k ranks around it. */
int dfi_comm_agree(struct dfi_comm *comm, int status)
{
    struct verdict worst = { status, comm->rank }, other;
    for (int step = 1; step < comm->size; step *= 2) {
        DFI_TRY(exchange(comm, comm->rank ^ step, &worst, sizeof(worst), &other, sizeof(other)));
        if (is_worse(&other, &worst))
            worst = other;
    }
    if (status < 0 || worst.status >= 0)
        return status;
    return dfi_fail((int)worst.status, "rank %d has failed with status %d", (int)worst.rank,
                    (int)worst.status);
}

/* One addition per element and level of the tree. It is commutative, so both sides of an exchange get the
 * same bits. */
static void add(void *to, const void *from, size_t n, size_t element)
{
    if (element == sizeof(double)) {
        double *a = to;
        const double *b = from;
        for (size_t i = 0; i < n; i++)
            a[i] += b[i];
    } else {
        float *a = to;
        const float *b = from;
        for (size_t i = 0; i < n; i++)
            a[i] += b[i];
    }
}

/* Few values: recursive doubling, with the status as a flag behind them. */
static int sum_small(struct dfi_comm *comm, void *values, size_t n, size_t element, int status)
{
    const size_t bytes = n * element, whole = (bytes + 7) / 8 * 8 + sizeof(uint64_t);
    char *own = comm->scratch, *theirs = comm->scratch + DFI_COMM_SCRATCH / 2;
    uint64_t failed = status < 0, other;
    memset(own, 0, whole);
    memcpy(own, values, bytes);
    for (int step = 1; step < comm->size; step *= 2) {
        memcpy(own + whole - sizeof(failed), &failed, sizeof(failed));
        DFI_TRY(exchange(comm, comm->rank ^ step, own, whole, theirs, whole));
        memcpy(&other, theirs + whole - sizeof(other), sizeof(other));
        failed |= other;
        add(own, theirs, n, element);
    }
    if (failed)
        return dfi_comm_agree(comm, status);
    memcpy(values, own, bytes);
    return DIFFC_OK;
}

struct part {
    size_t first, count;
};

/* Partners on each level share a part; the lower rank gets the first half of it. */
static struct part half_of(struct part part, int upper)
{
    const size_t half = part.count / 2;
    return upper ? (struct part) { part.first + half, part.count - half }
                 : (struct part) { part.first, half };
}

/* Many values: every rank adds up its share by recursive halving, then the shares are put together. A rank
 * sends and receives 2 (size - 1) / size times the values, whatever the number of ranks (Rabenseifner 2004).
 */
static int sum_block(struct dfi_comm *comm, char *values, size_t n, size_t element)
{
    struct part parts[8] = { { 0, n } };
    int level = 0;
    for (int step = 1; step < comm->size; step *= 2, level++) {
        const int upper = (comm->rank & step) != 0;
        const struct part mine = half_of(parts[level], upper), theirs = half_of(parts[level], !upper);
        DFI_TRY(exchange(comm, comm->rank ^ step, values + theirs.first * element, theirs.count * element,
                         comm->scratch, mine.count * element));
        add(values + mine.first * element, comm->scratch, mine.count, element);
        parts[level + 1] = mine;
    }
    for (int step = comm->size / 2; step >= 1; step /= 2, level--) {
        const int upper = (comm->rank & step) != 0;
        const struct part theirs = half_of(parts[level - 1], !upper);
        DFI_TRY(exchange(comm, comm->rank ^ step, values + parts[level].first * element,
                         parts[level].count * element, values + theirs.first * element,
                         theirs.count * element));
    }
    return DIFFC_OK;
}

int dfi_comm_sum(struct dfi_comm *comm, void *values, size_t n, size_t element, int status)
{
    const size_t most = DFI_COMM_SCRATCH / element;
    if (comm->size == 1)
        return status;
    if (n * element <= SMALL_BYTES)
        return sum_small(comm, values, n, element, status);
    DFI_TRY(dfi_comm_agree(comm, status));
    for (size_t done = 0; done < n; done += most)
        DFI_TRY(sum_block(comm, (char *)values + done * element, n - done < most ? n - done : most, element));
    return DIFFC_OK;
}

/* A binomial tree: on each level the ranks that have the bytes double. */
int dfi_comm_broadcast(struct dfi_comm *comm, void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes; done += DIFFC_EXCHANGE_BYTES) {
        const size_t left = bytes - done, count = left < DIFFC_EXCHANGE_BYTES ? left : DIFFC_EXCHANGE_BYTES;
        char *piece = (char *)data + done;
        for (int step = 1; step < comm->size; step *= 2) {
            if (comm->rank < step)
                DFI_TRY(exchange(comm, comm->rank + step, piece, count, NULL, 0));
            else if (comm->rank < 2 * step)
                DFI_TRY(exchange(comm, comm->rank - step, NULL, 0, piece, count));
        }
    }
    return DIFFC_OK;
}
