#!/bin/sh
# mnist_diffusion and mnist_eval: both objectives, all conditions, samples, and the judge.
. "$(dirname "$0")/common.sh"

small='--width 8 --epochs 1 --limit 128 --samples 10 --quiet'
expect 2 mnist_diffusion train --condition none $small --out made
one_line mnist_diffusion --condition
expect 0 mnist_diffusion train --condition time --timesteps 20 $small --out time
expect 0 mnist_denoise train --width 8 --epochs 1 --limit 128 --quiet --out none
expect 0 mnist_diffusion train --condition class --timesteps 20 $small --ema 0.99 --out class
expect 0 mnist_diffusion train --objective flow --condition time --timesteps 5 $small --out flow
for run in time class flow none; do
    is_png $run/epoch-01.png $run/loss.png
    files $run/weights.safetensors $run/metrics.json
done
for run in time class flow; do
    expect 0 mnist_diffusion test --weights $run/weights.safetensors --out $run-test
    reproduces $run/metrics.json $run-test/metrics.json
done
expect 0 mnist_diffusion sample --weights flow/weights.safetensors --timesteps 5 --samples 7 --quiet --out flow-samples
for threads in 1 2; do
    expect 0 mnist_diffusion sample --weights class/weights.safetensors --samples 20 --guidance 2 --clip --quiet \
        --threads $threads --out samples-$threads
done
is_png samples-1/samples.png samples-1/steps.png samples-1/animation.png flow-samples/samples.png
grep -q acTL samples-1/animation.png || die "animation.png is not animated"
cmp samples-1/samples.npy samples-2/samples.npy

expect 0 mnist_eval train --epochs 1 --limit 300 --quiet --out lenet
grep -q classifier_test_accuracy lenet/metrics.json || die "no accuracy of the classifier"
expect 1 mnist_diffusion sample --weights lenet/weights.safetensors --out made
one_line mnist_diffusion lenet
no_file made
expect 1 mnist_diffusion sample --weights class/weights.safetensors --timesteps 21 --out made
one_line mnist_diffusion --timesteps
no_file made
expect 1 mnist_denoise show --weights class/weights.safetensors --out made
one_line mnist_denoise class/weights
no_file made
expect 1 mnist_eval judge --classifier lenet/weights.safetensors --weights none/weights.safetensors --out made
one_line mnist_eval none/weights
no_file made
expect 0 mnist_eval judge --classifier lenet/weights.safetensors --weights class/weights.safetensors --samples 20 \
    --guidance 0,1,5 --quiet --out judge
for key in classifier_test_accuracy sample_accuracy frechet_samples_test; do
    grep -q "\"$key\"" judge/metrics.json || die "metrics.json has no $key"
done
is_png judge/sweep-accuracy.png judge/sweep-frechet.png judge/samples-guidance-5.png

# One image of the samples serves as input and target of the comparison program.
expect 0 unet_check --weights none/weights.safetensors --x flow-samples/samples.npy \
    --target flow-samples/samples.npy --adam-steps 3 --out check
files check/out_eval.npy check/out_train.npy check/grad.safetensors check/out_eval_after.npy check/weights.safetensors
[ "$(grep -c '^step ' stdout)" -eq 3 ] || die "not three losses"
expect 2 unet_check --weights class/weights.safetensors --x flow-samples/samples.npy --out made
one_line unet_check --t
expect 2 unet_check --weights class/weights.safetensors --x flow-samples/samples.npy --time mul --out made
one_line unet_check --time
no_file made
