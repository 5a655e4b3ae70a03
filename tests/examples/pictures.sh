#!/bin/sh
# text_to_image and sample: files, entries, bits, and what goes wrong.
. "$(dirname "$0")/model.sh"

# ---- text to image: two prompts, two numbers of steps, two stages
expect 0 text_to_image --model model --model2 model2 --prompt 'a cat' --prompt dog --steps 3,2 --save-npy --quiet \
    --rng torch --seed 5 --out t2i
same_fields t2i prompt "a cat a cat dog dog a cat a cat dog dog"
same_fields t2i stage '1 1 1 1 2 2 2 2'
same_fields t2i steps '3 2 3 2 3 2 3 2'
same_fields t2i seed '5 5 5 5 5 5 5 5 5'
for npy in $(fields t2i npy); do
    case $npy in
    *-stage2.npy) check shape "t2i/$npy" 3,32,32 ;;
    *) check shape "t2i/$npy" 3,16,16 ;;
    esac
done
for png in $(fields t2i png) grid.png; do
    is_png "t2i/$png"
done
grep -aq 'model_hash' t2i/prompt1-steps3.png || die "no hash of the model in the PNG file"
grep -aq 'a cat' t2i/prompt1-steps3.png || die "no prompt in the PNG file"
for figure in seconds seconds_text seconds_stage1 seconds_per_step_stage2; do
    [ -n "$(fields t2i $figure)" ] || die "no $figure in metrics.json"
done

# A list of timesteps and the named ones have their own number of steps; stage II takes that of --steps.
expect 0 text_to_image --model model --timesteps fast27 --prompt dog --quiet --out fast27
files fast27/prompt1-steps27.png
same_fields fast27 steps 27
expect 0 text_to_image --model model --model2 model2 --timesteps 500,250,0 --steps 2 --prompt dog --quiet --out list3
same_fields list3 steps '3 2'
for list in 500,250,0 500; do
    expect 2 text_to_image --model model --timesteps $list --steps 3,2 --prompt dog --out made
    one_line text_to_image '--steps: one number'
    no_file made
done

# A run that fails among its pictures leaves no metrics of an earlier one.
mkdir -p half/unet
cp -r model2/scheduler half
cp model2/unet/config.json half/unet
expect 0 text_to_image --model model --steps 3 --prompt dog --quiet --out twice
expect 1 text_to_image --model model --model2 half --steps 3 --prompt dog --quiet --out twice
files twice/prompt1-steps3.png
no_file twice/metrics.json

# A picture alone has the bits that it has among others, whatever the number of threads.
expect 0 text_to_image --model model --model2 model2 --prompt dog --steps 3 --save-npy --quiet --rng torch --seed 5 \
    --threads 1 --no-text --out alone
cmp t2i/prompt2-steps3-stage2.npy alone/prompt1-steps3-stage2.npy || die "a picture depends on its neighbours"
! grep -aq 'dog' alone/prompt1-steps3.png || die "--no-text leaves the prompt in the PNG file"

# ---- samples
expect 0 sample --model model --steps 4 --count 5 --save-npy --quiet --out five --threads 1
expect 0 sample --model model --steps 4 --count 2 --save-npy --quiet --out two --threads 3
cmp five/sample-1.npy two/sample-1.npy || die "the first sample depends on batch or threads"
cmp five/sample-2.npy two/sample-2.npy || die "the second sample depends on batch or threads"
! cmp -s five/sample-1.npy five/sample-2.npy || die "two samples are the same"
same_fields five sample '0 1 2 3 4'
is_png five/samples.png
# guidance 1 is the conditional prediction: no negative prompt is needed
expect 0 sample --model model --steps 4 --count 1 --guidance 1 --negative 'a cat' --save-npy --quiet --out plain
cmp five/sample-1.npy plain/sample.npy || die "the negative prompt counts without guidance"
expect 0 sample --model model --steps 4 --count 1 --guidance 7 --save-npy --quiet --out guided
! cmp -s plain/sample.npy guided/sample.npy || die "guidance changes nothing"
expect 0 sample --model model --steps 2 --count 1 --precision bf16 --quiet --out bf16
same_fields bf16 precision bf16
# the empty prompt is one like any other
expect 0 sample --model model --steps 2 --count 1 --prompt '' --quiet --out nothing
# a list in place of the spacing: 4 timesteps of 1000, strided
expect 0 sample --model model --timesteps 750,500,250,0 --count 1 --save-npy --quiet --out list
cmp plain/sample.npy list/sample.npy || die "the list of the same timesteps gives another picture"
# with --rng torch picture k is that of seed + k
expect 0 sample --model model --steps 3 --count 2 --rng torch --seed 7 --save-npy --quiet --out seven
expect 0 sample --model model --steps 3 --count 1 --rng torch --seed 8 --save-npy --quiet --out eight
same_fields seven seed '7 7 8'
cmp seven/sample-2.npy eight/sample.npy || die "the second picture is not that of the next seed"
# PyTorch's generator takes the low 32 bits of a seed
expect 0 sample --model model --steps 3 --count 1 --rng torch --seed 4294967304 --save-npy --quiet --out wrapped
cmp wrapped/sample.npy eight/sample.npy || die "--rng torch: not the low 32 bits of the seed"
# embeddings in place of the text encoder
expect 0 encode_prompt --model model --prompt 'a high quality photo' --embeddings one.safetensors
mkdir bare
cp -r model/unet model/scheduler bare
expect 0 sample --model bare --embeddings one.safetensors --steps 4 --count 1 --save-npy --quiet --out stored
cmp plain/sample.npy stored/sample.npy || die "stored embeddings give another picture"

