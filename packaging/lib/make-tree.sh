#!/bin/sh
# make-tree.sh SUITE: lays a small Debian out below .cache/trees/SUITE, which tests boot: bookworm or trixie, with
# systemd and all that fwbouncer and its tests run on. Prints the tree's path. A tree that is there already is left.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
. "$checkout/packaging/lib/common.sh"

suite=${1:?which suite: bookworm or trixie}
tree=$checkout/.cache/trees/$suite
# python3-venv is for .venv alone, and a tree has none.
packages="systemd systemd-sysv dbus kmod $RUN_PACKAGES $(echo "$TEST_PACKAGES" | sed 's/python3-venv//')"
edition=1 # raise it when what a tree holds changes

# The mirror is the one that this machine's own packages come from.
mirror() {
    # shellcheck disable=SC2016 # apt fills it in
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1
}

build() {
    from=$(mirror)
    [ -n "$from" ] || die "apt knows no mirror of Debian"
    say "making a tree of $suite in .cache; this takes two minutes"
    new=$(mktemp -d "$checkout/.cache/trees/$suite.XXXXXX")
    # shellcheck disable=SC2086 # a list of package names, comma-separated below
    names=$(printf '%s,' $packages)
    if ! quietly debootstrap --variant=minbase --include="${names%,}" "$suite" "$new" "$from"; then
        rm -rf "$new"
        die "debootstrap could not make a tree of $suite"
    fi
    rm -rf "$new"/var/cache/apt/archives/*.deb
    chmod 755 "$new"
    echo "$edition" >"$new/etc/fwbouncer-tree"
    rm -rf "$tree"
    mv "$new" "$tree"
}

need_root
need_debian
apt_need debootstrap >&2
mkdir -p "$checkout/.cache/trees"
# Two who start at once: the second waits, and finds the tree.
exec 9>"$checkout/.cache/trees/$suite.lock"
flock 9
[ "$(cat "$tree/etc/fwbouncer-tree" 2>/dev/null)" = "$edition" ] || build >&2
echo "$tree"
