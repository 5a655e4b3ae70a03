#include <stdio.h>
#include <time.h>

#include <diffc-mpi.h>

#include "ranks.h"

#define PATIENCE 3.0 /* seconds that a rank in trouble waits for the others to end with it */

static diffc_mpi *mpi;

int ex_ranks_open(int *argc, char ***argv)
{
    int provided;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return ex_error(EX_FAILED, "MPI", "cannot be initialised");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    int status = diffc_mpi_open(MPI_COMM_WORLD, NULL, &mpi);
    if (status)
        return ex_failed("MPI", status);
    ex_ranks_set(diffc_mpi_communicator(mpi));
    if (ex_ranks()->rank > 0 && !freopen("/dev/null", "w", stdout)) /* results are printed once */
        return ex_error(EX_FAILED, "/dev/null", "cannot be opened");
    return 0;
}

/* Whether all ranks come here. */
static int all_end(void)
{
    MPI_Request request;
    int done = 0;
    double begin = ex_seconds();
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS)
        return 0;
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done &&
           ex_seconds() - begin < PATIENCE)
        nanosleep(&(struct timespec) { 0, 10000000 }, NULL);
    return done;
}

/* A failure that is not that of all ranks must end the others, who may wait for this one. */
int ex_ranks_close(int code)
{
    if (code && !all_end())
        MPI_Abort(MPI_COMM_WORLD, code);
    diffc_mpi_close(&mpi);
    MPI_Finalize();
    return code;
}
