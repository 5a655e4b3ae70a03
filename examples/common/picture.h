#ifndef EX_PICTURE_H
#define EX_PICTURE_H

#include "stage.h"

/* Pictures that programs start from: PNG and JPEG files, and small drawings of our own. */

/* What stands for a file where none is given: "drawing:house", "drawing:boat", "drawing:face". */
#define EX_DRAWINGS 3
extern const char *const ex_drawings[EX_DRAWINGS];

/* A file, or one of the drawings, as bytes U8 [3, H, W]. Alpha is laid on white. */
int ex_picture_read(diffc_context *context, const char *path, diffc_tensor **bytes);

/* The same for a network: F32 [1, 3, height, width] in [-1, 1]; the shorter side resized (bicubic, as
 * Pillow), then the middle. */
int ex_picture_open(diffc_context *context, const char *path, int64_t height, int64_t width,
                    diffc_tensor **x);

/* Can it be read? NULL can. */
int ex_picture_check(diffc_context *context, const char *path);

/* A mask [1, 1, height, width]: 1 where the picture is at least half white, 0 elsewhere. NULL: the middle of
 * the picture is 1. */
int ex_mask_open(diffc_context *context, const char *path, int64_t height, int64_t width,
                 diffc_tensor **mask);

/* Parts of the above. JPEG: baseline and progressive, grey and colour; EXIF is not read. */
int ex_jpeg_read(diffc_context *context, const char *path, diffc_tensor **bytes);
int ex_drawing_draw(diffc_context *context, const char *name, diffc_tensor **bytes);

#endif
