#!/bin/sh
# Programs of others: the C program of README.md and the code blocks of doc/getting-started.md are compiled against the build tree through
# pkg-config, linked with the shared and with the static library, and run as far as they need no weights.
# usage: check.sh SOURCE BUILD COMPILER
set -eu
source=$1
build=$2
cc=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PKG_CONFIG_PATH="$build/meson-uninstalled"

# The first C block of a Markdown file.
first_block() {
    awk '/^```c$/ && !done { inside = 1; next } /^```$/ && inside { inside = 0; done = 1 } inside' "$1"
}

# Every C block of a Markdown file as the body of one function, names declared once.
all_blocks() {
    awk '/^```c$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$1"
}

first_block "$source/README.md" > "$work/readme.c"
cat > "$work/hello.c" <<'EOF'
#include <diffc/diffc.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    diffc_context *context = NULL;
    diffc_model *model = NULL;
    if (diffc_abi_version() != DIFFC_ABI_VERSION || strcmp(diffc_version(), DIFFC_VERSION_TEXT) != 0)
        return 2;
    int failed = diffc_context_create(NULL, &context) || diffc_model_create(context, "cs180_unet", NULL, &model);
    if (failed)
        fprintf(stderr, "%s\n", diffc_message());
    printf("%lld parameters\n", (long long)diffc_model_parameter_count(model));
    diffc_release(&context);
    diffc_release(&model);
    return failed;
}
EOF
{
    echo '#include <diffc/diffc.h>'
    echo '#include <stdio.h>'
    echo 'int guide_body(diffc_guide *guide, diffc_tensor *x,'
    echo '               diffc_tensor *scaled, diffc_tensor *prediction, diffc_tensor *noise, diffc_tensor *x0, uint64_t seed);'
    echo 'int guide_body(diffc_guide *guide, diffc_tensor *x,'
    echo '               diffc_tensor *scaled, diffc_tensor *prediction, diffc_tensor *noise, diffc_tensor *x0, uint64_t seed)'
    echo '{'
    all_blocks "$source/doc/getting-started.md"
    echo '    return 0;'
    echo '}'
} > "$work/guide.c"

flags="-Wall -Wextra -Werror"
# shellcheck disable=SC2046,SC2086
{
    $cc $flags -o "$work/hello-shared" "$work/hello.c" $(pkg-config --cflags --libs diffc)
    $cc $flags -o "$work/readme" "$work/readme.c" $(pkg-config --cflags --libs diffc)
    $cc $flags -Wno-unused-variable -Wno-unused-but-set-variable -c -o "$work/guide.o" "$work/guide.c" $(pkg-config --cflags diffc)
    $cc $flags -o "$work/hello-static" "$work/hello.c" $(pkg-config --cflags diffc) "$build/lib/libdiffc.a" \
        $(pkg-config --libs --static diffc | tr ' ' '\n' | grep -v -e '^-ldiffc$')
}
if pkg-config --exists diffc-mpi; then
    # shellcheck disable=SC2046,SC2086
    $cc $flags -o "$work/mpi" "$source/tests/mpi/check_mpi.c" $(pkg-config --cflags --libs diffc-mpi)
fi
for program in hello-shared hello-static; do
    LD_LIBRARY_PATH="$build/lib" "$work/$program" | grep -q '^1973057 parameters$\|parameters$'
done
if [ -e "$source/examples/models/b2.2-ddpm-class.safetensors" ]; then
    (cd "$work" && mkdir -p examples && ln -s "$source/examples/models" examples/models &&
        LD_LIBRARY_PATH="$build/lib" ./readme)
fi
echo "programs outside the tree: compiled, linked both ways, run"
