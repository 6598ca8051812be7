#!/usr/bin/env bash
# Shows the main job on real files: two devices on this machine keep one folder identical.
#
#   scripts/demo.sh [--keep] [TREE]
#
# Builds syncd, starts two daemons in temporary homes, pairs them and syncs a copy of TREE (if not
# given: the project's own sources and 3,000 files of Rust's documentation). Measures, makes a
# conflict, compares both sides with tools that are not ours, and cleans up after itself.
# --keep leaves it running and says how to play with it.
# SYNCD_BIN_DIR: take the programs from there and build nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export LC_ALL=C PATH="${CARGO_HOME:-${HOME:-/tmp}/.cargo}/bin:$PATH"

DOC_FILES_MAX=3000
EDITS=21

die() {
    echo "demo: $*" >&2
    exit 1
}

[[ -n ${EPOCHREALTIME:-} ]] || die 'this script needs bash 5 (on macOS: brew install bash)'
KEEP=no TREE=
for argument in "$@"; do
    case $argument in
        --keep) KEEP=yes ;;
        -*) sed -n '2,11s/^# \{0,1\}//p' scripts/demo.sh >&2 && exit 2 ;;
        *) TREE=$argument ;;
    esac
done
[[ -z $TREE || -d $TREE ]] || die "$TREE is not a directory"

