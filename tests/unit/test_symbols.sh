#!/bin/sh
# What the library shows to a linker. lib/diffc.symbols lists every export and the version that brought it, one per line,
# sorted; a new public function is added there by hand, and nothing is ever removed from it.
# usage: test_symbols.sh SOURCE SHARED_LIBRARY ARCHIVE [LIST HEADER]
set -eu
LC_ALL=C
export LC_ALL
source=$1
shared=$2
archive=$3
list=${4:-$source/lib/diffc.symbols}
headers=${5:-$source/include/diffc/*.h}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

complain() {
    echo "$1"
    sed 's/^/    /' "$work/bad"
    bad=1
}

# Lines of one sorted file that are not in another.
expect_none() {
    [ ! -s "$work/bad" ] || complain "$1"
}

sed 's/ .*//' "$list" > "$work/list"
sort -u -c "$work/list" || bad=1
grep -vE '^diffc_[a-z0-9_]+ [0-9]+\.[0-9]+$' "$list" > "$work/bad" || true
expect_none "lines of the list of symbols that are not 'symbol version':"

# shellcheck disable=SC2086
grep -hE '^DIFFC_API ' $headers | sed 's/^[^(]*[ *]\(diffc_[a-z0-9_]*\)(.*/\1/' | sort -u > "$work/headers"
comm -23 "$work/headers" "$work/list" > "$work/bad"
expect_none "in the headers, but not in the list of symbols:"
comm -13 "$work/headers" "$work/list" > "$work/bad"
expect_none "in the list of symbols, but not in the headers:"

nm -D --defined-only "$shared" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u > "$work/exports"
comm -23 "$work/list" "$work/exports" > "$work/bad"
expect_none "not exported:"
comm -13 "$work/list" "$work/exports" > "$work/bad"
expect_none "exported, but not in the list of symbols:"

# A library does not end its process, print, or change what belongs to the process.
cat > "$work/denied" <<'EOF'
__assert_fail
__fprintf_chk
__printf_chk
__vfprintf_chk
__vprintf_chk
_exit
abort
exit
fprintf
perror
popen
printf
putchar
puts
rand
setenv
setlocale
sigaction
signal
srand
stderr
stdout
strtok
system
unsetenv
vfprintf
vprintf
EOF
nm -D --undefined-only "$shared" | awk '{ sub(/@.*/, "", $NF); print $NF }' | sort -u > "$work/imports"
comm -12 "$work/denied" "$work/imports" > "$work/bad"
expect_none "imported, but a library must not:"

# A static archive must not clash either. Sanitizers add names of their own.
nm -g --defined-only "$archive" 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u |
    grep -vE '^(diffc_|dfi_|__(asan|odr_asan|tsan|ubsan|sanitizer|gcov|llvm|start|stop|profc|profd|profn|covrec)|DW\.|asan\.)' > "$work/bad" || true
expect_none "external in the archive without the prefix diffc_ or dfi_:"

[ $bad = 0 ] && echo "$(wc -l < "$work/exports") exports, $(wc -l < "$work/imports") imports: as they should be"
exit $bad
