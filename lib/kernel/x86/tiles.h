#ifndef DFI_KERNEL_X86_TILES_H
#define DFI_KERNEL_X86_TILES_H

#include "kernel/x86/vec.h"

/* Register tiles of TILE broadcast values x 2 vectors: 28 of 32 registers, 12 of 16. */
#if VEC == 16
#define TILE 14
#define FOR_TILES_OF_ONE_ROW(T) \
    T(1, 1) T(2, 1) T(3, 1) T(4, 1) T(5, 1) T(6, 1) T(7, 1) T(8, 1) T(9, 1) T(10, 1) T(11, 1) T(12, 1) T(13, 1) T(14, 1)
#define FOR_TILES_OF_TWO_ROWS(T) T(1, 2) T(2, 2) T(3, 2) T(4, 2) T(5, 2) T(6, 2) T(7, 2)
#else
#define TILE 6
#define FOR_TILES_OF_ONE_ROW(T) T(1, 1) T(2, 1) T(3, 1) T(4, 1) T(5, 1) T(6, 1)
#define FOR_TILES_OF_TWO_ROWS(T) T(1, 2) T(2, 2) T(3, 2)
#endif

/* Taps whose input values follow each other in memory, joined: 3 x 3 taps over packed pixels are 3 runs of 3 * cin. */
#define MAX_RUNS 49
struct runs {
    int count;
    ptrdiff_t start[MAX_RUNS];
    int length[MAX_RUNS];
};

static inline void join_runs(struct runs *runs, int taps, const ptrdiff_t *offset, int cin)
{
    runs->count = 0;
    for (int t = 0; t < taps; t++) {
        const int last = runs->count - 1;
        if (last >= 0 && offset[t] == runs->start[last] + runs->length[last]) {
            runs->length[last] += cin;
        } else {
            runs->start[runs->count] = offset[t];
            runs->length[runs->count++] = cin;
        }
    }
}

#endif
