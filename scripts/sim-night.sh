#!/usr/bin/env bash
# Runs millions of simulated histories, each of them twice: they must keep every law, and what
# happens must be the same, event for event, both times.
#
#   scripts/sim-night.sh           a million seeds from a first one that the date gives
#   scripts/sim-night.sh N         N of them
#   scripts/sim-night.sh N FIRST   N of them, from FIRST on
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

is_number() { [[ $1 =~ ^[0-9]{1,15}$ ]]; }

count="${1:-1000000}"
# A day's seeds never meet another day's.
first="${2:-$(($(date -u +%Y%m%d) * 100000000))}"
if [[ $# -gt 2 ]] || ! is_number "$count" || ! [[ $first =~ ^[0-9]{1,18}$ ]]; then
    sed -n '4,7s/^#   //p' scripts/sim-night.sh >&2
    exit 2
fi
exec cargo run --quiet --locked -p syncd-integration --bin sim -- \
    --twice --seeds "$count" --from "$first"
