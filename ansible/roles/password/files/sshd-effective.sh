#!/bin/sh
# sshd-effective.sh USER: the options of the ssh server that count for USER, read by the server itself.
# In an image there are neither host keys nor /run/sshd, and it wants both before it says anything.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
ssh-keygen -q -t ed25519 -N '' -f "$folder/key"
mkdir -p /run/sshd
/usr/sbin/sshd -T -h "$folder/key" -C "user=$1,host=localhost,addr=192.0.2.1"
