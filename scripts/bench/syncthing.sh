# Syncthing under scripts/bench.sh: connecting two devices, sharing the tree.

syncthing_version() { syncthing --version | cut -d' ' -f2; }

# Asks the REST interface of side $1 with method $2 for $3, sending $4.
syncthing_ask() {
    local key
    key=$(sed -n 's|.*<apikey>\(.*\)</apikey>.*|\1|p' "$DIR/run/$1/config.xml")
    ip netns exec "$NET-$1" curl -sSf -X "$2" -H "X-API-Key: $key" ${4:+-d "$4"} \
        "http://127.0.0.1:8384/rest/$3"
}

syncthing_id() { syncthing --home "$DIR/run/$1" --device-id; }

syncthing_is_connected() {
    syncthing_ask a GET system/connections | grep -q '"connected": *true'
}

syncthing_connect() {
    local side other
    for side in a b; do
        local address=ADDRESS_${side^}
        syncthing generate --home "$DIR/run/$side" --no-default-folder --skip-port-probing \
            >"$DIR/run/$side.log" 2>&1
        # Before it ever starts: it talks to nobody but its peer.
        sed -i -e "s|<listenAddress>.*</listenAddress>|<listenAddress>tcp://${!address}:22000</listenAddress>|" \
            -e 's|<\(globalAnnounceEnabled\)>.*<|<\1>false<|' \
            -e 's|<\(localAnnounceEnabled\)>.*<|<\1>false<|' \
            -e 's|<\(relaysEnabled\)>.*<|<\1>false<|' \
            -e 's|<\(natEnabled\)>.*<|<\1>false<|' \
            -e 's|<\(urAccepted\)>.*<|<\1>-1<|' \
            -e 's|<\(autoUpgradeIntervalH\)>.*<|<\1>0<|' \
            -e 's|<\(crashReportingEnabled\)>.*<|<\1>false<|' \
            -e 's|<\(reconnectionIntervalS\)>.*<|<\1>2<|' \
            -e 's|<\(startBrowser\)>.*<|<\1>false<|' "$DIR/run/$side/config.xml"
        behind "$side" env STNOUPGRADE=1 syncthing serve --home "$DIR/run/$side" --no-browser \
            --no-restart --no-upgrade --gui-address=http://127.0.0.1:8384
    done
    for side in a b; do
        patiently syncthing_ask "$side" GET system/ping
        [[ $side == a ]] && other=b || other=a
        address=ADDRESS_${other^}
        syncthing_ask "$side" POST config/devices \
            "{\"deviceID\":\"$(syncthing_id $other)\",\"name\":\"$other\",\"addresses\":[\"tcp://${!address}:22000\"]}"
    done
    patiently syncthing_is_connected
}

# Shares the empty side first, so that the clock does not wait for it.
syncthing_share() {
    local side delay=10 devices
    [[ $1 != *-1s ]] || delay=1
    devices="[{\"deviceID\":\"$(syncthing_id a)\"},{\"deviceID\":\"$(syncthing_id b)\"}]"
    for side in b a; do
        syncthing_ask "$side" POST config/folders \
            "{\"id\":\"tree\",\"path\":\"$DIR/run/tree-$side\",\"fsWatcherDelayS\":$delay,\"devices\":$devices}"
    done
}
