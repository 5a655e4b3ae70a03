#ifndef DFI_IO_PNG_PARTS_H
#define DFI_IO_PNG_PARTS_H

#include <png.h>
#include <setjmp.h>

#include "io/reader.h"

/* What reading and writing share: libpng reports by callbacks and longjmp, so each function that calls it
 * begins with setjmp and keeps what must survive in this struct, not in locals. */
struct dfi_png_job {
    struct diffc_context *context;
    const char *name;
    struct dfi_reader *reader; /* NULL when writing */
    int status;                /* set by a callback that failed before libpng did */
    int bad_trns;              /* the transparency chunk was dropped */
};

png_voidp dfi_png_alloc(png_structp png, png_alloc_size_t bytes);
void dfi_png_free(png_structp png, png_voidp block);
void dfi_png_warn(png_structp png, png_const_charp text);
PNG_NORETURN void dfi_png_error(png_structp png, png_const_charp text);

#endif