# ---- what goes wrong: one line, nothing on disk
fails() { # code, word, program, arguments
    code=$1 word=$2 name=$3
    shift 3
    expect "$code" "$name" --out made "$@"
    one_line "$name" "$word"
    no_file made
}
for program in text_to_image sample; do
    expect 0 $program --help
    grep -q '^usage: ' stdout
    expect 0 $program --version
    grep -q "$program" stdout
    fails 2 --model $program
    fails 2 --rng $program --model model --rng mersenne
    fails 2 --seed $program --model model --seed 9223372036854775808
    fails 2 --precision $program --model model --precision fp64
    fails 2 --steps $program --model model --steps 2.5
    fails 2 --guidance $program --model model --guidance nan
    fails 2 --prompt $program --model model --prompt "$(printf 'caf\351')"
    fails 2 --nonsense $program --model model --nonsense
    fails 1 nowhere $program --model nowhere
    fails 1 nowhere $program --model model --embeddings nowhere
    fails 1 nowhere $program --model model --model2 nowhere --steps 2
    fails 1 'no embedding of "x"' $program --model model --embeddings one.safetensors --prompt x
    fails 2 timesteps $program --model model --timesteps 250,500
    fails 2 timesteps $program --model model --timesteps 250,,0
    fails 2 '--timesteps: .*has 27 steps' $program --model model --timesteps fast27 --steps 20
    fails 2 timesteps $program --model model --timesteps nonsense
    fails 2 'timestep 0 is nan' $program --model model --timesteps nan,5
    fails 2 '--steps: 3 is there twice' $program --model model --steps 3,3
    fails 1 memory $program --model model --memory 1
done
fails 2 --steps sample --model model --steps 20,10
fails 2 '--timesteps: the course' sample --model model --timesteps 5
fails 2 --step sample --model model --step ddim
fails 2 step text_to_image --model model --step nonsense
# what can be known without the weights is said before they are read
mkdir -p early/unet empty
cp -r model/scheduler early
cp model/unet/config.json early/unet
fails 2 timesteps sample --model early --timesteps 1,2
fails 1 nowhere text_to_image --model early --model2 nowhere
fails 1 nowhere.png sdedit --model early --image nowhere.png
fails 1 nowhere.png inpaint --model early --mask nowhere.png
fails 1 empty sample --model empty
sed 's/SimpleCrossAttnDownBlock2D/NoSuchBlock/' model/unet/config.json >config.json
cp config.json bare/unet/config.json
fails 1 NoSuchBlock sample --model bare --embeddings one.safetensors
rm bare/unet/diffusion_pytorch_model.safetensors
fails 1 bare sample --model bare --embeddings one.safetensors
# a note comes once, however often a folder is opened
expect 0 text_to_image --model model --model2 model2 --prompt dog --steps 2 --variant fp16 --quiet --out variant
[ "$(grep -c 'no variant "fp16"' stderr)" -eq 3 ] || die "not one note for each network about the missing variant"
long=$(printf 'the %.0s' $(seq 100))
expect 0 sample --model model --prompt "$long" --steps 2 --count 1 --out long --quiet
grep -q 'its last 24 tokens are cut off' stderr || die "nothing said about the tokens cut off"
# a long prompt is whole in the entry, whatever its characters
ae=$(printf '\303\244%.0s' $(seq 3000))
expect 0 sample --model model --prompt "$ae" --steps 2 --count 1 --out umlauts --quiet
same_fields umlauts prompt "$ae"
is_png umlauts/samples.png
