#!/bin/sh
# Makes .venv in the checkout: the system's own python3 with its site packages, this checkout, and a `fwbouncer`
# command. It needs no network, and a .venv that fits already is left alone.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
. "$checkout/packaging/lib/common.sh"

# The system's own, by its full name: another python3 in PATH would not have the system's packages.
python=/usr/bin/python3
venv=$checkout/.venv

# A .venv outlives an upgrade of the system's Python, and a copied checkout brings one with wrong paths.
fits() {
    [ -x "$venv/bin/fwbouncer" ] &&
        [ "$("$venv/bin/python" -c 'import sys; print(sys.prefix, sys.version)' 2>/dev/null)" = \
            "$venv $("$python" -c 'import sys; print(sys.version)')" ]
}

write_command() {
    "$venv/bin/python" - "$checkout" <<'END'
import pathlib, sys, sysconfig

pathlib.Path(sysconfig.get_path("purelib"), "fwbouncer.pth").write_text(sys.argv[1] + "\n")
END
    cat >"$venv/bin/fwbouncer" <<END
#!/bin/sh
# -P: a folder named fwbouncer where the caller stands is not this program.
exec "$venv/bin/python" -P -m fwbouncer "\$@"
END
    chmod 755 "$venv/bin/fwbouncer"
}

# A .venv that root makes in somebody's checkout is theirs.
give_to_owner() {
    [ "$(id -u)" != 0 ] || chown -R "$(stat -c %u:%g "$checkout")" "$venv"
}

if ! fits; then
    say "making .venv"
    [ -x "$python" ] || die "there is no $python: sudo apt-get install python3 python3-venv"
    quietly "$python" -m venv --clear --system-site-packages "$venv" ||
        die "could not make .venv: sudo apt-get install python3-venv"
    write_command
    give_to_owner
fi
