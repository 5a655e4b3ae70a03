#ifndef DFI_TEXT_REGEX_CODE_H
#define DFI_TEXT_REGEX_CODE_H

#include "text/regex.h"

enum {
    DFI_OP_CHARACTER,
    DFI_OP_CLASS,
    DFI_OP_BOUNDARY,
    DFI_OP_START,
    DFI_OP_END,
    DFI_OP_NOT_NEXT,
    DFI_OP_SAVE,
    DFI_OP_SPLIT, /* `jump` first, then `other` */
    DFI_OP_JUMP,
    DFI_OP_MATCH
};

enum {
    DFI_SET_DIGIT = 1,
    DFI_SET_NO_DIGIT = 2,
    DFI_SET_WORD = 4,
    DFI_SET_NO_WORD = 8,
    DFI_SET_SPACE = 16,
    DFI_SET_NO_SPACE = 32
};

#endif
