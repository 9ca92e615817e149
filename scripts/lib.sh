# shellcheck shell=bash
# What the scripts share. To be sourced: it defines, and does nothing.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="$REPOSITORY/.venv"
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
#: Seconds to wait for another apt or dpkg (unattended-upgrades on a machine that has just started).
APT_LOCK_S=300

# What `dss create-vm` and `dss run-vm` call.
BUILD_PACKAGES=(mmdebstrap qemu-system-x86 qemu-utils ovmf seabios mtools dosfstools fdisk gdisk grub-common grub-pc-bin
    grub-efi-amd64-bin e2fsprogs util-linux openssh-client git ca-certificates python3-venv debian-archive-keyring)
# Keys of the other distribution. Its package has two names, and not every release has it.
OPTIONAL_PACKAGES=(ubuntu-keyring ubuntu-archive-keyring)
# What Docker images need besides an engine: a real browser, which logs in to check them.
DOCKER_PACKAGES=(chromium chromium-driver)
# What the tests call besides: the diagrams, a Docker engine of their own, and a registry with passwords.
TEST_PACKAGES=(gnupg graphviz iptables iproute2 procps docker-registry apache2-utils)

# What goes along when sudo runs a command: where packages and certificates are, and the password of the build.
PRESERVED_VARIABLES=(CI CURL_CA_BUNDLE DOCKER_CERT_PATH DOCKER_CONFIG DOCKER_HOST DOCKER_REGISTRY_PASSWORD
    DOCKER_REGISTRY_USER DOCKER_TLS_VERIFY DSS_DEFAULT_PASSWORD DSS_TEST_DOCKER_SOCKET GIT_SSL_CAINFO HTTPS_PROXY HTTP_PROXY NO_PROXY PIP_CERT
    PIP_FIND_LINKS PIP_INDEX_URL PYTHONDONTWRITEBYTECODE REQUESTS_CA_BUNDLE SOURCE_DATE_EPOCH SSL_CERT_FILE TERM
    http_proxy https_proxy no_proxy)

say() {
    printf '%s\n' "$*" >&2
}

# die MESSAGE [HINT]
die() {
    say "Error: $1"
    [[ -z "${2:-}" ]] || say "Hint: $2"
    exit 1
}

# Runs a command as root. What dss reads from the environment goes along; a secret stays off the command line.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo --preserve-env="$(IFS=,; printf '%s' "${PRESERVED_VARIABLES[*]}")" -- "$@"
    else
        die "this needs root rights: $*" "Run it as root, or install sudo."
    fi
}

# missing_packages NAME…: those that are not installed, one a line.
missing_packages() {
    local name
    for name in "$@"; do
        # The outer quotes keep ${…} for dpkg-query.
        # shellcheck disable=SC2016
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\n' "$name"
    done
}

# available_packages NAME…: those that apt can install, one a line.
available_packages() {
    local name
    for name in "$@"; do
        if apt-cache policy "$name" 2>/dev/null | grep -q '^ *Candidate: [^(]'; then
            printf '%s\n' "$name"
        fi
    done
}

# apt-get has a time-out for dpkg's lock, but none for that of the package lists.
update_package_lists() {
    local deadline=$((SECONDS + APT_LOCK_S)) output
    until output=$(as_root apt-get -qq -o DPkg::Lock::Timeout="$APT_LOCK_S" update 2>&1); do
        if [[ $output != *"/lock"* ]] || ((SECONDS > deadline)); then
            say "$output"
            die "apt-get update failed." "Are the package sources of this machine reachable?"
        fi
        say "Another program is using apt; waiting."
        sleep 5
    done
}

