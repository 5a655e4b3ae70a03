#!/bin/sh
# Run-time errors: one line, exit code 1, no file left.
. "$(dirname "$0")/common.sh"

for program in mnist_denoise mnist_diffusion mnist_eval; do
    expect 1 $program train --data nowhere --out made
    one_line $program nowhere
    no_file made
done
expect 1 mnist_denoise show --weights nowhere.safetensors --out made
one_line mnist_denoise nowhere
no_file made
expect 1 mnist_diffusion sample --weights nowhere.safetensors --out made
one_line mnist_diffusion nowhere
no_file made
expect 1 mnist_eval judge --classifier nowhere.safetensors --out made
one_line mnist_eval nowhere
no_file made
expect 1 unet_check --weights nowhere.safetensors --x nowhere.npy --out made
one_line unet_check nowhere
no_file made

# A folder that cannot be made, a file of the wrong kind, a run without a checkpoint.
echo text >file
expect 1 mnist_denoise noise --out file/inside
one_line mnist_denoise file
expect 1 mnist_diffusion sample --weights file --out made
one_line mnist_diffusion file
no_file made
expect 1 mnist_denoise train --width 4 --resume --out made
one_line mnist_denoise --resume
no_file made
mkdir data
head -c 100 file >data/t10k-images-idx3-ubyte
cp data/t10k-images-idx3-ubyte data/t10k-labels-idx1-ubyte
expect 1 mnist_denoise train --data data --out made
one_line mnist_denoise t10k-images
no_file made
