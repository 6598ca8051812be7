#!/usr/bin/env bash
# Everything that must hold before a change is done. Continuous integration runs just this.
#
#   scripts/check.sh              all but the long matrix
#   scripts/check.sh --fast       format, lints, unit and table tests, purity; no root needed
#   scripts/check.sh --all        the long matrix too: tests read SYNCD_LONG=1
#   scripts/check.sh --step NAME  one step alone; a failing step prints its name
#
# Asserts no timings: a slow machine is slow, not wrong.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/syncd-target}"
export PATH="${CARGO_HOME:-${HOME:-/tmp}/.cargo}/bin:$PATH"

# The crates that decide, and what they must never see.
PURE_CRATES=(syncd-core ignore-rules)
PURE_SOURCES=(daemon/core/src ignore-rules/src)
IMPURE_CRATES='tokio|libp2p|sled|notify|mio|getrandom|rand'
IMPURE_WORDS='Instant::now|SystemTime|std::(fs|net|env|process|thread)|HashMap|HashSet|tokio|rand::'
IMPURE_WORDS+='|std::[{].*(fs|net|env|process|thread)'

step_format() {
    cargo fmt --all --check
}

step_lint() {
    cargo clippy --workspace --all-targets --locked -- -D warnings
}

# What needs neither root nor a second process.
step_unit() {
    cargo test --workspace --lib --bins --locked
    cargo test -p ignore-rules -p syncd-core --tests --locked
}