# ensure_packages NAME…: installs those that are missing, and says which.
ensure_packages() {
    local -a missing optional
    local output
    mapfile -t missing < <(missing_packages "$@")
    mapfile -t optional < <(missing_packages "${OPTIONAL_PACKAGES[@]}")
    # One of the two names is enough.
    if ((${#optional[@]} < ${#OPTIONAL_PACKAGES[@]})); then
        optional=()
    fi
    if ((${#missing[@]} == 0 && ${#optional[@]} == 0)); then
        return
    fi
    if ((${#missing[@]})); then
        update_package_lists
    fi
    if ((${#optional[@]})); then
        mapfile -t optional < <(available_packages "${optional[@]}")
    fi
    missing+=("${optional[@]:0:1}")
    if ((${#missing[@]} == 0)); then
        return
    fi
    say "Installing Debian packages: ${missing[*]}"
    if ! output=$(as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
        apt-get -qq -y -o DPkg::Lock::Timeout="$APT_LOCK_S" -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold \
        install --no-install-recommends "${missing[@]}" 2>&1); then
        say "$output"
        die "the Debian packages could not be installed."
    fi
}

# The packages of a kind that this machine needs: build, docker or test.
packages_for() {
    printf '%s\n' "${BUILD_PACKAGES[@]}"
    if [[ $1 == test ]]; then
        printf '%s\n' "${TEST_PACKAGES[@]}"
    fi
    if [[ $1 != build ]]; then
        printf '%s\n' "${DOCKER_PACKAGES[@]}"
        # Docker's own packages conflict with the distribution's.
        if ! command -v dockerd >/dev/null; then
            printf '%s\n' docker.io
            # A package of its own since Debian 13, which docker.io only recommends.
            if [[ $(. /etc/os-release && printf '%s-%s' "$ID" "${VERSION_ID%%.*}") == debian-1[3-9] ]]; then
                printf '%s\n' docker-cli
            fi
        fi
    fi
}

# The first Python from 3.11 to 3.13 that can make a virtual environment. A pyenv shim may be there and not run.
find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3 /usr/bin/python3; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
        then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    return 1
}

# What the environment was made from: this place, and the list of dependencies.
venv_hash() {
    { printf '%s\n' "$REPOSITORY"; cat "$REPOSITORY/pyproject.toml"; } | sha256sum | cut -d ' ' -f 1
}

# ensure_venv [EXTRA…]: .venv at the root, with the package in editable form and the extras of pyproject.toml.
# The stamp holds the hash and the extras; without it, the environment counts as half made.
ensure_venv() {
    local stamp="$VENV/.dss-stamp" hash stamped_hash='' stamped_extras='' python wanted extra
    local -a extras
    hash=$(venv_hash)
    if [[ -f $stamp ]]; then
        { read -r stamped_hash && read -r stamped_extras; } <"$stamp" || true
    fi
    wanted=" $stamped_extras "
    for extra in "$@"; do
        [[ $wanted == *" $extra "* ]] || wanted+="$extra "
    done
    read -ra extras <<<"$wanted"
    if [[ $hash == "$stamped_hash" && ${extras[*]} == "$stamped_extras" ]] && "$VENV/bin/python" -c '' 2>/dev/null; then
        return
    fi
    rm -f "$stamp"
    if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || ! grep -qsF "$VENV/" "$VENV/bin/pip"; then
        python=$(find_python) || die "no Python from 3.11 to 3.13 with venv is installed." "apt-get install python3-venv"
        say "Making .venv with $("$python" --version) ($python)"
        "$python" -m venv --clear "$VENV"
    fi
    say "Installing Python packages into .venv: exasol-like-dss${extras[*]:+ with ${extras[*]}}"
    (cd "$REPOSITORY" && IFS=, && "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check \
        --editable ".${extras[*]:+[${extras[*]}]}")
    printf '%s\n' "$hash" "${extras[*]}" >"$stamp"
}

# The file with the certificates that this host trusts, where the environment names one.
ca_bundle() {
    local file
    for file in "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}" "${CURL_CA_BUNDLE:-}"; do
        if [[ -f $file ]]; then
            printf '%s\n' "$file"
            return
        fi
    done
}

# can_reach_git URL [SECONDS]: whether a git repository answers. Never asks for a password.
can_reach_git() {
    GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=true timeout "${2:-20}" git ls-remote --quiet --heads -- "$1" >/dev/null 2>&1 </dev/null
}

# option_value NAME ARGUMENT…: the value of the last --name VALUE or --name=VALUE; fails when there is none.
option_value() {
    local name=$1 value='' found=1
    shift
    while (($#)); do
        case $1 in
            "$name") value=${2:-} found=0 ;;
            "$name"=*) value=${1#*=} found=0 ;;
        esac
        shift
    done
    printf '%s' "$value"
    return "$found"
}

# Places in the files of the repository that name the host of a package mirror or registry. Documentation hosts are none.
mirror_host_names() {
    git -C "$REPOSITORY" grep --untracked -nIiP \
        '(?<![\w.-])(?!(www|wiki|manpages|packages|bugs|lists|salsa|help|documentation)\.)([\w-]+\.)+(debian|ubuntu)\.(org|com|net)\b|\b(pypi|npmjs|pythonhosted|pypa|test\.pypi)\.(org|com|io)\b' \
        -- .
}
