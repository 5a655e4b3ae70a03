#!/bin/sh
# The rules of the house that a script can check.
# usage: lint.sh SOURCE C_COMPILER [C++_COMPILER]
set -eu
LC_ALL=C
export LC_ALL
source=$1
cc=$2
cxx=${3:-}
cd "$source"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

complain() {
    echo "$1"
    sed 's/^/    /' "$work/bad"
    bad=1
}

expect_none() {
    [ ! -s "$work/bad" ] || complain "$1"
}

find lib include tests examples -name '*.[ch]' -print | sort > "$work/files"
grep '^lib/' "$work/files" > "$work/lib"

# Rooms look downwards only, and not at their neighbours on the same floor.
xargs grep -HoE '^ *# *include "[a-z0-9_]+/' < "$work/lib" | awk '
    BEGIN {
        n = split("base 0 tensor 1 kernel 1 io 2 nn 2 text 2 sched 3 guide 3 model 3 pipe 4 train 4 api 5", word, " ")
        for (i = 1; i < n; i += 2)
            floor[word[i]] = word[i + 1]
    }
    {
        split($0, part, ":")
        split(part[1], path, "/")
        sub(/.*"/, "", part[2])
        sub(/\/.*/, "", part[2])
        from = path[2]
        to = part[2]
        if (!(from in floor) || !(to in floor))
            print part[1] ": room " from " or " to " is not known"
        else if (from != to && floor[from] <= floor[to])
            print part[1] ": " from " includes " to
    }' | sort -u > "$work/bad"
expect_none "includes that do not go downwards:"

grep -HnE '^ *# *include <diffc/(model|train|diffc)\.h>' lib/sched/*.[ch] lib/guide/*.[ch] > "$work/bad" 2> /dev/null || true
expect_none "schedules and guidance know no model:"

xargs grep -lE '# *include [<"](blis/)?blis\.h[>"]' < "$work/lib" > "$work/blis" || true
if [ "$(wc -l < "$work/blis")" -gt 1 ]; then
    cp "$work/blis" "$work/bad"
    complain "blis.h belongs into one file:"
fi

xargs grep -noE '[a-z0-9/.-]+\.md' < "$work/files" | while IFS=: read -r file line name; do
    [ -n "$(find . -path "*/$name")" ] || echo "$file:$line: $name"
done > "$work/bad"
expect_none "documents that do not exist:"

xargs grep -nE "$(printf '\t')|[[:blank:]]$" < "$work/files" > "$work/bad" || true
expect_none "tabs or blanks at the end of a line:"

# Characters that do not show, or that look like others.
xargs grep -nP '\xe2\x80[\x8b-\x8f\xa8-\xae]|\xc2\xa0|\xef\xbb\xbf' < "$work/files" > "$work/bad" || true
expect_none "invisible characters:"

while read -r file; do
    lines=$(wc -l < "$file")
    limit=700
    case $file in tests/*) limit=1000 ;; esac
    [ "$lines" -le $limit ] || echo "$file: $lines lines"
    [ -z "$(tail -c 1 "$file")" ] || echo "$file: no newline at the end"
done < "$work/files" > "$work/bad"
expect_none "files longer than 700 lines (tests: 1000), or not ended:"

xargs grep -nE '\<(TODO|FIXME|XXX)\>|^ *# *if 0|\<(strtok|sprintf|vsprintf|gets|alloca|assert|printf|abort|exit)\(' < "$work/lib" > "$work/bad" || true
expect_none "what has no place in the library:"

# Each public header stands alone, in every language that includes it.
for header in include/diffc/*.h; do
    name=diffc/$(basename "$header")
    printf '#include <%s>\nextern int nothing_else;\nint nothing_else;\n' "$name" > "$work/alone.c"
    cp "$work/alone.c" "$work/alone.cc"
    for standard in c99 c11; do
        "$cc" -std=$standard -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only "$work/alone.c" > "$work/bad" 2>&1 ||
            complain "$name as $standard:"
    done
    if [ -n "$cxx" ]; then
        "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only "$work/alone.cc" > "$work/bad" 2>&1 ||
            complain "$name as c++17:"
    fi
done

[ $bad = 0 ] && echo "$(wc -l < "$work/files") files: nothing to complain about"
exit $bad
