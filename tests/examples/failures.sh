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

# write_data FOLDER COUNT LABEL: black images of 28 x 28 that all have one label (in octal).
write_data() {
    mkdir "$1"
    size=$(printf '%03o' "$2")
    printf "\\0\\0\\010\\003\\0\\0\\0\\$size\\0\\0\\0\\034\\0\\0\\0\\034" >"$1/t10k-images-idx3-ubyte"
    head -c $(($2 * 784)) /dev/zero >>"$1/t10k-images-idx3-ubyte"
    printf "\\0\\0\\010\\001\\0\\0\\0\\$size" >"$1/t10k-labels-idx1-ubyte"
    i=0
    while [ $i -lt "$2" ]; do
        printf "\\$3"
        i=$((i + 1))
    done >>"$1/t10k-labels-idx1-ubyte"
}

# A label that is no class was once an index behind the end of an array.
write_data eleven 20 013
for command in 'mnist_denoise noise' 'mnist_diffusion train' 'mnist_eval train'; do
    expect 1 $command --data eleven --out made
    one_line "${command%% *}" 'is 11'
    no_file made
done

# Labels of another number: without training images they were once cut to the images' number.
write_data odd 20 3
printf '\3' >>odd/t10k-labels-idx1-ubyte
printf '\0\0\010\001\0\0\0\025' | dd of=odd/t10k-labels-idx1-ubyte conv=notrunc status=none
for command in 'mnist_denoise noise' 'mnist_denoise train'; do
    expect 1 $command --data odd --out made
    one_line mnist_denoise '20 images, but .*odd/t10k-labels-idx1-ubyte has 21 labels'
    no_file made
done
write_data lonely 1 3
expect 1 mnist_eval judge --data lonely --classifier "$tests/../../examples/models/lenet.safetensors" --out made
one_line mnist_eval 'needs two'
no_file made

# A signal ends what has no loop of its own, too.
"$PROGRAMS/mnist_denoise" show --weights "$tests/../../examples/models/b1.2-denoise.safetensors" --count 1000 --out shown \
    2>stderr >stdout &
sleep 0.3
kill -TERM $!
code=0
wait $! || code=$?
[ $code -eq 143 ] || die "exit code $code of mnist_denoise show after SIGTERM, expected 143"

# Fewer images than a picture has room for are enough.
write_data few 4 3
expect 0 mnist_denoise noise --data few --out noise
expect 0 mnist_denoise train --data few --width 4 --epochs 1 --quiet --out few-run
is_png few-run/epoch-01.png

expect 2 mnist_denoise train --weights few-run/weights.safetensors --out made
one_line mnist_denoise --weights
no_file made

# Output that does not arrive is an error; a closed stdout does not put figures into a file of the run.
if [ -w /dev/full ]; then
    code=0
    "$PROGRAMS/mnist_denoise" noise --out noise >/dev/full 2>stderr || code=$?
    [ $code -eq 1 ] || die "exit code $code with a full stdout, expected 1"
    one_line mnist_denoise stdout
fi
"$PROGRAMS/mnist_denoise" train --data few --width 4 --epochs 1 --quiet --out closed >&-
[ "$(wc -l <closed/loss.csv)" -eq 2 ] || die "loss.csv has foreign lines"

# A folder's name is no pattern: a run in run[1] was once not seen, and overwritten.
small='--data few --width 4 --epochs 1 --quiet'
expect 0 mnist_denoise train $small --out 'run[1]'
expect 1 mnist_denoise train $small --out 'run[1]'
one_line mnist_denoise 'holds a run already'

# A name with no room behind it for those of files was once cut off.
expect 1 mnist_denoise noise --out "$(printf '%02000d' 0)"
one_line mnist_denoise 'must have 1 to'

# The folder comes before the work.
expect 1 mnist_diffusion sample --weights "$tests/../../examples/models/b2.2-ddpm-class.safetensors" --out few/t10k-labels-idx1-ubyte
one_line mnist_diffusion 'is not a folder'
! grep -q sampling stdout || die "the samples were made first"
