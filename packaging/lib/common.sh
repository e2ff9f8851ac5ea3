# shellcheck shell=sh disable=SC2034 # its names are for the scripts that source it
# What the scripts here share: words to the reader, and Debian's packages, installed or only unpacked.
# A script that sources this has set `checkout` to the folder that holds it all.

# What fwbouncer itself runs on.
RUN_PACKAGES="python3 python3-httpx python3-pyroute2 python3-yaml python3-sdnotify"

# What its tests need on top: a kernel's tools, a test runner, an independent reader of nftables.
TEST_PACKAGES="python3-venv python3-pytest python3-hypothesis python3-nftables python3-rich
    python3-prometheus-client bash-completion fish man-db mandoc zsh
    nftables ipset iptables conntrack iproute2 openssl curl ca-certificates procps"

# Colour is for people: only on a terminal, and only where they did not ask for none.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
    red=$(printf '\033[31m') green=$(printf '\033[32m')
else
    bold='' dim='' plain='' red='' green=''
fi
export bold dim plain red green

# One line of progress.
say() {
    printf '%s==>%s %s\n' "$bold" "$plain" "$*"
}

# The last word of a script that can't go on.
die() {
    printf '%s%s: %s%s\n' "$red" "${0##*/}" "$*" "$plain" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || die "needs root, for network namespaces and packages: sudo $0"
}

need_debian() {
    command -v apt-get >/dev/null 2>&1 || die "runs on Debian 12 or 13; there is no apt-get here"
}

# Runs a command that only matters to the reader when it fails.
quietly() {
    quiet_log=$(mktemp)
    if "$@" >"$quiet_log" 2>&1 </dev/null; then
        rm -f "$quiet_log"
        return 0
    fi
    tail -n 40 "$quiet_log" >&2
    rm -f "$quiet_log"
    return 1
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# A package list that was never fetched, as on a new machine, or is a day old, answers with files that are gone.
refresh_package_list() {
    newest=$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | head -n 1)
    if [ -z "$newest" ]; then
        quietly apt-get update || die "apt-get update failed"
    fi
}

# Installs those of the named packages that are missing.
apt_need() {
    missing=''
    for package in "$@"; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    refresh_package_list
    # shellcheck disable=SC2086 # a list of package names
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends $missing ||
        die "apt-get could not install:$missing"
}

# unpack_packages FOLDER PACKAGE...: lays out the packages, and what they need that is not installed, below
# FOLDER. Nothing is installed: no user is made, no service starts, nothing that the machine has is replaced.
unpack_packages() {
    folder=$1
    shift
    archives=$(mktemp -d)
    mkdir -p "$archives/partial" "$folder/usr"
    refresh_package_list
    # The sandbox user of apt could not write into this folder.
    if ! quietly apt-get install -y --download-only --no-install-recommends \
        -o Dir::Cache::archives="$archives" -o APT::Sandbox::User=root "$@"; then
        rm -rf "$archives"
        die "apt-get could not fetch: $*"
    fi
    for archive in "$archives"/*.deb; do
        [ -e "$archive" ] && dpkg-deb -x "$archive" "$folder"
    done
    rm -rf "$archives"
    # Debian merged these folders into /usr; some packages still ship files under the old names.
    for old in bin sbin lib; do
        if [ -d "$folder/$old" ]; then
            mkdir -p "$folder/usr/$old"
            cp -a "$folder/$old/." "$folder/usr/$old/"
            rm -rf "${folder:?}/$old"
        fi
    done
}
