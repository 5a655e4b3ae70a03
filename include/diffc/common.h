#ifndef DIFFC_COMMON_H
#define DIFFC_COMMON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define DIFFC_BEGIN extern "C" {
#define DIFFC_END }
#define DIFFC_OPTIONS_OF(type) \
    { \
        sizeof(type) \
    }
#else
#define DIFFC_BEGIN
#define DIFFC_END
#define DIFFC_OPTIONS_OF(type) \
    { \
        .struct_size = sizeof(type) \
    }
#endif

#if defined(__GNUC__) && !defined(DIFFC_STATIC)
#define DIFFC_API __attribute__((visibility("default")))
#else
#define DIFFC_API
#endif

DIFFC_BEGIN

/* Rules that hold for every function of the library, unless its comment says otherwise.
 *
 * Errors: a function that can fail returns an int, DIFFC_OK (0) or a negative diffc_status; outputs are
 * written on success only, and diffc_message() then says in one line what was wrong, with the values. Nothing
 * in the library aborts, exits, prints, installs a signal handler or changes the locale, environment or
 * floating-point mode of the process.
 *
 * Ownership: a handle that a function returns through an output argument belongs to the caller, who gives it
 * back with diffc_release(). Handles keep what they need alive: they may be released in any order. Strings
 * and arrays given to the library are copied; `const char *` results live as long as the handle that they
 * were asked of.
 *
 * Threads: handles may move between threads. Functions that take a const handle may run at the same time on
 * one handle; every other use of one handle must be serialised by the caller. Different contexts are
 * independent of each other.
 *
 * Option structs: initialise with the DIFFC_..._OPTIONS macro beside the struct (it sets struct_size and
 * zeroes the rest); a zero field means the default that its comment names. NULL in place of a struct means
 * all defaults. Fields are only ever appended. A struct_size that no version has is ERR_ARG; fields of a
 * newer version that are set are ERR_VERSION. Structs that the library fills are initialised in the same way,
 * and no more than their struct_size is written.
 *
 * Callbacks run on the calling thread, must not throw or longjmp, and must not call back into the same handle
 * except where stated. */

typedef struct diffc_context diffc_context;     /* threads, allocator, limits, log: everything lives in one */
typedef struct diffc_tensor diffc_tensor;       /* an n-dimensional array */
typedef struct diffc_generator diffc_generator; /* a sequential random number generator */
typedef struct diffc_archive diffc_archive;     /* named tensors and metadata: a safetensors file */
typedef struct diffc_text_encoder diffc_text_encoder;   /* token ids to text states: T5 */
typedef struct diffc_tokenizer diffc_tokenizer;         /* text to token ids */
typedef struct diffc_schedule diffc_schedule;           /* a noise schedule */
typedef struct diffc_sampler diffc_sampler;             /* a step rule over a list of timesteps */
typedef struct diffc_guide diffc_guide;                 /* combines several predictions into one */
typedef struct diffc_view diffc_view;                   /* an orthogonal map of pictures */
typedef struct diffc_factorization diffc_factorization; /* a picture as a sum of components */
typedef struct diffc_model diffc_model;                 /* an architecture with its weights */
typedef struct diffc_session diffc_session;             /* a model ready to run: memory plan, conditions */
typedef struct diffc_dataset diffc_dataset;             /* samples to train on */
typedef struct diffc_trainer diffc_trainer;             /* objective, optimizer and their state */

