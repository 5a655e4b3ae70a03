#ifndef DFI_BASE_CPU_H
#define DFI_BASE_CPU_H

#include <stdint.h>

/* DIFFC_CPU_... flags of this CPU and operating system. */
uint32_t dfi_cpu_detect(void);

#endif
