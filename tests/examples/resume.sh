#!/bin/sh
# A run that Ctrl-C stopped and --resume ended has the bits of one that never stopped.
. "$(dirname "$0")/common.sh"

options='--condition class --width 8 --epochs 3 --batch 16 --limit 400 --timesteps 20 --samples 10 --ema 0.99 --quiet'
expect 0 mnist_diffusion train $options --out whole

"$PROGRAMS/mnist_diffusion" train $options --out parts >stdout 2>stderr &
pid=$!
tries=0
until [ -d parts/checkpoints ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || die "no checkpoint came"
    kill -0 $pid 2>/dev/null || break
    sleep 0.05
done
kill -INT $pid 2>/dev/null || die "the run ended before it could be stopped"
code=0
wait $pid || code=$?
[ $code -eq 130 ] || { cat stderr >&2; die "exit code $code after Ctrl-C, expected 130"; }
no_file parts/weights.safetensors

# Lines that a crash may leave: steps after the checkpoint and half a line.
echo '9999,9,1,1,1,1' >>parts/loss.csv
printf '10000,9,0.' >>parts/loss.csv
expect 0 mnist_diffusion train $options --resume --out parts
cmp whole/weights.safetensors parts/weights.safetensors
cmp whole/weights-ema.safetensors parts/weights-ema.safetensors
cmp whole/epoch-03.png parts/epoch-03.png
cut -d, -f1-5 whole/loss.csv >a
cut -d, -f1-5 parts/loss.csv >b
cmp a b

# After the end, --resume has nothing left to train and writes the same again.
expect 0 mnist_diffusion train $options --resume --out parts
cmp whole/weights.safetensors parts/weights.safetensors

# Two programs do not train in one folder.
"$PROGRAMS/mnist_diffusion" train $options --epochs 1000 --out busy >stdout 2>stderr &
pid=$!
until [ -d busy/checkpoints ]; do sleep 0.05; done
code=0
"$PROGRAMS/mnist_diffusion" train $options --epochs 1000 --resume --out busy 2>second || code=$?
kill -INT $pid
wait $pid || true
[ $code -eq 1 ] || die "exit code $code beside another training, expected 1"
grep -q 'busy: another program' second || { cat second >&2; die "the line does not say why"; }