typedef enum diffc_status {
    DIFFC_OK = 0,
    DIFFC_ERR_ARG = -1,         /* an argument is NULL, out of range or of the wrong shape or dtype */
    DIFFC_ERR_NOMEM = -2,       /* the allocator returned NULL */
    DIFFC_ERR_IO = -3,          /* the operating system refused an operation on a file */
    DIFFC_ERR_FORMAT = -4,      /* a file is not what its format asks for */
    DIFFC_ERR_TRUNCATED = -5,   /* a file ends too early */
    DIFFC_ERR_CHECKSUM = -6,    /* a checksum does not match */
    DIFFC_ERR_LIMIT = -7,       /* a limit of diffc_limits would be passed */
    DIFFC_ERR_UNSUPPORTED = -8, /* valid, but not something this version does */
    DIFFC_ERR_CONFIG = -9,      /* parts that do not fit each other: shapes, names, settings */
    DIFFC_ERR_NONFINITE = -10,  /* NaN or infinity where numbers are needed */
    DIFFC_ERR_CANCELLED = -11,  /* stopped by diffc_context_cancel() or by a callback */
    DIFFC_ERR_VERSION = -12,    /* written by, or compiled for, a version that does not fit */
    DIFFC_ERR_BUSY = -13,       /* another process or thread holds it */
    DIFFC_ERR_STATE = -14,      /* the call is not possible in the present state of the handle */
    DIFFC_STATUS_MIN = -2147483647 - 1
} diffc_status;

typedef enum diffc_dtype {
    DIFFC_F32 = 1,
    DIFFC_F16 = 2,
    DIFFC_BF16 = 3,
    DIFFC_F64 = 4,
    DIFFC_U8 = 5,
    DIFFC_I32 = 6,
    DIFFC_I64 = 7,
    DIFFC_DTYPE_MAX = 2147483647
} diffc_dtype;

/* A name such as "DIFFC_ERR_FORMAT"; "unknown status" for any other number. Never NULL. Since 0.1. */
DIFFC_API const char *diffc_status_name(int status);

/* One line about the last failure on the calling thread, without a newline; "" before the first one. The text
 * stays valid until the next library call on this thread. Since 0.1. */
DIFFC_API const char *diffc_message(void);

/* Version of the library that is linked, as "major.minor.patch", and its DIFFC_ABI_VERSION. A program
 * compiled for a higher ABI version than the library's must not use it. Since 0.1. */
DIFFC_API const char *diffc_version(void);
DIFFC_API int diffc_abi_version(void);

/* Gives a handle back. `handle_address` is the address of a handle variable of any type, e.g.
 * diffc_release(&tensor); the variable becomes NULL. NULL, or a variable that is NULL, does nothing.
 * Thread-safe: references are counted atomically. Since 0.1. */
DIFFC_API void diffc_release(void *handle_address);

/* Takes one more reference to a handle of any type and returns it; each needs its own diffc_release().
 * NULL gives NULL. Since 0.1. */
DIFFC_API void *diffc_retain(void *handle);

/* Things that are found by name: the registries can be listed. */
typedef enum diffc_registry {
    DIFFC_REGISTRY_SCHEDULE = 1,      /* names for diffc_schedule_create() */
    DIFFC_REGISTRY_SPACING = 2,       /* names for diffc_sampler_options.spacing */
    DIFFC_REGISTRY_STEP = 3,          /* names for diffc_sampler_options.step */
    DIFFC_REGISTRY_ARCHITECTURE = 4,  /* names for diffc_model_create() */
    DIFFC_REGISTRY_OBJECTIVE = 5,     /* names for diffc_trainer_options.objective */
    DIFFC_REGISTRY_VIEW = 6,          /* names for diffc_view_create() */
    DIFFC_REGISTRY_FACTORIZATION = 7, /* names for diffc_factorization_create() */
    DIFFC_REGISTRY_REDUCTION = 8,     /* names for diffc_guide_create_views() */
    DIFFC_REGISTRY_RESIZE = 9,        /* names for diffc_image_resize() */
    DIFFC_REGISTRY_MASK = 10,         /* names for diffc_sample_options.mask_rule */
    DIFFC_REGISTRY_MAX = 2147483647
} diffc_registry;

/* Entry `index` (from 0) of a registry: its name and a one-line description, both static strings. Returns
 * DIFFC_ERR_ARG past the end or for an unknown registry. Since 0.1. */
DIFFC_API int diffc_registry_entry(int registry, int index, const char **name, const char **description);

DIFFC_END

#endif
