#!/bin/sh
# At the next boot systemd-networkd and systemd-resolved manage the network, and nobody else does. What runs now, runs on:
# this only enables and disables. Prints "changed" for each unit that it had to touch. Then netplan checks its files: it
# makes those of systemd-networkd in /run, or says what is wrong.
set -eu

state() {
    systemctl is-enabled "$1" 2> /dev/null || true
}

for unit in systemd-networkd.service systemd-resolved.service systemd-networkd-wait-online.service; do
    if [ "$(state "$unit")" != enabled ]; then
        systemctl --quiet enable "$unit"
        echo "changed: $unit is enabled"
    fi
done

for unit in networking.service dhcpcd.service NetworkManager.service NetworkManager-wait-online.service; do
    if [ "$(state "$unit")" = enabled ]; then
        systemctl --quiet disable "$unit"
        echo "changed: $unit is disabled"
    fi
done

netplan generate
