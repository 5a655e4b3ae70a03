#!/bin/sh
# Token ids, states and embeddings of prompts.
MAKE_MODEL=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
SPIECE=$3
. "$(dirname "$0")/common.sh"
"$MAKE_MODEL" model "$SPIECE"

ids() { # expected, arguments
    right=$1
    shift
    expect 0 encode_prompt --model model --ids "$@"
    [ "$(cat stdout)" = "$right" ] || die "encode_prompt --ids $*: $(cat stdout), expected $right"
}

# The golden ids of two strings, and the end of the sentence.
ids '[[10, 134, 1199, 27, 48, 27, 6, 10, 133, 121, 1]]' --prompt 'a photo of a cat'
ids '[[10, 134, 1199, 27, 48, 27, 6, 10, 133, 121, 1]]' --prompt '  A PHOTO of a Cat '
ids '[[53, 162, 1196, 215, 83, 215, 1]]' --prompt 'A PHOTO' --raw
ids '[[1]]' --prompt ''
ids '[[0, 3, 1]]' --prompt '<pad>the</s>' --parse-special
printf '["the", "", "www"]' > prompts.json
ids '[[3, 1], [1], [167, 856, 1]]' --prompts prompts.json

expect 0 encode_prompt --model model --prompts prompts.json --out states.npy --embeddings states.safetensors
files states.npy states.safetensors
[ "$(od -An -c -j1 -N5 states.npy | tr -d ' ')" = NUMPY ] || die "states.npy is no npy file"
grep -aq "'shape': (3, 77, 32)" states.npy || die "states.npy has another shape"
[ "$(wc -c < states.npy)" -eq $((128 + 3 * 77 * 32 * 4)) ] || die "states.npy has another size"

# A prompt alone has the bits that it has among others.
expect 0 encode_prompt --model model --prompt the --out alone.npy --threads 2
tail -c $((77 * 32 * 4)) alone.npy > alone
tail -c $((3 * 77 * 32 * 4)) states.npy | head -c $((77 * 32 * 4)) | cmp - alone || die "a prompt depends on its neighbours"

# Too long: said on stderr, and 77 ids all the same.
long=$(printf 'the %.0s' $(seq 100))
expect 0 encode_prompt --model model --prompt "$long" --ids
grep -q 'its last 24 tokens are cut off' stderr || die "nothing said about the tokens cut off"
[ "$(tr ',' '\n' < stdout | wc -l)" -eq 77 ] || die "not 77 ids"

fails() { # code, word, arguments
    code=$1 word=$2
    shift 2
    expect "$code" encode_prompt "$@"
    one_line encode_prompt "$word"
}
fails 2 model --prompt x --ids
fails 2 prompt --model model --ids
fails 2 prompt --model model --prompt x --prompts prompts.json --ids
fails 2 out --model model --prompt x
fails 1 spiece.model --model nowhere --prompt x --ids
fails 1 nowhere.json --model model --prompts nowhere.json --ids
printf '["a", 1]' > wrong.json
fails 1 wrong.json --model model --prompts wrong.json --ids
fails 1 nowhere --model model --prompt x --out nowhere/e.npy
mv model/text_encoder/config.json model/text_encoder/other.json
fails 1 config.json --model model --prompt x --out e.npy
no_file e.npy
