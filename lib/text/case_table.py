#!/usr/bin/env python3
"""Prints case_table.h: what Python's str.lower(), str.strip() and re know of Unicode, as ranges; and what the full-width
and half-width forms from U+FF01 on stand for (0: nothing).

Pipelines prepare prompts with text.lower().strip(), so Python itself is asked. A capital sigma shows which characters
are cased and which are ignored when it looks for its neighbours (SpecialCasing.txt, Final_Sigma).
"""
import sys
import unicodedata

SIGMA, FINAL = '\u03a3', '\u03c2'
characters = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def is_final(before):
    return (before + SIGMA).lower().endswith(FINAL)


def ranges(members):
    found = []
    for c in members:
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def lower_ranges():
    """first, last, step (1 or 2), difference of runs with the same difference."""
    pairs = [(ord(c), ord(c.lower())) for c in characters if len(c.lower()) == 1 and c.lower() != c]
    found = []
    for c, low in pairs:
        run = found[-1] if found else None
        if run and run[3] == low - c and (c - run[1] == run[2] or (run[0] == run[1] and c - run[1] in (1, 2))):
            run[2] = c - run[1]
            run[1] = c
        else:
            found.append([c, c, 1, low - c])
    return found


def show(kind, name, rows):
    print(f'\nstatic const struct {kind} {name}[] = {{')
    line = '   '
    for row in rows:
        text = ' { ' + ', '.join(str(v) if v < 1000 and i > 1 else f'0x{v:X}' if v >= 0 else str(v)
                                 for i, v in enumerate(row)) + ' },'
        if len(line) + len(text) > 108:
            print(line)
            line = '   '
        line += text
    print(line)
    print('};')


cased = [ord(c) for c in characters if is_final(' ' + c)]
ignored = [ord(c) for c in characters if is_final('A' + c) and not is_final(' ' + c)]
longer = [c for c in characters if len(c.lower()) > 1]
assert longer == ['\u0130'] and longer[0].lower() == 'i\u0307'
print(f'/* Made by case_table.py from Unicode {unicodedata.unidata_version}; do not edit. */')
show('lower_range', 'lower_ranges', lower_ranges())
show('range', 'cased_ranges', ranges(cased))
show('range', 'ignored_ranges', ranges(ignored))
show('range', 'space_ranges', ranges([ord(c) for c in characters if c.isspace()]))
show('range', 'word_ranges', ranges([ord(c) for c in characters if c.isalnum() or c == '_']))
show('range', 'digit_ranges', ranges([ord(c) for c in characters if c.isdecimal()]))

widths = [unicodedata.normalize('NFKC', chr(c)) for c in range(0xFF01, 0xFFF0)]
numbers = [ord(w) if len(w) == 1 and w != chr(0xFF01 + i) else 0 for i, w in enumerate(widths)]
print('\nstatic const uint16_t width_forms[] = {')
for i in range(0, len(numbers), 14):
    print('    ' + ' '.join(f'0x{n:X},' for n in numbers[i:i + 14]))
print('};')
