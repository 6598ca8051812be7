#!/usr/bin/env bash
# Measures syncd beside Syncthing, in turn, on the same files and the same wire.
#
#   sudo scripts/bench.sh [RUNS=3] [EDITS=40] [FILES=20000] [FILE_BYTES=5500] [TOOLS='...']
#
# Two network namespaces joined by a pair of virtual cards; nothing leaves them. On the one side a
# tree of 20,000 files (110 MB) that is the same every time. Everything lies below TMPDIR (or
# /var/tmp), and is removed at the end only, so that no run pays for another's removal.
# Timed, for each tool:
#
#   first sync   two devices are connected; the clock starts when the folder is shared and stops
#                when the last file is on the other side. Scanning and hashing are in it. What
#                arrived is compared with diff -r afterwards.
#   edit         one file is overwritten with 2 KB; until the other side reads the new bytes.
#
# Tools: syncd; syncthing (as it comes: it waits 10 s after a change); syncthing-1s (the shortest
# wait that its settings allow in whole seconds). Syncthing is installed from the system's
# packages if it is missing; its discovery, relays, reports and upgrades are off.
#
# Prints a table and writes docs/bench/beside-syncthing.json. Takes about 20 minutes, most of it
# Syncthing waiting for 40 edits to rest. SYNCD_BIN_DIR: take syncd from there and build nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH="${CARGO_HOME:-${HOME:-/tmp}/.cargo}/bin:$PATH:/usr/sbin:/sbin"

RUNS=3 EDITS=40 FILES=20000 FILE_BYTES=5500 TOOLS='syncd syncthing syncthing-1s'
RESULT=docs/bench/beside-syncthing.json
ADDRESS_A=10.213.0.1 ADDRESS_B=10.213.0.2

die() {
    echo "bench: $*" >&2
    exit 1
}

for argument in "$@"; do
    case $argument in
        RUNS=* | EDITS=* | FILES=* | FILE_BYTES=* | TOOLS=* | RESULT=*) declare "$argument" ;;
        *) sed -n '2,24s/^# \{0,1\}//p' scripts/bench.sh >&2 && exit 2 ;;
    esac
done
[[ -n ${EPOCHREALTIME:-} ]] || die 'this script needs bash 5'
[[ $(uname -s) == Linux ]] || die 'network namespaces are Linux only'
[[ $(id -u) -eq 0 ]] || die 'network namespaces need root: sudo scripts/bench.sh'

# Program and Debian package; installs what is missing.
need() {
    type -P "$1" >/dev/null && return
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null \
        || die "$1 is missing: install the package $2"
}
need ip iproute2
need openssl openssl
need curl curl
[[ $TOOLS != *syncthing* ]] || need syncthing syncthing

DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/syncd-bench.XXXXXX")
NET=syncd-bench-$$

# Ends all that runs in the two namespaces, which are ours. Their homes are thrown away, so nobody
# is asked to put things in order first.
stop_all() {
    local side pid
    for side in a b; do
        while pid=$(ip netns pids "$NET-$side" 2>/dev/null | head -n 1) && [[ -n $pid ]]; do
            kill -KILL "$pid" 2>/dev/null || true
            pause 0.01
        done
    done
}

