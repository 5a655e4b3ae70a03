#ifndef EX_SUPPORT_H
#define EX_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include <diffc/diffc.h>

/* Small things that all example programs share: errors as one line, paths, the clock, signals. Functions that
 * return int give 0 or the exit code of the program, after they have said why. */

#define EX_FAILED 1 /* exit code of run-time errors */
#define EX_USAGE 2  /* exit code of wrong options */
#define EX_PATH 2048

/* Prints "program: what: reason" and returns `code`. */
int ex_error(int code, const char *what, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same for a failed call of the library, with its message. After a signal it says nothing and returns the
 * exit code of that signal. */
int ex_failed(const char *what, int status);

/* "directory/name" in `buffer`, which is returned. */
const char *ex_path(char buffer[EX_PATH], const char *directory, const char *name);

/* Whether ex_make_folder() can make this folder, or it is there to be written into; changes nothing, so that
 * it can be asked before long work. */
int ex_check_folder(const char *path);

/* Makes a folder and those above it. */
int ex_make_folder(const char *path);

int ex_exists(const char *path);

double ex_seconds(void); /* of a clock that only goes forward */

/* The first and the last call of a program. After ex_begin() SIGINT, SIGTERM and SIGHUP ask for a stop; a
 * second one ends the program at once. ex_end() says where the results are (`out` may be NULL) and gives the
 * exit code: that of the work, or EX_FAILED when what was printed did not arrive. */
void ex_begin(void);
int ex_end(int code, const char *out);

int ex_stopped(void); /* 0, or the exit code 128 + signal */

/* Between ex_cancel_on_signal(context) and ex_cancel_on_signal(NULL) a signal also cancels the call that
 * runs. */
void ex_cancel_on_signal(diffc_context *context);

/* A context; its warnings go to stderr. 0 threads: the CPUs of this process; 0 MiB: the library's limit. */
int ex_context_create(int threads, int memory_mib, diffc_context **context);

#endif
