#!/bin/sh
# Installs what is missing, builds into build/, and shows on shipped weights what the library does with MNIST:
#   sh examples/quickstart.sh [OUT]     (default: out; two or three minutes after the build)
set -eu
cd "$(dirname "$0")/.."
. tests/install.sh

out=${1:-out}
models=examples/models
install_packages gcc meson ninja-build pkg-config libblis-serial-dev libpng-dev zlib1g-dev libjansson-dev libcairo2-dev
[ -f build/build.ninja ] || meson setup build -Dtests=auto
ninja -C build

step() { printf '\n== %s\n' "$1"; }
run() { program=$1; shift; "build/examples/$program" "$@"; }

step "denoising in one step: noising grid, sigma 0.5, other strengths of noise"
run mnist_denoise show --weights $models/b1.2-denoise.safetensors --out "$out/b1.2-denoise" --count 50
step "one step from pure noise: the mean digit"
run mnist_denoise show --weights $models/b1.4-pure-noise.safetensors --out "$out/b1.4-pure-noise"
step "DDPM with time condition: 20 samples"
run mnist_diffusion sample --weights $models/b2.1-ddpm-time.safetensors --samples 20 --out "$out/b2.1-ddpm-time"
step "DDPM with classes, guidance 5: 20 digits"
run mnist_diffusion sample --weights $models/b2.2-ddpm-class.safetensors --samples 20 --out "$out/b2.2-ddpm-class"
step "flow matching, 50 steps: 20 samples"
run mnist_diffusion sample --weights $models/b3.1-flow-time.safetensors --samples 20 --timesteps 50 \
    --out "$out/b3.1-flow-time"
step "flow matching with classes, 50 steps, guidance 5: 20 digits"
run mnist_diffusion sample --weights $models/b3.2-flow-class.safetensors --samples 20 --timesteps 50 \
    --out "$out/b3.2-flow-class"
step "the classifier on the shipped test images"
run mnist_eval judge --classifier $models/lenet.safetensors --out "$out/lenet"
step "a short training on the shipped images, with its loss curve"
rm -rf "$out/live-training"
run mnist_denoise train --width 32 --batch 32 --epochs 4 --lr 1e-3 --out "$out/live-training"

printf '\nThe pictures are in %s/ (start with %s/b2.2-ddpm-class/samples.png).\n' "$out" "$out"
