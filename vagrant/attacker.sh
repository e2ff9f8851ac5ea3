#!/bin/sh
# Provisions the attacker: all that it needs is bash. Run it again whenever you like.
set -eu

checkout=${CHECKOUT:-/fwbouncer}
for home in /home/vagrant "$HOME"; do
    if [ -d "$home" ]; then
        install -m 755 "$checkout/vagrant/attack.sh" "$home/attack.sh"
    fi
done
echo 'the attacker is ready: ./attack.sh'
