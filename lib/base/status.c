#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

#define MESSAGE_SIZE 512

static _Thread_local char message[MESSAGE_SIZE];

/* Names of files and tensors come from outside: whatever they hold, the message stays one printable line. */
static void clean_line(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = *c == '\n' || *c == '\t' || *c == '\r' ? ' ' : '?';
}

/* A text that filled the buffer may end inside a UTF-8 sequence: drop what is left of it. */
static void trim_utf8(char *text, size_t length)
{
    size_t start = length;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
        text[start - 1] = '\0';
}

static void store(const char *text)
{
    const size_t length = strnlen(text, MESSAGE_SIZE - 1);
    memcpy(message, text, length);
    message[length] = '\0';
    clean_line(message);
    if (length == MESSAGE_SIZE - 1)
        trim_utf8(message, length);
}

int dfi_fail(int status, const char *format, ...)
{
    const int saved_errno = errno;
    char text[MESSAGE_SIZE]; /* the arguments may point into the message itself */
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    store(text);
    errno = saved_errno;
    return status;
}

int dfi_fail_in(int status, const char *format, ...)
{
    const int saved_errno = errno;
    char text[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    const size_t used = strlen(text);
    const int written = snprintf(text + used, sizeof(text) - used, ": %s", message);
    if (written >= 0)
        store(text);
    errno = saved_errno;
    return status;
}

const char *dfi_message(void)
{
    return message;
}

void dfi_forget_message(void)
{
    (void)dfi_fail(DIFFC_OK, "%s", "");
}

int dfi_callback_failed(int status, const char *format, ...)
{
    const int failure = status < 0 ? status : DIFFC_ERR_ARG;
    char who[256];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(who, sizeof(who), format, arguments) < 0)
        who[0] = '\0';
    va_end(arguments);
    if (message[0] != '\0')
        return dfi_fail_in(failure, "%s failed", who);
    return dfi_fail(failure, "%s returned %s (%d)", who,
                    status < 0 ? diffc_status_name(status) : "a positive status", status);
}
