/* The communicator of libdiffc over MPI: one exchange is a send and a receive between two ranks. */

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <diffc-mpi.h>

#define TAG 180
#define DEFAULT_TIMEOUT 600.0
#define STRUCT_SIZE_MOST 4096 /* a larger one was never set */

/* Messages go through memory of our own: after a failure MPI may still read and write there, whenever it gets
 * to it, so that it is never given back. */
struct diffc_mpi {
    MPI_Comm comm;
    double timeout;
    int broken;
    diffc_communicator communicator;
    char send[DIFFC_EXCHANGE_BYTES], receive[DIFFC_EXCHANGE_BYTES];
};

static int fail(int status, const char *what, int code)
{
    char reason[MPI_MAX_ERROR_STRING + 1] = "", line[2 * MPI_MAX_ERROR_STRING];
    int length = 0;
    if (MPI_Error_string(code, reason, &length) != MPI_SUCCESS)
        length = 0;
    reason[length] = '\0';
    (void)snprintf(line, sizeof(line), "%s: %s", what, reason);
    return diffc_fail(status, line);
}

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A peer that computes answers soon or in a long time: whoever waits for long leaves the CPU to others. */
static void rest(double waited)
{
    const struct timespec moment = { 0, 100000 };
    if (waited > 2e-3)
        (void)nanosleep(&moment, NULL);
    else if (waited > 1e-4)
        (void)sched_yield();
}

/* 1 when all requests are done, 0 after the timeout, or an error of MPI's in *code. */
static int await_all(const struct diffc_mpi *mpi, MPI_Request *requests, int count, MPI_Status *statuses,
                     int *code)
{
    const double begin = seconds();
    for (;;) {
        int done = 0;
        *code = MPI_Testall(count, requests, &done, statuses);
        if (*code != MPI_SUCCESS || done)
            return done;
        const double waited = seconds() - begin;
        if (waited > mpi->timeout)
            return 0;
        rest(waited);
    }
}

static int exchange(void *opaque, int peer, const void *send, size_t send_bytes, void *receive,
                    size_t receive_bytes)
{
    struct diffc_mpi *mpi = opaque;
    MPI_Request requests[2];
    MPI_Status statuses[2];
    int count = 0, code = MPI_SUCCESS, got = 0;
    if (mpi->broken)
        return diffc_fail(DIFFC_ERR_IO, "MPI: an exchange has failed before");
    if (send_bytes)
        memcpy(mpi->send, send, send_bytes);
    if (receive_bytes)
        code = MPI_Irecv(mpi->receive, (int)receive_bytes, MPI_BYTE, peer, TAG, mpi->comm,
                         &requests[count++]);
    if (send_bytes && code == MPI_SUCCESS)
        code = MPI_Isend(mpi->send, (int)send_bytes, MPI_BYTE, peer, TAG, mpi->comm, &requests[count++]);
    if (code == MPI_SUCCESS && await_all(mpi, requests, count, statuses, &code) && code == MPI_SUCCESS) {
        if (receive_bytes)
            code = MPI_Get_count(&statuses[0], MPI_BYTE, &got);
        if (code == MPI_SUCCESS && (size_t)got == receive_bytes) {
            if (receive_bytes)
                memcpy(receive, mpi->receive, receive_bytes);
            return 0;
        }
        mpi->broken = 1;
        return diffc_fail(DIFFC_ERR_IO, "MPI: a message of another size than was expected");
    }
    mpi->broken = 1;
    if (code != MPI_SUCCESS)
        return fail(DIFFC_ERR_IO, "MPI", code);
    char line[96];
    (void)snprintf(line, sizeof(line), "MPI: no answer for %.3g seconds", mpi->timeout);
    return diffc_fail(DIFFC_ERR_IO, line);
}

