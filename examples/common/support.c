#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ranks.h"
#include "support.h"

static volatile sig_atomic_t stop_signal;
static _Atomic(diffc_context *) cancel_target;

int ex_error(int code, const char *what, const char *format, ...)
{
    char text[1024], who[24] = "";
    va_list arguments;
    int rank = ex_ranks()->rank;
    if (rank > 0 && code == EX_USAGE) /* rank 0 says the same */
        return code;
    if (rank > 0)
        snprintf(who, sizeof who, "[%d]", rank);
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s%s: %s: %s\n", program_invocation_short_name, who, what, text);
    return code;
}

int ex_failed(const char *what, int status)
{
    int stopped = ex_stopped();
    if (stopped && status == DIFFC_ERR_CANCELLED)
        return stopped;
    if (ex_ranks()->rank > 0 && (status == DIFFC_ERR_CONFIG || status == DIFFC_ERR_CANCELLED))
        return EX_FAILED; /* of all ranks, and rank 0 says it */
    const char *message = diffc_message();
    size_t length = strlen(what);
    if (!strncmp(message, what, length) && message[length] == ':') /* the library named the file itself */
        message += length + strspn(message + length, ": ");
    return ex_error(EX_FAILED, what, "%s", message);
}

#define ROOM_FOR_NAMES 256 /* in a path, for what is put into a folder */

const char *ex_path(char buffer[EX_PATH], const char *directory, const char *name)
{
    snprintf(buffer, EX_PATH, "%s/%s", directory, name);
    return buffer;
}

/* 0, an exit code, or -1 where nothing of that name is there. */
static int check_entry(const char *path)
{
    struct stat entry;
    if (stat(path, &entry))
        return errno == ENOENT ? -1 : ex_error(EX_FAILED, path, "%s", strerror(errno));
    if (!S_ISDIR(entry.st_mode))
        return ex_error(EX_FAILED, path, "is not a folder");
    if (access(path, W_OK | X_OK))
        return ex_error(EX_FAILED, path, "%s", strerror(errno));
    return 0;
}

int ex_check_folder(const char *path)
{
    char part[EX_PATH];
    const size_t length = strlen(path);
    if (!length || length > sizeof part - ROOM_FOR_NAMES)
        return ex_error(EX_FAILED, path, "has %zu bytes, a folder's name must have 1 to %zu", length,
                        sizeof part - ROOM_FOR_NAMES);
    memcpy(part, path, length + 1);
    int code = check_entry(part);
    for (char *slash; code < 0 && (slash = strrchr(part, '/')); code = check_entry(slash > part ? part : "/"))
        *slash = '\0';
    return code < 0 ? check_entry(".") : code;
}

int ex_make_folder(const char *path)
{
    char part[EX_PATH];
    const size_t length = strlen(path);
    int code = ex_check_folder(path);
    for (size_t i = 1; i <= length && !code; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0777) && errno != EEXIST)
            code = ex_error(EX_FAILED, part, "%s", strerror(errno));
    }
    return code;
}

int ex_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

double ex_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void take_signal(int number)
{
    stop_signal = number;
    diffc_context *context = atomic_load(&cancel_target);
    if (context)
        diffc_context_cancel(context);
}

/* A file that takes the place of a closed stdout would receive what is printed. */
static void fill_streams(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

static void install_signals(void)
{
    struct sigaction action = { 0 };
    action.sa_handler = take_signal;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction present;
    if (!sigaction(SIGHUP, NULL, &present) && present.sa_handler != SIG_IGN) /* nohup stays what it is */
        sigaction(SIGHUP, &action, NULL);
    /* A full disk or a closed pipe then arrives as an error of the call. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

void ex_begin(void)
{
    fill_streams();
    install_signals();
}

int ex_end(int code, const char *out)
{
    if (!code && out)
        printf("%-28s %s\n", "results in", out);
    if ((fflush(stdout) || ferror(stdout)) && !code)
        return ex_error(EX_FAILED, "stdout", "cannot be written");
    return code;
}

int ex_stopped(void)
{
    return stop_signal ? 128 + stop_signal : 0;
}

void ex_cancel_on_signal(diffc_context *context)
{
    atomic_store(&cancel_target, context);
    /* A signal that came just before would otherwise be seen only after the call. */
    if (context && stop_signal)
        diffc_context_cancel(context);
}

/* What is opened twice would say the same twice. */
static int is_new(const char *line)
{
    static char said[8][256];
    static unsigned next;
    for (int i = 0; i < 8; i++)
        if (!strncmp(said[i], line, sizeof said[i] - 1))
            return 0;
    snprintf(said[next++ % 8], sizeof said[0], "%s", line);
    return 1;
}

static void print_line(void *opaque, int level, const char *line)
{
    (void)opaque;
    (void)level;
    if (is_new(line))
        fprintf(stderr, "%s: note: %s\n", program_invocation_short_name, line);
}

int ex_context_create(int threads, int memory_mib, diffc_context **context)
{
    diffc_context_options settings = DIFFC_CONTEXT_OPTIONS;
    diffc_limits limits = DIFFC_LIMITS;
    limits.memory = (int64_t)memory_mib << 20;
    settings.threads = threads;
    settings.log = print_line;
    settings.limits = &limits;
    int status = diffc_context_create(&settings, context);
    return status ? ex_failed("context", status) : 0;
}
