# Read by the tests of the programs on models of the IF family, in place of common.sh: model/ and model2/ are tiny
# folders of stages I and II. The tests' arguments: programs, make_model, make_text_model, tokenizer, check_npy,
# make_pictures.
absolute() { echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; }
make_model=$(absolute "$2")
make_text_model=$(absolute "$3")
spiece=$(absolute "$4")
check_npy=$(absolute "$5")
make_pictures=$(absolute "$6")
. "$(dirname "$0")/common.sh"

write_scheduler() { # folder, largest threshold
    mkdir -p "$1"
    printf '{"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2",
 "variance_type": "learned_range", "prediction_type": "epsilon", "clip_sample": true, "thresholding": true,
 "dynamic_thresholding_ratio": 0.95, "sample_max_value": %s}\n' "$2" >"$1/scheduler_config.json"
}

"$make_text_model" model "$spiece"
"$make_model" tiny-I model/unet f32 >/dev/null
mkdir model2
"$make_model" tiny-II model2/unet f32 >/dev/null
write_scheduler model/scheduler 1.5
write_scheduler model2/scheduler 1.0
write_scheduler model2/image_noising_scheduler 1.0

check() {
    "$check_npy" "$@" || die "check_npy $*"
}

# Fields of metrics.json in the order in which they come.
fields() { # folder, name
    sed -n "s/.*\"$2\": \"\\{0,1\\}\\([^\",]*\\)\"\\{0,1\\},\\{0,1\\}\$/\\1/p" "$1/metrics.json" | tr '\n' ' '
}

same_fields() { # folder, name, expected
    [ "$(fields "$1" "$2")" = "$3 " ] || die "$1/metrics.json: $2 is \"$(fields "$1" "$2")\", expected \"$3\""
}
