#include "ranks.h"

static struct ex_ranks present = { 0, 1, NULL };

const struct ex_ranks *ex_ranks(void)
{
    return &present;
}

void ex_ranks_set(const diffc_communicator *communicator)
{
    present = (struct ex_ranks) { 0, 1, NULL };
    if (communicator)
        present = (struct ex_ranks) { communicator->rank, communicator->size, communicator };
}

static int exchange(int peer, const void *send, size_t send_bytes, void *receive, size_t receive_bytes)
{
    const diffc_communicator *c = present.communicator;
    int status = c->exchange(c->opaque, peer, send, send_bytes, receive, receive_bytes);
    return status ? ex_failed("ranks", status) : 0;
}

int ex_ranks_agree(int code)
{
    int worst = code, other;
    for (int rank = 1; rank < present.size; rank++) {
        if (present.rank != 0 && present.rank != rank)
            continue;
        if (exchange(present.rank ? 0 : rank, &code, sizeof code, &other, sizeof other))
            return EX_FAILED;
        worst = other > worst ? other : worst;
    }
    for (int rank = 1; rank < present.size; rank++)
        if (present.rank == 0 ? exchange(rank, &worst, sizeof worst, NULL, 0)
                              : present.rank == rank && exchange(0, NULL, 0, &worst, sizeof worst))
            return EX_FAILED;
    return worst;
}

int64_t ex_ranks_first(int64_t count, int rank)
{
    return (count * rank + present.size - 1) / present.size;
}

int ex_ranks_gather(void *rows, size_t row_bytes, int64_t count)
{
    int code = 0;
    for (int rank = 1; rank < present.size && !code; rank++) {
        char *at = (char *)rows + (size_t)ex_ranks_first(count, rank) * row_bytes;
        const char *end = (char *)rows + (size_t)ex_ranks_first(count, rank + 1) * row_bytes;
        if (present.rank != 0 && present.rank != rank)
            continue;
        while (at < end && !code) {
            size_t left = (size_t)(end - at),
                   bytes = left < DIFFC_EXCHANGE_BYTES ? left : DIFFC_EXCHANGE_BYTES;
            code = present.rank ? exchange(0, at, bytes, NULL, 0) : exchange(rank, NULL, 0, at, bytes);
            at += bytes;
        }
    }
    return code;
}