clean_up() {
    local code=$?
    trap - EXIT INT TERM
    if [[ $code -ne 0 ]]; then
        tail -n 20 "$DIR"/run/*.log >&2 2>/dev/null || true
    fi
    stop_all
    ip netns del "$NET-a" 2>/dev/null || true
    ip netns del "$NET-b" 2>/dev/null || true
    rm -rf "$DIR"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs a daemon of side $1 behind; its log is that side's.
behind() {
    local side=$1
    shift
    ip netns exec "$NET-$side" "$@" </dev/null >>"$DIR/run/$side.log" 2>&1 &
    disown
}

now_us() { NOW_US=${EPOCHREALTIME/[.,]/}; }
mkfifo "$DIR/silence"
exec {SILENCE}<>"$DIR/silence"
# A pause without a process of its own: reading where nothing ever comes.
pause() { read -rt "$1" -u "$SILENCE" _ || true; }

# Tries a command until it succeeds: at most 60 s, its last words if it never does.
patiently() {
    local words= deadline=$((SECONDS + 60))
    until words=$("$@" 2>&1); do
        ((SECONDS < deadline)) || die "gave up on: $* ($words)"
        pause 0.05
    done
}

make_wire() {
    local side
    for side in a b; do
        ip netns add "$NET-$side"
        ip -n "$NET-$side" link set lo up
    done
    ip -n "$NET-a" link add wire type veth peer name wire netns "$NET-b"
    ip -n "$NET-a" address add "$ADDRESS_A/30" dev wire
    ip -n "$NET-b" address add "$ADDRESS_B/30" dev wire
    ip -n "$NET-a" link set wire up
    ip -n "$NET-b" link set wire up
}

# Makes the tree: pieces of a key stream, the same each time, 100 files a directory.
make_tree() {
    local dirs=$(((FILES + 99) / 100)) dir
    mkdir "$DIR/tree"
    # The stream is endless: openssl is ended by its closed pipe.
    (openssl enc -aes-128-ctr -K 00 -iv 00 </dev/zero 2>/dev/null || true) \
        | head -c $((FILES * FILE_BYTES)) | (cd "$DIR/tree" && split -b "$FILE_BYTES" -d -a 6 - f)
    for ((dir = 0; dir < dirs; dir++)); do
        printf -v name '%04d' "$dir"
        mkdir "$DIR/tree/$name"
        mv "$DIR/tree/f$name"* "$DIR/tree/$name/"
    done
}

source scripts/bench/syncd.sh
source scripts/bench/syncthing.sh

# Tells whether all files are on the other side, at NOW_US. Looking must not cost what is measured:
# the pause until the next look is 19 times what this one took.
is_complete() {
    local count
    now_us
    local began_us=$NOW_US
    count=$(find "$DIR/run/tree-b" -mindepth 2 -type f -path '*/[0-9]*/f*' | wc -l)
    now_us
    printf -v LOOK_PAUSE_S '%d.%06d' $(((NOW_US - began_us) * 19 / 1000000)) \
        $(((NOW_US - began_us) * 19 % 1000000))
    [[ $count -eq $FILES ]]
}

# Times one first sync with tool $1, in microseconds, into TOOK_US. Leaves the daemons running.
first_sync() {
    [[ ! -e $DIR/run ]] || mv "$DIR/run" "$(mktemp -d "$DIR/old.XXXXXX")"
    mkdir -p "$DIR/run/a" "$DIR/run/b"
    cp -a "$DIR/tree" "$DIR/run/tree-a"
    mkdir "$DIR/run/tree-b"
    sync
    "${1%-1s}_connect" "$1"
    now_us
    local began_us=$NOW_US deadline=$((SECONDS + 1800))
    "${1%-1s}_share" "$1"
    # Both tools write under another name and rename when a file is complete.
    until is_complete; do
        ((SECONDS < deadline)) || die "$1: not in sync after half an hour"
        pause "$LOOK_PAUSE_S"
    done
    TOOK_US=$((NOW_US - began_us))
    diff -r -x .syncd -x .stfolder "$DIR/run/tree-a" "$DIR/run/tree-b" >&2 || die "$1: the trees differ"
}

