#!/bin/sh
# mnist_diffusion_mpi: the bits of mnist_diffusion for 1, 2 and 4 ranks; runs that go on with other numbers of ranks; a rank
# that is killed; numbers of ranks that do not do.
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../examples/common.sh"

# ranks CODE RANKS ARGUMENTS...
ranks() {
    wanted=$1 count=$2
    shift 2
    code=0
    sh "$here/mpirun.sh" "$count" "$PROGRAMS/mnist_diffusion_mpi" "$@" >stdout 2>stderr || code=$?
    [ "$wanted" -eq "$code" ] || { cat stderr >&2; die "$count ranks: $*: exit code $code, expected $wanted"; }
}

# Does one of the processes run whose numbers are in the files? A dead one that nobody has waited for does not.
runs() {
    for file; do
        state=$(sed 's/.*) \(.\).*/\1/' "/proc/$(cat "$file")/stat" 2>/dev/null || true)
        case $state in '' | Z) ;; *) return 0 ;; esac
    done
    return 1
}

same_run() { # folder
    for file in weights.safetensors weights-ema.safetensors epoch-03.png; do
        cmp whole/$file "$1/$file"
    done
    cut -d, -f1-5 whole/loss.csv >a
    cut -d, -f1-5 "$1/loss.csv" >b
    cmp a b
}

train='train --condition class --width 8 --epochs 3 --batch 20 --limit 205 --timesteps 20 --samples 10 --ema 0.99 --quiet'
expect 0 mnist_diffusion $train --out whole
for pair in '1 2' '2 1' '2 3' '4 1' '4 2'; do
    # shellcheck disable=SC2086
    set -- $pair
    ranks 0 "$1" $train --threads "$2" --out "run-$1-$2"
    same_run "run-$1-$2"
done
grep -q '^ranks  *4$' stdout || die "metrics do not name the ranks"
grep -q '"test_loss"' run-4-1/metrics.json || die "no test loss"
[ "$(grep -c results stdout)" -eq 1 ] || die "more than one rank has spoken"

# Kills a rank after the first checkpoint: the others end with an error, and the checkpoint is good.
for lost in 1 0; do
    rm -f pid.*
    sh "$here/mpirun.sh" 4 sh -c 'echo $$ >pid.${OMPI_COMM_WORLD_RANK:-$PMI_RANK}; exec "$@"' sh \
        "$PROGRAMS/mnist_diffusion_mpi" $train --threads 1 --out "lost-$lost" >stdout 2>stderr &
    job=$!
    tries=0
    until ls lost-$lost/checkpoints/ckpt-* >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || die "no checkpoint came"
        sleep 0.05
    done
    kill -9 "$(cat pid.$lost)" || die "rank $lost ended before it could be killed"
    code=0
    wait $job || code=$?
    [ $code -ne 0 ] || die "a rank was lost, and all seems well"
    tries=0
    while runs pid.*; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || die "a rank still runs"
        sleep 0.05
    done
    ranks 0 $((2 * lost + 2)) $train --resume --out "lost-$lost"
    same_run "lost-$lost"
done

for count in 3 5; do
    ranks 1 $count $train --out made
    grep -c '^mnist_diffusion_mpi' stderr | grep -qx 1 || { cat stderr >&2; die "more or less than one line"; }
    grep -q "trainer: $count ranks do not divide the 8 lanes" stderr || die "the line does not name the ranks"
    no_file made
done
ranks 2 2 $train --batch many --out made
grep -c '^mnist_diffusion_mpi' stderr | grep -qx 1 || die "more or less than one line"
# What only rank 0 finds out ends all.
ranks 1 2 $train --out whole
grep -q 'holds a run already' stderr || die "no reason"

# Pictures: any number of ranks, also more than there are pictures.
expect 0 mnist_diffusion sample --weights whole/weights.safetensors --samples 7 --quiet --out pictures
for count in 2 3 4; do
    ranks 0 $count sample --weights whole/weights.safetensors --samples 7 --quiet --threads 1 --out pictures-$count
    for file in samples.npy samples.png steps.png animation.png; do
        cmp pictures/$file pictures-$count/$file
    done
done
expect 0 mnist_diffusion sample --weights whole/weights.safetensors --samples 120 --quiet --out many
ranks 0 2 sample --weights whole/weights.safetensors --samples 120 --quiet --threads 1 --out many-2
cmp many/samples.npy many-2/samples.npy
ranks 0 4 sample --weights whole/weights.safetensors --samples 2 --quiet --threads 1 --out few-4
echo "1, 2 and 4 ranks: the bits of one process"
