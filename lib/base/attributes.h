#ifndef DFI_BASE_ATTRIBUTES_H
#define DFI_BASE_ATTRIBUTES_H

#define DFI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define DFI_INLINE static inline __attribute__((always_inline))
#define DFI_NOINLINE __attribute__((noinline))
#define DFI_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
