#!/bin/sh
# address.sh IPV4 IPV6/LENGTH: gives the interface that has the one address the other one, too, now and at every boot.
set -eu

v4=$1 v6=$2
unit=/etc/systemd/system/second-address.service

link=$(ip -o -4 address show to "$v4/32" | awk '{ print $2; exit }')
[ -n "$link" ] || {
    echo "address.sh: no interface has the address $v4" >&2
    exit 1
}
new=$(mktemp)
cat >"$new" <<END
[Unit]
Description=The IPv6 address of the private network
After=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip -6 address replace $v6 dev $link nodad'

[Install]
WantedBy=multi-user.target
END
if ! cmp -s "$new" "$unit"; then
    install -m 644 "$new" "$unit"
    systemctl daemon-reload
    systemctl enable --quiet second-address
    systemctl restart second-address
fi
rm -f "$new"
