#ifndef DFI_KERNEL_X86_MASK_H
#define DFI_KERNEL_X86_MASK_H

/* What attention as a whole and its softmax alone have in common. */

#define NEVER (-3.0e38f) /* the score of a key that takes no part */

/* The mask, or NULL if it would leave nothing. */
static inline const float *useful_mask(const float *mask_row, int keys)
{
    for (int i = 0; mask_row && i < keys; i++)
        if (mask_row[i] > 0)
            return mask_row;
    return NULL;
}

#endif
