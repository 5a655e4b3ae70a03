#ifndef DFI_BASE_STATUS_H
#define DFI_BASE_STATUS_H

#include <diffc/common.h>

#include "base/attributes.h"

/* Stores the calling thread's message and returns `status`, so that a failure is one line:
 * return dfi_fail(DIFFC_ERR_ARG, "batch is %d, must be at least 1", batch); */
int dfi_fail(int status, const char *format, ...) DFI_PRINTF(2, 3);

/* The same with the present message put behind a prefix, e.g. the name of the file that was being read. */
int dfi_fail_in(int status, const char *format, ...) DFI_PRINTF(2, 3);

/* The calling thread's message; "" before the first failure. */
const char *dfi_message(void);

/* Empties it, before a callback: what is there afterwards is the callback's. */
void dfi_forget_message(void);

/* After a callback that returned other than DIFFC_OK: its status (a positive one becomes ERR_ARG), and its
 * message, if it left one, behind what `format` says it is. */
int dfi_callback_failed(int status, const char *format, ...) DFI_PRINTF(2, 3);

#define DFI_TRY(expression) \
    do { \
        const int status_ = (expression); \
        if (status_ < 0) \
            return status_; \
    } while (0)

/* For arguments of the API, which are named as in the header. */
#define DFI_REQUIRE(argument) \
    do { \
        if (!(argument)) \
            return dfi_fail(DIFFC_ERR_ARG, "%s is NULL", #argument); \
    } while (0)

#endif
