#!/bin/sh
# Grows the partition of the root file system, and then the file system, to the end of the disk. Runs at each boot: a disk
# that was made larger while the machine was off is used at the next start. Where there is nothing to grow it does nothing.
set -eu

device=$(findmnt --noheadings --output SOURCE --nofsroot /)
type=$(findmnt --noheadings --output FSTYPE /)
if [ ! -b "$device" ]; then
    echo "the root file system is $device, which is no disk: nothing to grow"
    exit 0
fi
device=$(readlink --canonicalize "$device")
block=/sys/class/block/${device##*/}

# A file system right on a disk or on a logical volume has no partition number.
if [ -e "$block/partition" ]; then
    number=$(cat "$block/partition")
    disk=/dev/$(basename "$(readlink --canonicalize "$block/..")")
    # Exit code 1 says that the partition already ends where the disk does.
    code=0
    growpart "$disk" "$number" || code=$?
    if [ "$code" -gt 1 ]; then
        echo "growpart could not grow partition $number of $disk" >&2
        exit "$code"
    fi
fi

case $type in
    ext2 | ext3 | ext4) resize2fs "$device" ;;
    xfs) xfs_growfs / ;;
    btrfs) btrfs filesystem resize max / ;;
    *) echo "cannot grow a file system of type $type" ;;
esac
