#!/bin/sh
# mnist_denoise: short trainings on the shipped images, and what they leave.
. "$(dirname "$0")/common.sh"

expect 0 mnist_denoise noise --out noise
is_png noise/noising.png
expect 0 mnist_denoise train --width 8 --epochs 2 --batch 64 --lr 1e-3 --show 1 --limit 320 --ema 0.9 --out run
files run/weights.safetensors run/weights-ema.safetensors run/metrics.json
is_png run/epoch-01.png run/epoch-02.png run/loss.png
[ "$(head -n 1 run/loss.csv)" = step,epoch,loss,lr,grad_norm,seconds ] || die "header of loss.csv"
[ "$(wc -l <run/loss.csv)" -eq 11 ] || die "loss.csv has not one line a step"
for key in train_loss_last100 test_loss images_per_second epochs seed; do
    grep -q "\"$key\"" run/metrics.json || die "metrics.json has no $key"
    grep -q "^$key " stdout || die "$key is not printed"
done
[ "$(ls run/checkpoints/ckpt-*.safetensors | wc -l)" -eq 2 ] || die "not two checkpoints"
expect 1 mnist_denoise train --width 8 --out run
one_line mnist_denoise run
expect 0 mnist_denoise show --weights run/weights.safetensors --count 20 --out show
is_png show/noising.png show/denoised.png show/sigmas.png show/sigmas-error.png
# The same figure again, from the fp16 file and from the data that the run had.
expect 0 mnist_denoise test --weights run/weights.safetensors --out test
reproduces run/metrics.json test/metrics.json
expect 0 mnist_denoise train --pure-noise --width 8 --epochs 1 --limit 128 --quiet --out pure
[ ! -s stderr ] || die "--quiet is not quiet"
expect 0 mnist_denoise show --weights pure/weights.safetensors --out pure-show
is_png pure-show/pure-noise.png
expect 0 mnist_denoise test --weights pure/weights.safetensors --out pure-test
reproduces pure/metrics.json pure-test/metrics.json
[ -z "$(find . -name '*.tmp')" ] || die "temporary files are left"
