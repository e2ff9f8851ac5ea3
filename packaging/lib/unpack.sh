#!/bin/sh
# unpack.sh PACKAGE: lays a package of Debian's out below .cache/PACKAGE and prints that folder. It is not installed:
# no service starts, nothing calls home, nothing that the machine has is replaced. What is there already is left. Where
# the machine has the package itself, that one serves, and / is printed.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
. "$checkout/packaging/lib/common.sh"

package=${1:?which package}
folder=$checkout/.cache/$package

need_root
need_debian
if installed "$package"; then
    echo /
    exit
fi
if [ ! -e "$folder/complete" ]; then
    say "unpacking $package into .cache" >&2
    rm -rf "$folder"
    unpack_packages "$folder" "$package" >&2
    touch "$folder/complete"
fi
echo "$folder"