# Times edits, in microseconds, one a line on stdout.
edits() {
    local edit look line file padding
    padding=$(head -c 2000 /dev/zero | tr '\0' 'x')
    for ((edit = 0; edit < EDITS; edit++)); do
        printf -v file '%04d/f%06d' $((edit % (FILES / 100))) $(((edit % (FILES / 100)) * 100 + edit % 100))
        # Not in step with anybody's timer.
        pause "0.$((RANDOM % 400 + 100))"
        now_us
        local began_us=$NOW_US
        printf 'edit %d\n%s\n' "$edit" "$padding" >"$DIR/run/tree-a/$file"
        for ((look = 0; ; look++)); do
            line=
            { IFS= read -r line <"$DIR/run/tree-b/$file"; } 2>/dev/null || true
            [[ $line != "edit $edit" ]] || break
            ((look < 600000)) || die "edit $edit is not visible on the other side"
            pause 0.0005
        done
        now_us
        echo $((NOW_US - began_us))
    done
}

median() {
    sort -n | awk '{ all[NR] = $1 }
        END { if (NR) printf "%d\n", (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'
}

[[ $TOOLS != *syncd* ]] || syncd_prepare
echo "bench: $FILES files of $FILE_BYTES bytes, $RUNS runs, $EDITS edits; $TOOLS" >&2
make_tree
make_wire
for ((run = 1; run <= RUNS; run++)); do
    for tool in $TOOLS; do
        first_sync "$tool"
        echo "$TOOK_US" >>"$DIR/$tool.first"
        echo "bench: run $run, $tool: first sync $((TOOK_US / 1000)) ms" >&2
        if ((run == RUNS)); then
            edits >"$DIR/$tool.edits"
            echo "bench: $tool: edit $(($(median <"$DIR/$tool.edits") / 1000)) ms" >&2
        fi
        stop_all
    done
done

# Microseconds a line, as a JSON array of milliseconds.
ms_array() { awk '{ printf "%s%.1f", (NR > 1 ? ", " : ""), $1 / 1000 }' "$1"; }

mkdir -p "$(dirname "$RESULT")"
{
    printf '{\n  "date": "%s",\n' "$(date -u +%Y-%m-%d)"
    printf '  "files": %d,\n  "bytes": %d,\n' "$FILES" $((FILES * FILE_BYTES))
    printf '  "cores": %d,\n  "kernel": "%s %s",\n' "$(nproc)" "$(uname -s)" "$(uname -r | cut -d- -f1)"
    printf '  "file_system": "%s",\n  "tools": [\n' "$(findmnt -no FSTYPE -T "$DIR/run" | tail -1)"
    comma=
    for tool in $TOOLS; do
        printf '%s    {\n      "tool": "%s",\n' "$comma" "$tool"
        printf '      "version": "%s",\n' "$("${tool%-1s}_version")"
        printf '      "first_sync_ms": [%s],\n' "$(ms_array "$DIR/$tool.first")"
        printf '      "first_sync_ms_median": %s,\n' "$(median <"$DIR/$tool.first" | awk '{ print $1 / 1000 }')"
        printf '      "edit_ms": [%s],\n' "$(ms_array "$DIR/$tool.edits")"
        printf '      "edit_ms_median": %s\n    }' "$(median <"$DIR/$tool.edits" | awk '{ print $1 / 1000 }')"
        comma=$',\n'
    done
    printf '\n  ]\n}\n'
} >"$DIR/result.json"
mv "$DIR/result.json" "$RESULT"

printf '\n%-22s %22s %22s\n' '' 'first sync (median)' '2 KB edit (median)'
first_us=$(median <"$DIR/${TOOLS%% *}.first") edit_us=$(median <"$DIR/${TOOLS%% *}.edits")
for tool in $TOOLS; do
    awk -v tool="$tool" -v first="$(median <"$DIR/$tool.first")" -v first_base="$first_us" \
        -v edit="$(median <"$DIR/$tool.edits")" -v edit_base="$edit_us" 'BEGIN {
            printf "%-22s %10.2f s  (%6.1f x) %9.1f ms (%6.1f x)\n", tool,
                first / 1e6, first / first_base, edit / 1e3, edit / edit_base
        }'
done
printf '\n%d files, %d bytes, %d runs in turn, %d edits; written to %s\n' \
    "$FILES" $((FILES * FILE_BYTES)) "$RUNS" "$EDITS" "$RESULT"
