/* libdiffc-mpi on two ranks, through its header alone. usage: mpirun -np 2 check_mpi */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <diffc-mpi.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "check_mpi[%d] line %d: %s (%s)\n", rank, __LINE__, #condition, \
                    diffc_message()); \
            failures++; \
        } \
    } while (0)

static int failures, rank;

static void bad_arguments(void)
{
    diffc_mpi_options options = DIFFC_MPI_OPTIONS;
    diffc_mpi *mpi = NULL;
    CHECK(diffc_mpi_open(MPI_COMM_WORLD, NULL, NULL) == DIFFC_ERR_ARG);
    CHECK(diffc_mpi_open(MPI_COMM_NULL, NULL, &mpi) == DIFFC_ERR_ARG);
    options.timeout = -1;
    CHECK(diffc_mpi_open(MPI_COMM_WORLD, &options, &mpi) == DIFFC_ERR_ARG);
    CHECK(strstr(diffc_message(), "timeout is -1"));
    options.struct_size = 1;
    CHECK(diffc_mpi_open(MPI_COMM_WORLD, &options, &mpi) == DIFFC_ERR_ARG);
    CHECK(mpi == NULL);
    CHECK(diffc_mpi_communicator(NULL) == NULL);
    diffc_mpi_close(NULL);
    diffc_mpi_close(&mpi);
}

static void check_outside(const char *expected)
{
    diffc_mpi *mpi = NULL;
    CHECK(diffc_mpi_open(MPI_COMM_WORLD, NULL, &mpi) == DIFFC_ERR_STATE);
    CHECK(strstr(diffc_message(), expected));
    CHECK(diffc_mpi_open_fint(0, NULL, &mpi) == DIFFC_ERR_STATE);
}

/* Both directions at once, one alone, and nothing at all. */
static void exchanges(void)
{
    diffc_mpi *mpi = NULL;
    int size = 0;
    char *out = malloc(DIFFC_EXCHANGE_BYTES), *in = calloc(DIFFC_EXCHANGE_BYTES, 1);
    CHECK(diffc_mpi_open_fint((int)MPI_Comm_c2f(MPI_COMM_WORLD), NULL, &mpi) == DIFFC_OK);
    const diffc_communicator *c = diffc_mpi_communicator(mpi);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    CHECK(c->rank == rank && c->size == size);
    for (size_t bytes = 1; bytes <= DIFFC_EXCHANGE_BYTES; bytes *= 4) {
        memset(out, rank + 1, bytes);
        memset(in, 0, bytes);
        CHECK(c->exchange(c->opaque, !rank, out, bytes, in, bytes) == 0);
        CHECK(in[0] == 2 - rank && in[bytes - 1] == 2 - rank);
    }
    CHECK(c->exchange(c->opaque, !rank, out, rank ? 0 : 5, in, rank ? 5 : 0) == 0);
    CHECK(!rank || in[4] == 1);
    CHECK(c->exchange(c->opaque, !rank, NULL, 0, NULL, 0) == 0);
    diffc_mpi_close(&mpi);
    CHECK(mpi == NULL);
    free(in);
    free(out);
}

static diffc_mpi *open_impatient(void)
{
    diffc_mpi_options options = DIFFC_MPI_OPTIONS;
    diffc_mpi *mpi = NULL;
    options.timeout = 0.5;
    CHECK(diffc_mpi_open(MPI_COMM_WORLD, &options, &mpi) == DIFFC_OK);
    return mpi;
}

/* A rank that there is not, a message of another size, and a rank that never answers, are errors and no hang.
 * A communicator that has failed stays so: MPI may still use its buffers. */
static void failures_come_back(void)
{
    char bytes[64] = "";
    diffc_mpi *mpi = open_impatient();
    const diffc_communicator *c = diffc_mpi_communicator(mpi);
    CHECK(c->exchange(c->opaque, 7, bytes, 1, bytes, 1) == DIFFC_ERR_IO);
    CHECK(strstr(diffc_message(), "MPI: "));
    CHECK(c->exchange(c->opaque, !rank, bytes, 1, bytes, 1) == DIFFC_ERR_IO);
    CHECK(strstr(diffc_message(), "failed before"));
    diffc_mpi_close(&mpi);

    mpi = open_impatient();
    c = diffc_mpi_communicator(mpi);
    const int status = c->exchange(c->opaque, !rank, bytes, rank ? 8 : 64, bytes, rank ? 32 : 8);
    CHECK(status == (rank ? DIFFC_ERR_IO : DIFFC_OK)); /* rank 1 gets 64 bytes and wants 32 */
    if (rank == 0) {
        CHECK(c->exchange(c->opaque, 1, NULL, 0, bytes, 8) == DIFFC_ERR_IO);
        CHECK(strstr(diffc_message(), "no answer for 0.5 seconds"));
    }
    diffc_mpi_close(&mpi);
}

int main(int argc, char **argv)
{
    int size = 0;
    check_outside("MPI_Init() has not been called");
    MPI_Init(&argc, &argv);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (size != 2)
        return 2;
    bad_arguments();
    exchanges();
    failures_come_back();
    MPI_Finalize();
    check_outside("MPI_Finalize() has been called");
    if (!failures && rank == 0)
        printf("libdiffc-mpi: exchanges, wrong arguments, wrong sizes, a silent rank\n");
    return failures ? 1 : 0;
}
