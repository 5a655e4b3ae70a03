# Read by the tests here: PROGRAMS is the folder of the programs, a scratch folder is the current one.
set -eu
PROGRAMS=$1
tests=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

die() { echo "$0: $*" >&2; exit 1; }

# expect CODE PROGRAM ARGUMENTS...: runs it and compares the exit code; output goes to the files stdout and stderr.
expect() {
    wanted=$1 program=$2
    shift 2
    code=0
    "$PROGRAMS/$program" "$@" >stdout 2>stderr || code=$?
    [ "$code" -eq "$wanted" ] || { cat stderr >&2; die "$program $*: exit code $code, expected $wanted"; }
}

# The last program said one line on stderr, "program: what: reason" with WORD in it.
one_line() { # program, word
    [ "$(wc -l <stderr)" -eq 1 ] || { cat stderr >&2; die "$1: more or less than one line on stderr"; }
    grep -q "^$1: [^:]*: " stderr || { cat stderr >&2; die "$1: not of the form program: what: reason"; }
    grep -q -- "$2" stderr || { cat stderr >&2; die "$1: the line does not name $2"; }
}

no_file() { [ ! -e "$1" ] || die "$1 was left behind"; }

files() {
    for name; do
        [ -s "$name" ] || die "$name is missing or empty"
    done
}

# The last test_loss of one metrics.json is within 1 % of that of the other.
test_loss_of() { sed -n 's/.*"test_loss": \([0-9.e-]*\).*/\1/p' "$1" | tail -n 1; }
reproduces() {
    awk -v a="$(test_loss_of "$1")" -v b="$(test_loss_of "$2")" 'BEGIN { exit !(a > 0 && (a - b)^2 < (0.01 * a)^2) }' ||
        die "$1 and $2 differ in test_loss"
}

is_png() {
    for name; do
        [ "$(od -An -c -N4 "$name" | tr -d ' ')" = '211PNG' ] || die "$name is no PNG file"
    done
}
