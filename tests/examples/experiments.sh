#!/bin/sh
# The other programs of part A: what they write is what their formulas say.
. "$(dirname "$0")/model.sh"

# ---- forward process: the noise in it is noise, and the pictures come in the order of the levels
expect 0 forward_process --size 64 --timesteps 0,250,750 --save-npy --out forward
same_fields forward timestep '0.0 250.0 750.0'
check shape forward/noisy-250.npy 3,64,64
check noisy forward/noisy-0.npy 750 forward/noisy-750.npy 0.05
check noisy forward/noisy-0.npy 250 forward/noisy-250.npy 0.05
is_png forward/forward.png forward/noisy-250.png
# (the schedule is the model's, where one is given)
expect 0 forward_process --model model --size 64 --timesteps 750 --save-npy --out of-model
[ ! -s stderr ] || die "forward_process says something about --model"
! cmp -s of-model/noisy-750.npy forward/noisy-750.npy || die "--model does not change the schedule"
expect 2 forward_process --timesteps smart50 --out made
one_line forward_process --timesteps
expect 0 forward_process --size 64 --timesteps 250 --save-npy --rng torch --out torch
check noisy forward/noisy-0.npy 250 torch/noisy-250.npy 0.05

# ---- classical denoising: blurring helps, and more noise wants more of it
expect 0 classical_denoise --timesteps 250,750 --out classical
awk -v n="$(fields classical psnr_noisy_250)" -v b="$(fields classical psnr_blurred_250)" \
    'BEGIN { exit !(b > n + 3) }' || die "the best blur does not help"
fields classical sigma | awk '{ exit !($1 > 0 && $2 > $1) }' || die "more noise does not want a wider blur"
[ "$(wc -l <classical/sweep.csv)" -eq 85 ] || die "sweep.csv has not 2 x 7 x 6 rows"
is_png classical/denoised.png classical/sweep.png

# ---- one step: the closed form, from the prediction of another program
expect 0 one_step_denoise --model model --timesteps 250,600 --save-npy --out one --threads 1 --numerics exact
expect 0 encode_prompt --model model --prompt 'a high quality photo' --out text.npy
for t in 250 600; do
    "$check_npy" batch one/noisy-$t.npy x.npy
    expect 0 predict_noise --model model/unet --sample x.npy --timestep $t --text text.npy --out eps.npy
    check one_step x.npy eps.npy $t one/estimate-$t.npy 1e-4
done
expect 0 one_step_denoise --model model --timesteps 250 --save-npy --out again --threads 3 --numerics exact
cmp one/estimate-250.npy again/estimate-250.npy || die "the estimate depends on the threads or the other levels"

# ---- iterative: every fifth timestep of the list, the estimate of one step, the blur
expect 0 iterative_denoise --model model --save-npy --quiet --out iterative
for t in 690 540 390 240 90; do
    check shape iterative/step-$t.npy 3,16,16
done
files iterative/result.png iterative/one-step.png iterative/blur.png iterative/iterative.png
[ "$(ls iterative/step-*.png | wc -l)" -eq 5 ] || die "not five pictures of the loop"
for figure in psnr_noisy psnr_iterative psnr_one_step psnr_blur seconds_stage1; do
    [ -n "$(fields iterative $figure)" ] || die "no $figure in metrics.json"
done
"$check_npy" batch iterative/step-690.npy x.npy
expect 0 predict_noise --model model/unet --sample x.npy --timestep 690 --text text.npy --out eps.npy
expect 2 predict_noise --model model/unet --sample x.npy --timestep nan --text text.npy --out nan.npy
one_line predict_noise 'nan'
no_file nan.npy
expect 2 predict_noise --model model/unet --sample x.npy --timestep 690 --text text.npy
one_line predict_noise '--out: needed'
check one_step x.npy eps.npy 690 iterative/one-step.npy 1e-4

