#!/usr/bin/env bash
# Fuzzes every decoder of what comes from elsewhere, on stable Rust.
#
#   scripts/fuzz.sh [SECONDS] [TARGET]   SECONDS for each target (60), all targets or one of
#                                        daemon/tests/fuzz/corpus
#
# Prints how many inputs each target got, how many of them held a value, and how large its corpus
# is. What breaks a decoder is written to SYNCD_FUZZ_FOUND (a new directory in /tmp): move it into
# the target's corpus (by a name with bad- in front if it holds no value) and mend the decoder.
# Exit code 1 when something broke.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-60}
only=${2:-}
corpus=daemon/tests/fuzz/corpus
if [[ ! $seconds =~ ^[1-9][0-9]*$ || -n $only && ! -d $corpus/$only ]]; then
    sed -n '4,5s/^#   //p' "$0" >&2
    ls "$corpus" >&2
    exit 2
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/syncd-target}"
export PATH="${CARGO_HOME:-${HOME:-/tmp}/.cargo}/bin:$PATH"
SYNCD_FUZZ_FOUND=${SYNCD_FUZZ_FOUND:-$(mktemp -d /tmp/syncd-fuzz-XXXXXX)}
export SYNCD_FUZZ_FOUND SYNCD_FUZZ_ONLY=$only BOLERO_RANDOM_TEST_TIME_MS=$((seconds * 1000))

log=$SYNCD_FUZZ_FOUND/log
echo "fuzz: ${only:-all targets}, $seconds s each, what breaks goes to $SYNCD_FUZZ_FOUND"
if cargo test -p syncd --locked --test fuzz -- --nocapture >"$log" 2>&1; then
    grep -a '^fuzz:' "$log"
    awk '/^fuzz: .* inputs/ { inputs += $3; targets++ }
        END { printf "fuzz: %d targets, %d inputs, nothing broke\n", targets, inputs }' "$log"
else
    grep -aE '^(fuzz:|error|test .*FAILED)' "$log" || true
    echo "fuzz: something broke, the whole output is in $log"
    exit 1
fi
