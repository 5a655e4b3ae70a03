#!/usr/bin/env python3
"""Prints entity_table.h: the named character references of HTML 4, sorted."""
from html.entities import name2codepoint

print('/* Made by entity_table.py; do not edit. */')
print('\nstatic const struct entity {\n    const char *name;\n    uint32_t character;\n} entities[] = {')
line = '   '
for name in sorted(name2codepoint):
    text = f' {{ "{name}", 0x{name2codepoint[name]:X} }},'
    if len(line) + len(text) > 108:
        print(line)
        line = '   '
    line += text
print(line)
print('};')
