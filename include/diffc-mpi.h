#ifndef DIFFC_MPI_H
#define DIFFC_MPI_H

#include <diffc/communicator.h>
#include <mpi.h>

DIFFC_BEGIN

/* libdiffc-mpi: training on several machines over MPI. A library of its own (pkg-config diffc-mpi), because
 * every MPI has an ABI of its own; libdiffc knows nothing of it.
 *
 * The program calls MPI_Init() or MPI_Init_thread() (MPI_THREAD_FUNNELED will do) and MPI_Finalize(); the
 * trainer is called from the thread that may call MPI. Of the errors of MPI none ends the program: they
 * come back as a status of the trainer's functions. When a rank is lost, launchers usually end all the
 * others; where one does not, the exchanges with it fail, after `timeout` at the latest. A program that gets
 * such a failure calls MPI_Abort(), since MPI_Finalize() may wait for the lost rank. */
typedef struct diffc_mpi diffc_mpi;

typedef struct diffc_mpi_options {
    size_t struct_size;
    double timeout; /* seconds that an exchange waits for the other rank, > 0; default 600 */
} diffc_mpi_options;

#define DIFFC_MPI_OPTIONS DIFFC_OPTIONS_OF(diffc_mpi_options)

/* Duplicates `comm`; all of its ranks call this. `options` may be NULL. Give it back with diffc_mpi_close(),
 * after all trainers that use it. ERR_ARG, ERR_STATE (MPI is not initialised, or already finalised),
 * ERR_NOMEM, ERR_IO (MPI has failed). Since 0.1. */
DIFFC_API int diffc_mpi_open(MPI_Comm comm, const diffc_mpi_options *options, diffc_mpi **mpi);

/* The same for those who have the Fortran handle, which is an integer in every MPI: MPI_Comm_c2f(), or py2f()
 * of mpi4py. Since 0.1. */
DIFFC_API int diffc_mpi_open_fint(int comm, const diffc_mpi_options *options, diffc_mpi **mpi);

/* For diffc_trainer_options.communicator; belongs to `mpi`. NULL gives NULL. Since 0.1. */
DIFFC_API const diffc_communicator *diffc_mpi_communicator(const diffc_mpi *mpi);

/* Sets *mpi to NULL; NULL, or a variable that is NULL, does nothing. All ranks call this, unless an exchange
 * has failed: then its 2 MiB of buffers, which MPI may still use, stay until the process ends. Since 0.1. */
DIFFC_API void diffc_mpi_close(diffc_mpi **mpi);

DIFFC_END

#endif
