#!/bin/sh
# Installs what is missing, builds into build/, and shows on shipped weights what the library does with MNIST:
#   sh examples/quickstart.sh [OUT]     (default: out; two or three minutes after the build)
set -eu
case ${1:-} in
'') out=out ;;
/*) out=$1 ;;
*) out=$PWD/$1 ;;
esac
cd "$(dirname "$0")/.."
. tests/install.sh

models=examples/models
install_packages gcc meson ninja-build pkg-config libblis-serial-dev libpng-dev zlib1g-dev libjansson-dev \
    libcairo2-dev libjpeg62-turbo-dev
[ -f build/build.ninja ] || meson setup build -Dtests=auto
ninja -C build

step() { printf '\n== %s\n' "$1"; }

# show MODEL PROGRAM COMMAND ARGUMENTS...: with the shipped weights of that name, into a folder of that name.
show() {
    model=$1 program=$2 command=$3
    shift 3
    if [ -f "$models/$model.safetensors" ]; then
        "build/examples/$program" "$command" --weights "$models/$model.safetensors" --out "$out/$model" "$@"
    else
        echo "$models/$model.safetensors does not ship: left out"
    fi
}

step "Part A without a model: a drawing with noise, and what a Gaussian blur does about it"
build/examples/forward_process --out "$out/a1.1-forward"
build/examples/classical_denoise --out "$out/a1.2-classical"
step "noising"
build/examples/mnist_denoise noise --out "$out/b1.1-noising"
step "denoising in one step: sigma 0.5, then other strengths of noise"
show b1.2-denoise mnist_denoise show --count 50
step "one step from pure noise: the mean digit"
show b1.4-pure-noise mnist_denoise show
step "DDPM with time condition: 20 samples"
show b2.1-ddpm-time mnist_diffusion sample --samples 20
step "DDPM with classes, guidance 5: 20 digits"
show b2.2-ddpm-class mnist_diffusion sample --samples 20
step "flow matching with time condition, 50 steps: 20 samples"
show b3.1-flow-time mnist_diffusion sample --samples 20 --timesteps 50
step "flow matching with classes, 50 steps, guidance 5: 20 digits"
show b3.2-flow-class mnist_diffusion sample --samples 20 --timesteps 50
step "the classifier on the shipped test images"
build/examples/mnist_eval judge --classifier $models/lenet.safetensors --out "$out/lenet"
step "a short training on the shipped images, with its loss curve"
rm -rf "$out/live-training"
build/examples/mnist_denoise train --width 32 --batch 32 --epochs 4 --lr 1e-3 --out "$out/live-training"

printf '\nThe pictures are in %s/ (begin with %s/b2.2-ddpm-class/samples.png)\n' "$out" "$out"
