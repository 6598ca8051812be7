#!/usr/bin/env bash
# Measures how long a checkout is seen in part on the receiving device.
#
#   scripts/bench-burst.sh [ROUNDS=5] [FILES=2000] [DIR=/var/tmp]
#
# Two devices on this machine share a repository of two branches that differ in all FILES files.
# Each round checks out the other branch on the one device, and prints of the other one
#
#   early          how many files came before anybody could know that more follow
#   seen in part   from the first to the last of the rest to be given its name, by the change times
#                  that the file system gave them (in steps of its clock, mostly 4 ms)
#   batches        by the daemon's own word: of how many files, in how many milliseconds their names
#                  were exchanged, and of how many for all that is done with them
#
# DIR says on which file system: /dev/shm is in memory. Everything lies below it and is removed.
# SYNCD_BIN_DIR: take the programs from there and build nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH="${CARGO_HOME:-${HOME:-/tmp}/.cargo}/bin:$PATH"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

ROUNDS=5 FILES=2000 DIR=/var/tmp
# Addresses of this machine alone, at which nobody else listens.
ADDRESS_A=127.0.77.1 ADDRESS_B=127.0.77.2

die() {
    echo "bench-burst: $*" >&2
    exit 1
}

for argument in "$@"; do
    case $argument in
        ROUNDS=* | FILES=* | DIR=*) declare "$argument" ;;
        *) sed -n '2,19s/^# \{0,1\}//p' scripts/bench-burst.sh >&2 && exit 2 ;;
    esac
done

# shellcheck source=scripts/bench/syncd.sh
source scripts/bench/syncd.sh
syncd_prepare
DIR=$(mktemp -d "$DIR/syncd-burst.XXXXXX")
mkdir "$DIR/run"
PIDS=()
clean_up() {
    local code=$? pid
    trap - EXIT INT TERM
    [[ $code -eq 0 ]] || tail -n 5 "$DIR"/run/*.log >&2 || true
    for pid in "${PIDS[@]}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
    rm -rf "$DIR"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Tries a command until it succeeds: at most 60 s, its last words if it never does.
patiently() {
    local words= deadline=$((SECONDS + 60))
    until words=$("$@" 2>&1); do
        ((SECONDS < deadline)) || die "gave up on: $* ($words)"
        sleep 0.05
    done
}

# Starts the daemon of a side, which says at debug how long names take.
behind() {
    local side=$1
    shift
    SYNCD_LOG='warn,syncd::flow::settle=debug' NO_COLOR=1 "$@" </dev/null \
        >>"$DIR/run/$side.log" 2>&1 &
    PIDS+=($!)
}

# Makes a repository in which two branches differ in all of their files, 50 a directory.
make_branches() {
    local branch at
    git init -q "$DIR/run/tree-a"
    for branch in one two; do
        git -C "$DIR/run/tree-a" checkout -q --orphan "$branch"
        for ((at = 0; at < FILES; at++)); do
            mkdir -p "$DIR/run/tree-a/src/$((at / 50))"
            echo "$branch $at" >"$DIR/run/tree-a/src/$((at / 50))/$at.c"
        done
        git -C "$DIR/run/tree-a" add src
        git -C "$DIR/run/tree-a" -c user.name=a -c user.email=a@example.org commit -qm "$branch"
    done
}

# Tells how long the last checkout was seen in part, and in which batches it came.
report() {
    local seen_ms batches early
    batches=$(tail -n +"$((LINES_BEFORE + 1))" "$DIR/run/b.log" | awk '
        function value(name) {
            match($0, name "=[0-9]+")
            return substr($0, RSTART + length(name) + 1, RLENGTH - length(name) - 1)
        }
        /a batch has its names/ { print value("jobs"), value("swap_us"), value("take_us") }')
    early=$(awk '$1 > most { most = $1; early = sum } { sum += $1 } END { print early + 0 }' \
        <<<"$batches")
    seen_ms=$(find "$DIR/run/tree-b/src" -type f -printf '%C@\n' | sort -n | awk -v "early=$early" '
        NR == early + 1 { first = $1 } END { printf "%.0f", ($1 - first) * 1000 }')
    printf '%-4s %4s files early, the rest seen in part for %4s ms; batches:' "$1" "$early" "$seen_ms"
    awk '{ printf "%s %d in %.1f of %.1f ms", (NR > 1 ? "," : ""), $1, $2 / 1000, $3 / 1000 }
        END { print "" }' <<<"$batches"
}

make_branches
syncd_connect
syncd_share
syncd_ctl a flush --timeout 120s >/dev/null
printf '%s files, %s, syncd %s\n' "$FILES" "$(stat -fc %T "$DIR")" \
    "$(syncd_version)"
for ((round = 1; round <= ROUNDS; round++)); do
    LINES_BEFORE=$(wc -l <"$DIR/run/b.log")
    branch=$([[ $((round % 2)) -eq 1 ]] && echo one || echo two)
    # What was written before must not look as if it had just been.
    sleep 0.3
    git -C "$DIR/run/tree-a" checkout -q "$branch"
    syncd_ctl a flush --timeout 120s >/dev/null
    [[ -z $(grep -rL "^$branch " "$DIR/run/tree-b/src") ]] || die "not all of $branch came"
    report "$round"
done