expect 0 iterative_denoise --model model --loop pipeline --step euler --steps 20 --start 5 --save-npy --quiet --out euler
step=$(ls euler/step-*.npy | sort -t- -k2 -rn | head -n 1)
level=${step##*step-}
"$check_npy" batch "$step" x.npy # what the network sees, not x_0 + sigma noise
expect 0 predict_noise --model model/unet --sample x.npy --timestep "${level%.npy}" --text text.npy --out eps.npy
check one_step x.npy eps.npy "${level%.npy}" euler/one-step.npy 2e-3
expect 2 iterative_denoise --model model --start 40 --out made
one_line iterative_denoise --start
no_file made

# ---- SDEdit: levels, pictures and prompts; the bits are those of the picture alone
expect 0 sdedit --model model --image drawing:house --image drawing:boat --prompt dog --prompt cat --start 1,7 --steps 10 \
    --save-npy --quiet --out sdedit
same_fields sdedit start '1.0 7.0 1.0 7.0 1.0 7.0 1.0 7.0'
same_fields sdedit prompt 'dog dog dog dog cat cat cat cat'
expect 0 sdedit --model model --image drawing:boat --prompt cat --start 7 --steps 10 --save-npy --quiet --out boat --threads 3
cmp sdedit/prompt2-image2-level2.npy boat/prompt1-image1-level1.npy || die "sdedit: a picture depends on the others"
# a start near the end leaves the picture nearly as it is
expect 0 forward_process --image drawing:boat --size 16 --timesteps 0 --save-npy --out clean
expect 0 sdedit --model model --image drawing:boat --timesteps 900,500,2,1,0 --start 3 --save-npy --quiet --out near --guidance 1
check near clean/noisy-0.npy near/prompt1-image1-level1.npy 0.1
expect 0 sdedit --model model --model2 model2 --image drawing:boat --strength 0.5 --steps 4 --loop pipeline --save-npy \
    --quiet --out strength
check shape strength/prompt1-image1-level1-stage2.npy 3,32,32

# what cannot start is told before any picture is made
expect 2 sdedit --model model --steps 10 --out made
one_line sdedit --start
expect 2 sdedit --model model --start 1.5 --out made
one_line sdedit 'not a whole number'
expect 2 sdedit --model model --model2 model2 --strength2 0.001 --out made
one_line sdedit --strength2
expect 2 inpaint --model model --model2 model2 --strength2 0.001 --out made
one_line inpaint --strength2
expect 2 anagram --model model --reduction median --out made
one_line anagram --reduction
expect 2 hybrid --model model --kernel 199 --out made
one_line hybrid --kernel
no_file made
touch plain-file
expect 1 sdedit --model model --out plain-file/inside
one_line sdedit plain-file

# ---- inpainting: outside the mask the picture stays, to the bit with the rule clean
expect 0 inpaint --model model --image drawing:boat --rule clean --count 1 --steps 5 --save-npy --quiet --out clean-rule
expect 0 inpaint --model model --image drawing:boat --rule renoise --count 1 --steps 5 --save-npy --quiet --out renoise
check outside clean/noisy-0.npy clean-rule/prompt1.npy 0.03
check outside clean/noisy-0.npy renoise/prompt1.npy 0.1
! cmp -s clean-rule/prompt1.npy renoise/prompt1.npy || die "both rules give the same picture"
! "$check_npy" near clean/noisy-0.npy renoise/prompt1.npy 0.3 2>stderr || die "nothing was painted"
expect 0 inpaint --model model --model2 model2 --image drawing:boat --count 1 --steps 3 --quiet --out painted
is_png painted/prompt1-stage2.png painted/inpaint.png

# ---- anagrams: with one prompt and the identity alone they are samples
expect 0 anagram --model model --view identity --prompt dog --steps 4 --save-npy --quiet --out identity
expect 0 sample --model model --prompt dog --guidance 7 --count 1 --steps 4 --save-npy --quiet --out plain
cmp identity/anagram1.npy plain/sample.npy || die "the identity changes the sample"
expect 0 anagram --model model --prompt dog --prompt cat --prompt a --prompt b --steps 3 --save-npy --quiet --out flips \
    --threads 1
expect 0 anagram --model model --prompt dog --prompt cat --steps 3 --save-npy --quiet --out flip --threads 3
cmp flips/anagram1.npy flip/anagram1.npy || die "an anagram depends on its neighbours or the threads"
same_fields flips prompt 'dog | cat a | b'
for reduction in alternate sum; do
    expect 0 anagram --model model --model2 model2 --view rotate90,inner_circle:0.3,jigsaw --prompt a --prompt b \
        --prompt c --steps 3 --reduction $reduction --quiet --out views
    is_png views/anagram1-stage2.png views/anagrams.png
done

# ---- hybrids: if all components have one prompt, nothing is split
expect 0 hybrid --model model --prompt dog --prompt dog --steps 4 --save-npy --quiet --out same
check near same/hybrid1.npy plain/sample.npy 1e-3
for split in low_high grey_colour motion; do
    expect 0 hybrid --model model --split $split --prompt a --prompt b --steps 3 --quiet --out $split --save-npy
    is_png $split/hybrid1.png $split/hybrids.png
done
! cmp -s low_high/hybrid1.npy motion/hybrid1.npy || die "two splits give the same picture"
expect 0 hybrid --model model --split three_bands --kernel 5 --prompt a --prompt b --prompt c --steps 3 --quiet --out bands
expect 0 hybrid --model model --split scale --scales 0.3,0.7 --prompt a --prompt b --steps 3 --quiet --out scale
expect 0 hybrid --model model --split grey_colour --reference drawing:boat --prompt a --prompt b --steps 3 --quiet --out grey

# ---- pictures that come in
"$make_pictures"
for image in photo.png photo.jpg progressive.jpg extra.jpg; do
    expect 0 forward_process --image $image --size 32 --timesteps 0 --rng torch --save-npy --out "read-$image"
    check near read-photo.png/noisy-0.npy "read-$image/noisy-0.npy" 0.06
done
expect 0 forward_process --image grey.jpg --size 32 --timesteps 0 --out grey-jpeg
expect 0 forward_process --image alpha.png --size 32 --timesteps 0 --save-npy --out alpha
expect 0 inpaint --model model --image photo.jpg --mask photo.png --count 1 --steps 2 --quiet --out masked

fails() { # code, word, program, arguments
    code=$1 word=$2 name=$3
    shift 3
    expect "$code" "$name" --out made --quiet "$@"
    one_line "$name" "$word"
    no_file made
}
for image in half head start huge nothing cmyk; do
    fails 1 $image.jpg forward_process --image $image.jpg
done
printf 'text' >text.jpg
fails 1 text.jpg forward_process --image text.jpg
fails 1 nowhere.png forward_process --image nowhere.png
fails 1 drawing forward_process --image drawing:horse
fails 1 ' made' forward_process --image made

# ---- what goes wrong
for program in forward_process classical_denoise one_step_denoise iterative_denoise sdedit inpaint anagram hybrid; do
    expect 0 $program --help
    grep -q '^usage: ' stdout
    expect 0 $program --version
    grep -q "$program" stdout
    fails 2 --threads $program --model model --threads 0
    fails 2 --rng $program --model model --rng mersenne
done
for program in one_step_denoise iterative_denoise sdedit inpaint; do
    fails 1 nowhere.png $program --model model --image nowhere.png
    fails 1 nowhere $program --model nowhere
    fails 2 --model $program
done
for program in anagram hybrid; do
    fails 1 nowhere $program --model nowhere
    fails 2 --prompt $program --model model --prompt one
done
fails 2 --timesteps forward_process --timesteps 250,
fails 2 timesteps forward_process --timesteps 1000
fails 2 timesteps forward_process --timesteps 2.5
fails 2 --start iterative_denoise --model model --start 33
fails 2 --start sdedit --model model --start 5 --steps 4
fails 1 nowhere.png inpaint --model model --mask nowhere.png
fails 2 --rule inpaint --model model --rule paint
fails 2 'blur' anagram --model model --view identity,blur
fails 2 'nonsense' anagram --model model --view identity,nonsense
fails 2 'vflip' anagram --model model --view identity,vflip:2
fails 2 'x' anagram --model model --view identity,inner_circle:x
fails 2 'inner_circle' anagram --model model --view identity,inner_circle:0
fails 2 '--view.*7 x 7 patches' anagram --model model --view identity,patch_permute:7
fails 2 --reduction anagram --model model --reduction median
fails 2 --split hybrid --model model --split nonsense
fails 2 --scales hybrid --model model --split scale --scales 0.3,0.3
fails 2 --scales hybrid --model model --split scale
fails 2 --kernel hybrid --model model --kernel 4
fails 2 --sigma2 hybrid --model model --sigma2 3
fails 2 --component hybrid --model model --component 2

# ---- one folder for both stages; stages that are mixed up are told before any work
mkdir both
mv model both/one
mv model2 both/two
expect 0 text_to_image --model both --prompt dog --steps 3 --quiet --out both-out
files both-out/prompt1-steps3.png both-out/prompt1-steps3-stage2.png
expect 0 encode_prompt --model both --prompt dog --ids
expect 0 model_info both
for part in one/unet one/text_encoder two/unet; do
    grep -q "^both/$part\$" stdout || die "model_info does not describe $part"
done
expect 1 text_to_image --model both/two --prompt dog --out mixed
one_line text_to_image 'both/two: is a model of stage II'
expect 1 text_to_image --model both/one --model2 both/one --prompt dog --out mixed
one_line text_to_image 'both/one: is no model of stage II'
cp -r both/one both/three
expect 1 text_to_image --model both --prompt dog --out mixed
one_line text_to_image 'of the same stage'
mkdir empty
expect 1 text_to_image --model empty --prompt dog --out mixed
one_line text_to_image 'empty: not a model'
no_file mixed