# Unit, table and property tests, and tests with real daemons. Of the last kind a few may fail for
# a machine that stood still: they are run once more, alone, and named as what they are. One that
# fails again has failed, and so has every test of another kind.
step_test() {
    local log target tests=() flaky=() failed=()
    log=$(mktemp)
    if cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"; then
        rm -f "$log"
        return 0
    fi
    mapfile -t tests < <(failed_tests "$log")
    # What has no test's name beside it (a target that did not build, or died) is not run again.
    if [[ ${#tests[@]} -eq 0 || ${#tests[@]} -gt $AGAIN_MAX ]] || ! only_again "$log"; then
        echo "check: the whole output is in $log" >&2
        return 1
    fi
    for target in "${tests[@]}"; do
        echo "check: once more, alone: $target"
        if cargo test -p syncd-integration --locked --test "${target% *}" -- --nocapture \
            --exact "${target#* }"; then
            flaky+=("$target")
        else
            failed+=("$target")
        fi
    done
    [[ ${#flaky[@]} -eq 0 ]] || printf '* FLAKY, failed and then passed: %s *\n' "${flaky[@]}"
    [[ ${#failed[@]} -eq 0 ]] || printf '* FAILED twice: %s *\n' "${failed[@]}"
    echo "* why: $log"
    [[ ${#failed[@]} -eq 0 ]]
}

# The targets of tests with real daemons, and how many of their tests may be run again.
AGAIN_TARGETS='road|kinds|habits|mistakes|hostile'
AGAIN_MAX=3

# Prints "target test" for each test that failed in a log of cargo.
failed_tests() {
    awk '/^ *Running / { target = $2; sub(/^tests\//, "", target); sub(/(\/main)?\.rs$/, "", target) }
        /^ *Doc-tests / { target = "doc" }
        /^test .* [.][.][.] FAILED$/ { print target, $2 }' "$1"
}

# Tells whether all targets that failed are of those whose tests may be run again, and whether each
# ran to its end.
only_again() {
    local failed ended
    failed=$(grep -cE '^ +`-p ' "$1")
    ended=$(grep -cE "^ +\`-p syncd-integration --test ($AGAIN_TARGETS)\`\$" "$1")
    [[ $failed -gt 0 && $failed -eq $ended ]] \
        && [[ $(grep -c '^test result: FAILED' "$1") -eq $failed ]]
}

# Each wrong behaviour of the bug zoo is found by the simulator.
step_zoo() {
    cargo test -p syncd-integration --features mutants --test mutants --locked
}

step_docs() {
    RUSTDOCFLAGS='-D warnings' \
        cargo doc --workspace --no-deps --document-private-items --locked
}

step_purity() {
    local bad=0 crate seen hit
    for crate in "${PURE_CRATES[@]}"; do
        # The whole tree is listed and searched: asking cargo for one crate that is not there
        # fails or says nothing, depending on who else uses it.
        seen=$(cargo tree -p "$crate" -e normal --target all --prefix none --locked | cut -d' ' -f1)
        hit=$(sort -u <<<"$seen" | grep -xE "$IMPURE_CRATES" || true)
        if [[ -n $hit ]]; then
            echo "$crate depends on: $(tr '\n' ' ' <<<"$hit")"
            bad=1
        fi
    done
    hit=$(find "${PURE_SOURCES[@]}" -name '*.rs' ! -path '*/tests/*' ! -name tests.rs -print0 \
        | sort -z | xargs -0 awk -v words="(^|[^A-Za-z0-9_])($IMPURE_WORDS)" -f scripts/purity.awk)
    if [[ -n $hit ]]; then
        echo "$hit"
        bad=1
    fi
    return "$bad"
}

# Programs that tests with real daemons start: package of Debian and a program in it.
step_tools() {
    local missing=() pair
    if [[ $(uname -s) != Linux ]]; then
        echo 'network namespaces are Linux only: the tests that need them skip themselves'
        return 0
    fi
    for pair in nftables:nft iproute2:ip util-linux:setpriv mount:mount e2fsprogs:mkfs.ext4 \
        btrfs-progs:mkfs.btrfs faketime:faketime git:git vim:vim sqlite3:sqlite3 strace:strace; do
        PATH="$PATH:/usr/sbin:/sbin" type -P "${pair#*:}" >/dev/null || missing+=("${pair%:*}")
    done
    if [[ ${#missing[@]} -eq 0 ]]; then
        return 0
    fi
    if [[ $(id -u) -eq 0 ]] && type -P apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}"
    else
        echo "install them first: sudo apt-get install ${missing[*]}"
        return 1
    fi
}

# Licences, banned crates and where crates come from. Advisories need a network and change by
# the day: .github/workflows looks at them.
step_deny() {
    if ! type -P cargo-deny >/dev/null && ! cargo install --locked cargo-deny; then
        if [[ ${CI:-} == true ]]; then
            echo 'cargo-deny could not be installed'
            return 1
        fi
        echo '************************************************************'
        echo '* SKIPPED: cargo-deny is missing and could not be installed *'
        echo '************************************************************'
        return 0
    fi
    # Every platform's crates, so that the check itself needs no network.
    cargo fetch --locked
    cargo deny --offline check bans licenses sources
}

run_steps() {
    local began=$SECONDS step step_began
    for step in "$@"; do
        echo "check: $step ..."
        step_began=$SECONDS
        # A shell of its own: `set -e` is off inside a function whose result is tested.
        if ! "$BASH" scripts/check.sh --step "$step"; then
            echo "check: $step FAILED after $((SECONDS - step_began)) s; run it again with:" >&2
            echo "    ${SYNCD_LONG:+SYNCD_LONG=$SYNCD_LONG }scripts/check.sh --step $step" >&2
            exit 1
        fi
        echo "check: $step took $((SECONDS - step_began)) s"
    done
    echo "check: all green in $((SECONDS - began)) s"
}

usage() {
    sed -n '4,7s/^#   //p' scripts/check.sh >&2
    exit 2
}

FAST=(format lint unit purity)
WHOLE=(format lint purity tools test zoo docs deny)
case "${1:-} ${2:-}" in
    ' ') run_steps "${WHOLE[@]}" ;;
    '--fast ') run_steps "${FAST[@]}" ;;
    '--all ') SYNCD_LONG=1 run_steps "${WHOLE[@]}" ;;
    '--step '?*)
        [[ $(type -t "step_$2") == function ]] || usage
        "step_$2"
        ;;
    *) usage ;;
esac
