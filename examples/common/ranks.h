#ifndef EX_RANKS_H
#define EX_RANKS_H

#include "support.h"

/* The processes that work on one run together. A program that was not started by an MPI launcher is rank 0 of
 * 1. Rank 0 writes files and speaks; the others compute. */
struct ex_ranks {
    int rank, size;
    const diffc_communicator *communicator; /* NULL: alone */
};

const struct ex_ranks *ex_ranks(void);

/* At the beginning and at the end of main(); a program has them from ranks_alone.c or from ranks_mpi.c.
 * Closing returns `code`. */
int ex_ranks_open(int *argc, char ***argv);
int ex_ranks_close(int code);
void ex_ranks_set(const diffc_communicator *communicator);

/* The largest exit code of all ranks: if one has failed, all do. */
int ex_ranks_agree(int code);

/* Of `count` rows rank r has those from ex_ranks_first(count, r) on; rank 0 has some if there are any. */
int64_t ex_ranks_first(int64_t count, int rank);

/* Brings all rows to rank 0. */
int ex_ranks_gather(void *rows, size_t row_bytes, int64_t count);

#endif
