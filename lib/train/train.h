#ifndef DFI_TRAIN_TRAIN_H
#define DFI_TRAIN_TRAIN_H

#include <diffc/train.h>

#include "base/registry.h"

const struct dfi_entry *dfi_objective_entry(int index); /* NULL past the end */

#endif
