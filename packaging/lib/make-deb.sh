#!/bin/sh
# make-deb.sh [FOLDER]: builds the Debian package of this checkout, as it is now, into dist or FOLDER. The same files
# give the same package, byte for byte, whoever builds it, where and when.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
. "$checkout/packaging/lib/common.sh"

result=${1:-$checkout/dist}
# Debian's own tools and Python, whatever else stands in front of them in PATH.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8
umask 022

# The files that belong to the sources: those that git knows, or all of an unpacked archive.
sources() {
    if [ -e .git ] && command -v git >/dev/null 2>&1; then
        git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
    else
        find . \( -name .git -o -name .venv -o -name .cache -o -name build -o -name dist -o -name '*.egg-info' \
            -o -name __pycache__ -o -name '.*_cache' -o -name .hypothesis \) -prune \
            -o \( -type f -o -type l \) -printf '%P\0'
    fi | LC_ALL=C sort -z
}

# pack FOLDER: a tar of what is named on standard input, as it would be in any other checkout, below FOLDER.
pack() {
    tar --create --null --verbatim-files-from --files-from=- --transform="s,^,$1/,S" --owner=0 --group=0 \
        --numeric-owner --mode=u=rwX,go=rX --mtime="@$(dpkg-parsechangelog -l "$changelog" -S Timestamp)"
}

lay_out() {
    cd "$checkout"
    sources | grep -zv '^packaging/debian/' | pack "fwbouncer-$upstream" |
        gzip -9n >"$work/fwbouncer_$upstream.orig.tar.gz"
    tar -C "$work" -xzf "$work/fwbouncer_$upstream.orig.tar.gz"
    sources | grep -z '^packaging/debian/' | pack x | tar -C "$work" -x
    mv "$work/x/packaging/debian" "$source/debian"
    rm -r "$work/x"
}

# What it is built with; root installs what is missing, anybody else is told.
need_build_packages() {
    if ! (cd "$source" && dpkg-checkbuilddeps 2>/dev/null); then
        [ "$(id -u)" = 0 ] ||
            die "$(cd "$source" && dpkg-checkbuilddeps 2>&1 | sed 's/.*error: //'); or run this as root"
        say "installing what the package is built with"
        refresh_package_list
        DEBIAN_FRONTEND=noninteractive quietly apt-get build-dep -y --no-install-recommends "$source" ||
            die "apt-get could not install what the package is built with"
    fi
}

# What root made in somebody's checkout is theirs.
give_to_owner() {
    [ "$(id -u)" != 0 ] || chown -R "$(stat -c %u:%g "$checkout")" "$result"
}

need_debian
if ! installed dpkg-dev; then
    need_root
    apt_need dpkg-dev
fi
changelog=$checkout/packaging/debian/changelog
version=$(dpkg-parsechangelog -l "$changelog" -S Version)
upstream=${version%-*}
work=$(mktemp -d /tmp/fwbouncer-deb.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
source=$work/fwbouncer-$upstream

lay_out
need_build_packages
say "building fwbouncer $version"
(cd "$source" && quietly dpkg-buildpackage --unsigned-source --unsigned-changes) || die "dpkg-buildpackage failed"
mkdir -p "$result"
find "$work" -maxdepth 1 -type f -exec cp {} "$result" \;
give_to_owner
say "$result/fwbouncer_${version}_all.deb"
