# syncd under scripts/bench.sh and bench-burst.sh: preparing, connecting two devices, sharing the tree.

syncd_prepare() {
    if [[ -n ${SYNCD_BIN_DIR:-} ]]; then
        SYNCD_BIN=$(cd "$SYNCD_BIN_DIR" && pwd)
    else
        cargo build --release --locked --quiet -p syncd -p syncd-cli --bins
        SYNCD_BIN=$(cargo metadata --format-version 1 --no-deps --offline \
            | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
    fi
    [[ -x $SYNCD_BIN/syncd && -x $SYNCD_BIN/syncctl ]] || die "no syncd and syncctl in $SYNCD_BIN"
}

syncd_version() { "$SYNCD_BIN/syncctl" --version | cut -d' ' -f2; }

# Asks the device of side $1.
syncd_ctl() {
    local side=$1
    shift
    "$SYNCD_BIN/syncctl" --home "$DIR/run/$side" "$@"
}

syncd_is_connected() { syncd_ctl a devices --json | grep -q '"connected": *true'; }

syncd_connect() {
    local side
    for side in a b; do
        local address=ADDRESS_${side^}
        syncd_ctl "$side" init --name "$side" >/dev/null
        syncd_ctl "$side" config set discovery '[]'
        syncd_ctl "$side" config set listen "/ip4/${!address}/tcp/24110"
        behind "$side" "$SYNCD_BIN/syncd" --home "$DIR/run/$side"
    done
    patiently syncd_ctl a status
    patiently syncd_ctl b status
    syncd_ctl a pair "$(syncd_ctl b id)" --name b --address "/ip4/$ADDRESS_B/tcp/24110" >/dev/null
    syncd_ctl b pair "$(syncd_ctl a id)" --name a --address "/ip4/$ADDRESS_A/tcp/24110" >/dev/null
    patiently syncd_is_connected
}

# The other side can accept only what it was offered: asked for again until it is there, and that
# is in the time.
syncd_share() {
    syncd_ctl a folder add "$DIR/run/tree-a" --id tree --with b >/dev/null
    patiently syncd_ctl b folder accept tree "$DIR/run/tree-b"
}