# Colours only where a person looks.
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' GOOD=$'\e[32m' BAD=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' GOOD='' BAD='' PLAIN=''
fi

title() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
say() { printf '  %s\n' "$*"; }
fact() { printf '  %-12s %s\n' "$1" "$2"; }
good() { printf '  %s✓%s %s\n' "$GOOD" "$PLAIN" "$*"; }
shown() { sed "s/^/    $DIM/; s/\$/$PLAIN/"; }

# Microseconds since 1970, without a process of its own.
now_us() { NOW_US=${EPOCHREALTIME/[.,]/}; }

# A pause without a process of its own: reading where nothing ever comes.
pause() { read -rt "$1" -u "$SILENCE" _ || true; }

# Tries a command until it succeeds: at most 30 s, its last words if it never does.
patiently() {
    local try words=
    for try in $(seq 300); do
        words=$("$@" 2>&1) && return 0
        pause 0.1
    done
    die "gave up on: $* ($words)"
}

PIDS=()
DIR=$(mktemp -d "${TMPDIR:-/tmp}/syncd-demo.XXXXXX")
mkfifo "$DIR/silence"
exec {SILENCE}<>"$DIR/silence"

# Ends what was started here, and only that.
clean_up() {
    local code=$? pid
    trap - EXIT INT TERM
    if [[ $code -ne 0 && -e $DIR/laptop/syncd.log ]]; then
        echo "demo: the ends of both logs:" >&2
        tail -n 15 "$DIR"/{laptop,devbox}/syncd.log >&2 || true
    fi
    if [[ $KEEP != yes || $code -ne 0 ]]; then
        for pid in "${PIDS[@]}"; do
            kill "$pid" 2>/dev/null || true
        done
        for pid in "${PIDS[@]}"; do
            wait "$pid" 2>/dev/null || true
        done
        rm -rf "$DIR"
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

title 'syncd: two devices, one folder'

if [[ -n ${SYNCD_BIN_DIR:-} ]]; then
    BIN=$(cd "$SYNCD_BIN_DIR" && pwd)
else
    say 'building (minutes the first time, nothing to do the next) ...'
    SECONDS=0
    cargo build --release --locked --quiet -p syncd -p syncd-cli --bins
    BIN=$(cargo metadata --format-version 1 --no-deps --offline \
        | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
    fact built "in $SECONDS s"
fi
[[ -x $BIN/syncd && -x $BIN/syncctl ]] || die "no syncd and syncctl in $BIN"

laptop() { "$BIN/syncctl" --home "$DIR/laptop" "$@"; }
devbox() { "$BIN/syncctl" --home "$DIR/devbox" "$@"; }

# Starts the daemon of a device, and returns when it answers. Its process id is left in STARTED.
start() {
    "$BIN/syncd" --home "$DIR/$1" </dev/null >>"$DIR/$1/syncd.log" 2>&1 &
    STARTED=$!
    PIDS+=("$STARTED")
    local deadline=$((SECONDS + 30))
    until "$1" status >/dev/null 2>&1; do
        kill -0 "$STARTED" 2>/dev/null || die "the $1's syncd ended at once"
        ((SECONDS < deadline)) || die "the $1's syncd does not answer"
        pause 0.05
    done
}

# Finds a TCP port that nobody listens at, below those that systems give to outgoing connections.
find_port() {
    for _ in $(seq 100); do
        PORT=$((20000 + RANDOM % 10000))
        (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null || return 0
    done
    die 'no free TCP port'
}

find_port
laptop init --name laptop >/dev/null
devbox init --name devbox >/dev/null
# Nothing outside this machine is asked or told.
for device in laptop devbox; do
    "$device" config set discovery '[]'
done
laptop config set listen '[]'
devbox config set listen "/ip4/127.0.0.1/tcp/$PORT"
start laptop
LAPTOP_PID=$STARTED
start devbox
DEVBOX_PID=$STARTED
laptop pair "$(devbox id)" --name devbox --address "/ip4/127.0.0.1/tcp/$PORT" >/dev/null
devbox pair "$(laptop id)" --name laptop >/dev/null
is_connected() { laptop devices --json | grep -q '"connected": *true'; }
patiently is_connected
fact laptop "$(laptop id)"
fact devbox "$(devbox id)"
good 'paired: each was told the id of the other, and they are connected'

title '1. A real tree'
HERE=$DIR/laptop-work THERE=$DIR/devbox-work
mkdir "$HERE"

# Copies the files that are listed on stdin, relative to $1, into $2.
copy_listed() { mkdir -p "$2" && tar -C "$1" -cf - -T - | tar -C "$2" -xf -; }

if [[ -n $TREE ]]; then
    cp -a "$TREE/." "$HERE/"
    rm -rf "$HERE/.syncd"
    WHAT="a copy of $TREE"
else
    if git rev-parse --git-dir >/dev/null 2>&1 && [[ -n $(git ls-files | head -n 1) ]]; then
        git ls-files
    else
        find . -type f ! -path './.git/*' ! -path './target/*' | sed 's|^\./||'
    fi | while read -r file; do [[ ! -e $file ]] || echo "$file"; done >"$DIR/sources"
    copy_listed . "$HERE/syncd" <"$DIR/sources"
    WHAT="the project's sources"
    if SYSROOT=$(rustc --print sysroot 2>/dev/null); then
        DOC=share/doc
        if [[ ! -d $SYSROOT/share/doc/rust/html ]]; then
            DOC=lib/rustlib
            say "Rust's documentation is not installed here: files of $DOC instead"
        fi
        (cd "$SYSROOT" && find "$DOC" -type f | sort | sed -n "1,${DOC_FILES_MAX}p") >"$DIR/docs"
        copy_listed "$SYSROOT" "$HERE" <"$DIR/docs"
        WHAT+=" and $(wc -l <"$DIR/docs" | tr -d ' ') files of Rust's $DOC"
    fi
fi
FILES=$(find "$HERE" -type f | wc -l | tr -d ' ')
BYTES=$(find "$HERE" -type f -exec cat {} + | wc -c | tr -d ' ')
MB=$(awk -v bytes="$BYTES" 'BEGIN { printf "%.1f", bytes / 1e6 }')
fact what "$WHAT"
fact files "$FILES"
fact bytes "$BYTES ($MB MB)"

now_us && BEGAN_US=$NOW_US
laptop folder add "$HERE" --id work --with devbox >/dev/null
patiently devbox folder accept work "$THERE"
laptop flush --timeout 10m >/dev/null
now_us && TOOK_US=$((NOW_US - BEGAN_US))
fact seconds "$(awk -v us="$TOOK_US" -v files="$FILES" -v mb="$MB" 'BEGIN {
    s = us / 1e6
    printf "%.2f until all is durable there (%d files/s, %.1f MB/s)", s, files / s, mb / s
}')"

# Compares both sides with tools that are not ours. Version control is not synced by default.
compare() {
    local found
    found=$(diff -r --no-dereference -x .syncd -x .git -x .hg -x .svn -x .jj \
        "$HERE" "$THERE" 2>&1) || { echo "$found" | head -n 20 >&2; die 'the sides differ'; }
    good "diff -r: both sides hold the same ($1)"
    if type -P rsync >/dev/null; then
        # Kinds, permissions, times, link targets, and nothing too much on either side.
        found=$(rsync -rlptnOi --delete --exclude=/.syncd --exclude=.git --exclude=.hg \
            --exclude=.svn --exclude=.jj "$HERE/" "$THERE/")
        [[ -z $found ]] || { echo "$found" | head -n 20 >&2; die 'rsync would copy these'; }
        good 'rsync -n: permissions, times and links are the same too'
    fi
}
compare "$FILES files"

title '2. An edit'
# Each edit is 2 KB and begins with a line that the other side waits for.
PADDING=$(head -c 2000 /dev/zero | tr '\0' 'x')
TIMES=()
for ((edit = 0; edit < EDITS; edit++)); do
    if ((edit % 2)); then FROM=$THERE TO=$HERE; else FROM=$HERE TO=$THERE; fi
    pause 0.05
    now_us && BEGAN_US=$NOW_US
    printf 'edit %d\n%s\n' "$edit" "$PADDING" >"$FROM/edited.txt"
    for ((look = 0; ; look++)); do
        LINE=
        [[ ! -e $TO/edited.txt ]] || { read -r LINE <"$TO/edited.txt"; } 2>/dev/null || true
        [[ $LINE != "edit $edit" ]] || break
        ((look < 20000)) || die "edit $edit is not visible on the other side"
        pause 0.0005
    done
    now_us && TIMES+=($((NOW_US - BEGAN_US)))
done
printf '%s\n' "${TIMES[@]}" | sort -n | awk -v dim="$DIM" -v plain="$PLAIN" '
    { ms[NR] = $1 / 1000 }
    END {
        printf "  %-12s %.1f ms until a 2 KB edit is visible there, at the median",
            "edit", ms[int((NR + 1) / 2)]
        printf "\n  %-12s %s%d edits, to and fro, %.1f to %.1f ms%s\n", "",
            dim, NR, ms[1], ms[NR], plain
    }'

title '3. A conflict'
printf 'milk\n' >"$HERE/shopping.txt"
laptop flush >/dev/null
# Nobody goes on writing within a blink; what both begin with is put aside meanwhile.
pause 0.5
say 'Both know shopping.txt. The devbox goes away, and both write it.'
kill "$DEVBOX_PID"
wait "$DEVBOX_PID" || true
printf 'milk\nbread\n' >"$HERE/shopping.txt"
printf 'milk\napples\n' >"$THERE/shopping.txt"
# A minute later, so that it is plain whose write is the newer one.
touch -d "@$(($(date +%s) + 60))" "$THERE/shopping.txt" 2>/dev/null \
    || touch -t "$(date -v+60S +%Y%m%d%H%M.%S)" "$THERE/shopping.txt"
start devbox
DEVBOX_PID=$STARTED
has_copy() { compgen -G "$1/shopping.sync-conflict-*.txt" >/dev/null; }
patiently has_copy "$HERE"
patiently has_copy "$THERE"
devbox flush --timeout 60s >/dev/null
laptop flush --timeout 60s >/dev/null
say 'It is back. The newer write kept the name, the other is a copy, on both sides:'
(cd "$THERE" && for file in shopping*; do echo "$file: $(tr '\n' ' ' <"$file")"; done) | shown
say 'syncctl conflicts show shopping.txt'
laptop conflicts show "$HERE/shopping.txt" | shown
compare "$((FILES + 3)) files, the copy among them"
laptop conflicts resolve "$HERE/shopping.txt" --keep both >/dev/null
laptop flush --timeout 60s >/dev/null
good 'resolved: syncctl conflicts resolve shopping.txt --keep both'

title 'Done'
laptop status | sed 's/^/  /'
if [[ $KEEP == yes ]]; then
    # Now they belong to nobody but the person.
    disown -a
    cat <<TEXT

It keeps running. Play with it:

    laptop() { "$BIN/syncctl" --home "$DIR/laptop" "\$@"; }
    devbox() { "$BIN/syncctl" --home "$DIR/devbox" "\$@"; }
    cd "$HERE"    # the laptop's side
    echo hello >hello.txt && laptop flush && cat "$THERE/hello.txt"
    devbox status --watch
    devbox events --follow
    laptop why hello.txt
    rm hello.txt && sleep 1 && devbox trash ls

To end it and remove all of it:

    kill $LAPTOP_PID $DEVBOX_PID; rm -rf "$DIR"
TEXT
fi
