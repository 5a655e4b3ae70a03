#!/bin/sh
# Every wrong option: one line that names it, exit code 2, and nothing on disk.
. "$(dirname "$0")/common.sh"

wrong() { # word, program, arguments
    word=$1 name=$2
    shift 2
    expect 2 "$name" "$@" --out made
    one_line "$name" "$word"
    no_file made
}

for program in mnist_denoise mnist_diffusion mnist_eval unet_check; do
    expect 0 $program -h
    grep -q '^usage: ' stdout
    expect 0 $program --help
    grep -q '^usage: ' stdout
    expect 0 $program --version
    grep -q "$program" stdout
    wrong --nonsense $program --nonsense
    wrong --threads $program --threads 0
    wrong --threads $program --threads two
    wrong --lr $program --lr nan
    wrong --lr $program --lr=-1
    wrong --seed $program --seed -1
    wrong --epochs $program --epochs 1e3
    wrong --batch $program --batch 99999999999999999999
    wrong --quiet $program --quiet=yes
    wrong --memory $program --memory 0
    wrong --precision $program --precision fp64
    wrong --numerics $program --numerics sloppy
    wrong --time $program --time divide
    wrong --time $program --time 'add|mul'
    wrong --guidance $program --guidance 1,,2
    wrong --data $program --data ''
done
for program in mnist_denoise mnist_diffusion mnist_eval; do
    wrong paint $program paint
    wrong extra $program train extra
done
wrong --objective mnist_diffusion train --objective ddpn
wrong --guidance mnist_diffusion sample --guidance 1,2
wrong --show mnist_denoise train --show 1.5
wrong --show mnist_diffusion train --show 1,2.5
wrong '-x: unknown' mnist_eval -xyz
wrong '--help=3: takes no value' mnist_eval --help=3
wrong --weights unet_check
wrong --adam-steps unet_check --weights w --x x --adam-steps 3
expect 2 mnist_denoise train --epochs
one_line mnist_denoise --epochs
# An option that counts in another command only: a note, and the work is done.
expect 0 mnist_denoise noise --epochs 2 --sigma 1 --out noted
for option in epochs sigma; do
    grep -q "note: --$option has no effect here" stderr || die "nothing said about --$option"
done
expect 0 mnist_denoise noise --weights none --precision bf16 --count 3 --out noted
for option in weights precision count; do
    grep -q "note: --$option has no effect here" stderr || die "nothing said about --$option"
done
expect 0 mnist_denoise noise --quiet --out noted
[ ! -s stderr ] || die "a note without reason"