static int read_options(const diffc_mpi_options *options, double *timeout)
{
    char line[96];
    *timeout = DEFAULT_TIMEOUT;
    if (!options)
        return DIFFC_OK;
    if (options->struct_size < sizeof(*options) || options->struct_size > STRUCT_SIZE_MOST)
        return diffc_fail(DIFFC_ERR_ARG, "diffc_mpi_options.struct_size must be the size of the struct");
    for (size_t i = sizeof(*options); i < options->struct_size; i++)
        if (((const unsigned char *)options)[i])
            return diffc_fail(DIFFC_ERR_VERSION,
                              "diffc_mpi_options has fields that this version does not know");
    if (options->timeout != 0)
        *timeout = options->timeout;
    if (*timeout > 0 && isfinite(*timeout))
        return DIFFC_OK;
    (void)snprintf(line, sizeof(line), "timeout is %g seconds, must be more than 0", *timeout);
    return diffc_fail(DIFFC_ERR_ARG, line);
}

static int check_initialised(void)
{
    int initialised = 0, finalised = 0;
    if (MPI_Initialized(&initialised) != MPI_SUCCESS || !initialised)
        return diffc_fail(DIFFC_ERR_STATE, "MPI_Init() has not been called");
    if (MPI_Finalized(&finalised) != MPI_SUCCESS || finalised)
        return diffc_fail(DIFFC_ERR_STATE, "MPI_Finalize() has been called");
    return DIFFC_OK;
}

/* Without the handler of `comm`, which by default ends the program. */
static int dup_quietly(MPI_Comm comm, MPI_Comm *copy)
{
    MPI_Errhandler before;
    int code = MPI_Comm_get_errhandler(comm, &before);
    if (code != MPI_SUCCESS)
        return code;
    code = MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_dup(comm, copy);
    (void)MPI_Comm_set_errhandler(comm, before);
    (void)MPI_Errhandler_free(&before);
    return code;
}

/* A communicator of our own: nobody else's messages get into ours, and its errors come back. */
static int duplicate(struct diffc_mpi *mpi, MPI_Comm comm)
{
    int code = dup_quietly(comm, &mpi->comm), rank = 0, size = 0;
    if (code != MPI_SUCCESS)
        return fail(DIFFC_ERR_IO, "MPI_Comm_dup", code);
    code = MPI_Comm_set_errhandler(mpi->comm, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_rank(mpi->comm, &rank);
    if (code == MPI_SUCCESS)
        code = MPI_Comm_size(mpi->comm, &size);
    if (code != MPI_SUCCESS) {
        (void)MPI_Comm_free(&mpi->comm);
        return fail(DIFFC_ERR_IO, "MPI", code);
    }
    const diffc_communicator communicator = { sizeof(communicator), rank, size, exchange, mpi };
    mpi->communicator = communicator;
    return DIFFC_OK;
}

int diffc_mpi_open(MPI_Comm comm, const diffc_mpi_options *options, diffc_mpi **mpi)
{
    double timeout = 0;
    if (!mpi)
        return diffc_fail(DIFFC_ERR_ARG, "mpi is NULL");
    int status = read_options(options, &timeout);
    if (status == DIFFC_OK)
        status = check_initialised();
    if (status == DIFFC_OK && comm == MPI_COMM_NULL)
        status = diffc_fail(DIFFC_ERR_ARG, "comm is MPI_COMM_NULL");
    if (status < 0)
        return status;
    struct diffc_mpi *made = calloc(1, sizeof(*made));
    if (!made)
        return diffc_fail(DIFFC_ERR_NOMEM, "out of memory");
    made->timeout = timeout;
    status = duplicate(made, comm);
    if (status < 0) {
        free(made);
        return status;
    }
    *mpi = made;
    return DIFFC_OK;
}

int diffc_mpi_open_fint(int comm, const diffc_mpi_options *options, diffc_mpi **mpi)
{
    const int status = check_initialised();
    return status < 0 ? status : diffc_mpi_open(MPI_Comm_f2c((MPI_Fint)comm), options, mpi);
}

const diffc_communicator *diffc_mpi_communicator(const diffc_mpi *mpi)
{
    return mpi ? &mpi->communicator : NULL;
}

/* Freeing MPI's part is collective: after a failure, and after MPI_Finalize(), it would wait for those who do
 * not come. */
void diffc_mpi_close(diffc_mpi **mpi)
{
    int finalised = 0;
    if (!mpi || !*mpi)
        return;
    if (!(*mpi)->broken) {
        if (MPI_Finalized(&finalised) == MPI_SUCCESS && !finalised)
            (void)MPI_Comm_free(&(*mpi)->comm);
        free(*mpi);
    }
    *mpi = NULL;
}
