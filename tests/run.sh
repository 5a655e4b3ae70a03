#!/bin/sh
# Installs what is missing, builds into build-tests/ and runs all tests. The last line: N passed, N failed
set -eu
cd "$(dirname "$0")/.."
. tests/install.sh

build=${BUILD:-build-tests}
install_packages gcc meson ninja-build pkg-config libblis-serial-dev libpng-dev zlib1g-dev libjansson-dev \
    libcairo2-dev libjpeg62-turbo-dev libcmocka-dev openmpi-bin libopenmpi-dev
[ -f "$build/build.ninja" ] || meson setup "$build" -Dtests=enabled -Dexamples=enabled -Dmpi=enabled
ninja -C "$build"

status=0
meson test -C "$build" --no-rebuild --print-errorlogs "$@" || status=$?

# One JSON object a line and program; cmocka programs print a line for each of their tests.
log=$build/meson-logs/testlog.json
awk '
    function field(line, name,    at, rest) {
        at = index(line, "\"" name "\": \"")
        if (!at)
            return ""
        rest = substr(line, at + length(name) + 5)
        return substr(rest, 1, match(rest, /"/) - 1)
    }
    {
        result = field($0, "result")
        line = $0
        good = gsub(/\[       OK \]/, "", line)
        if (result == "SKIP")
            next
        if (result != "OK" && result != "EXPECTEDFAIL") {
            failed += 1
            passed += good
        } else
            passed += good ? good : 1
    }
    END { printf "%d passed, %d failed\n", passed, failed }
' "$log" >"$build/summary.txt"
cat "$build/summary.txt"
[ "$status" -eq 0 ]
