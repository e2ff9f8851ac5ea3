#!/bin/sh
# make-dist.sh [FOLDER]: builds the sdist and the wheel of this checkout, as it is now, into dist or FOLDER, with
# Debian's own setuptools. `pip wheel .` and `uv build` do the same with PyPI's.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
. "$checkout/packaging/lib/common.sh"

result=${1:-$checkout/dist}
umask 022

need_debian
if ! installed python3-setuptools || ! installed python3-wheel; then
    need_root
    apt_need python3-setuptools python3-wheel
fi
work=$(mktemp -d /tmp/fwbouncer-dist.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
# In a copy: setuptools leaves its own folders behind.
cd "$checkout"
tar -c --exclude-vcs --exclude=./.cache --exclude=./.venv --exclude=./build --exclude=./dist --exclude='*.egg-info' \
    --exclude=__pycache__ --exclude='.*_cache' --exclude=.hypothesis . | tar -C "$work" -x
cd "$work"
mkdir out
quietly /usr/bin/python3 -c '
from setuptools import build_meta

build_meta.build_sdist("out")
build_meta.build_wheel("out")
' || die "setuptools failed"
mkdir -p "$result"
cp out/* "$result"
[ "$(id -u)" != 0 ] || chown -R "$(stat -c %u:%g "$checkout")" "$result"
for made in out/*; do
    say "$result/${made#out/}"
done
