#!/bin/sh
# Removes what must not be in an image: what identifies the machine that built it, what would be the same on all
# machines made from it, and what the build left behind.
#
# Runs in an image being built as well as on a running machine over ssh. There it is the last thing: it stops nothing
# that holds the connection, and from then on nothing is logged to the disk.
set -eu

live=false
[ -d /run/systemd/system ] && live=true

# Removes what is in a folder, not the folder.
empty() {
    for folder in "$@"; do
        [ -d "$folder" ] || continue
        find "$folder" -xdev -mindepth 1 -delete
    done
}

# --- identity ---------------------------------------------------------------------------------------------------------
rm -f /etc/ssh/ssh_host_*
# Empty, not gone: systemd fills an empty one in, but takes a missing one for the very first boot and asks questions.
: > /etc/machine-id
chmod 0444 /etc/machine-id
mkdir -p /var/lib/dbus
ln -sf /etc/machine-id /var/lib/dbus/machine-id
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret
# The secret of JupyterLab, where its units ran during the build.
rm -f /var/lib/exasol-like-dss/jupyter-token
rm -f /var/lib/docker/engine-id /etc/docker/key.json
[ ! -e /etc/iscsi/initiatorname.iscsi ] || echo 'GenerateName=yes' > /etc/iscsi/initiatorname.iscsi

# --- network of the build machine -------------------------------------------------------------------------------------
empty /var/lib/dhcp /var/lib/dhcpcd /var/lib/systemd/network
rm -f /var/lib/NetworkManager/*.lease /etc/udev/rules.d/70-persistent-net.rules

# --- cloud-init -------------------------------------------------------------------------------------------------------
empty /var/lib/cloud
rm -f /etc/netplan/50-cloud-init.yaml /etc/ssh/sshd_config.d/50-cloud-init.conf

# --- traces of the build ----------------------------------------------------------------------------------------------
rm -f /usr/sbin/policy-rc.d
# The build's CA belongs in /run; but whoever had it installed for the time of the build finds it gone.
for certificate in /usr/local/share/ca-certificates/dss-build*.crt; do
    [ -e "$certificate" ] || continue
    rm -f "$certificate"
    update-ca-certificates --fresh > /dev/null 2>&1
done
rm -f /etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/subuid- /etc/subgid- /etc/.pwd.lock
rm -f /etc/.resolv.conf.systemd-resolved.bak
empty /var/backups /var/crash /var/mail
rm -f /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/lib/ucf/*.[0-9]

# --- users ------------------------------------------------------------------------------------------------------------
getent passwd | cut -d : -f 6 | sort -u | while read -r home; do
    case $home in
        /root | /home/*) ;;
        *) continue ;;
    esac
    [ -d "$home" ] || continue
    for name in .ansible .cache .bash_history .python_history .lesshst .nano_history .node_repl_history .sqlite_history \
        .viminfo .wget-hsts .sudo_as_admin_successful .Xauthority .gnupg .ipython .local/share/jupyter/runtime \
        .local/share/jupyter/nbsignatures.db .local/share/jupyter/notebook_secret .jupyter/lab/workspaces; do
        rm -rf "${home:?}/$name"
    done
    find "$home" -xdev -type d -name .ipynb_checkpoints -prune -exec rm -rf {} +
done

# --- caches -----------------------------------------------------------------------------------------------------------
apt-get clean
empty /var/lib/apt/lists
rm -f /var/cache/apt/*.bin /var/lib/apt/periodic/*
rm -rf /var/cache/ldconfig/aux-cache /var/cache/pollinate
# Ansible's module, which runs this, has its own program there, and removes it itself.
find /tmp /var/tmp -xdev -mindepth 1 -maxdepth 1 ! -name 'ansible*' ! -name 'systemd-private-*' -exec rm -rf {} +

# --- first boot -------------------------------------------------------------------------------------------------------
# What systemd does after an update of /usr (ldconfig, users, catalogues) has been done. ConditionNeedsUpdate compares
# the times of these files with that of /usr (systemd.unit(5)).
touch /etc/.updated /var/.updated

# --- logs: last, because everything above may have written some --------------------------------------------------------
if $live; then
    # From here to the next boot the journal stays in memory.
    journalctl --relinquish-var > /dev/null 2>&1 || true
    systemctl stop syslog.socket rsyslog.service > /dev/null 2>&1 || true
fi
# Programs that still hold a removed file write to nowhere.
find /var/log -xdev -type f -delete
if [ -d /var/log/journal ]; then
    empty /var/log/journal
fi
