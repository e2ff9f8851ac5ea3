#!/bin/sh
# Provisions the mail host: Apache James, CrowdSec with the collection for James, and fwbouncer from its package. Run it
# again whenever you like: it changes what differs, and restarts what was changed. CHECKOUT is where fwbouncer's sources
# are; a package in its dist is taken, and built if there is none.
set -eu

checkout=${CHECKOUT:-/fwbouncer}
here=$checkout/vagrant
# shellcheck source=packaging/lib/common.sh
. "$checkout/packaging/lib/common.sh"

# put MODE SOURCE TARGET: succeeds if the target was changed.
put() {
    if cmp -s "$2" "$3" && [ "$(stat -c %a "$3")" = "$1" ]; then
        return 1
    fi
    install -D -m "$1" "$2" "$3"
}

# ---- CrowdSec -----------------------------------------------------------------------------------------------------

# What happens here is a play, and none of the business of others: CrowdSec's central server hears nothing of it. The
# package asks for the file, not for credentials in it.
keep_to_ourselves() {
    if [ ! -e /etc/crowdsec/online_api_credentials.yaml ]; then
        mkdir -p /etc/crowdsec
        echo '# Disabled' >/etc/crowdsec/online_api_credentials.yaml
    fi
}

provide_crowdsec() {
    keep_to_ourselves
    apt_need crowdsec nftables
    changed=no
    for folder in parsers scenarios collections; do
        for file in $(cd "$checkout/packaging/crowdsec/$folder" && find . -type f); do
            ! put 644 "$checkout/packaging/crowdsec/$folder/$file" "/etc/crowdsec/$folder/$file" || changed=yes
        done
    done
    ! put 644 "$checkout/packaging/crowdsec/acquis.d/james.yaml" /etc/crowdsec/acquis.d/james.yaml || changed=yes
    if [ $changed = yes ] || ! systemctl is-active --quiet crowdsec; then
        systemctl restart crowdsec
    fi
}

# ---- James --------------------------------------------------------------------------------------------------------

provide_james() {
    apt_need default-jre-headless curl
    jars=$("$checkout/packaging/lib/fetch-james.sh" | tail -n 1)
    id james >/dev/null 2>&1 || useradd --system --home-dir /opt/james --shell /usr/sbin/nologin james
    changed=no
    mkdir -p /opt/james/jars /opt/james/conf
    for jar in "$jars"/*.jar; do
        ! put 644 "$jar" "/opt/james/jars/${jar##*/}" || changed=yes
    done
    for file in "$here"/james/conf/*; do
        ! put 644 "$file" "/opt/james/conf/${file##*/}" || changed=yes
    done
    ! put 644 "$checkout/packaging/crowdsec/james/logback-3.8.xml" /opt/james/conf/logback.xml || changed=yes
    ! put 755 "$here/james/users.sh" /opt/james/users.sh || changed=yes
    if [ ! -e /opt/james/conf/keystore ]; then
        keytool -genkeypair -alias james -keyalg RSA -storetype PKCS12 -dname CN=mail.example.net \
            -keystore /opt/james/conf/keystore -storepass secret 2>/dev/null
        chown james /opt/james/conf/keystore
        changed=yes
    fi
    chown james /opt/james
    ! put 644 "$here/james/james.service" /etc/systemd/system/james.service || changed=yes
    systemctl daemon-reload
    systemctl enable --quiet james
    if [ $changed = yes ] || ! systemctl is-active --quiet james; then
        say "starting James, which takes a while"
        systemctl restart james
    fi
}

# ---- fwbouncer ----------------------------------------------------------------------------------------------------

provide_fwbouncer() {
    package=$(find "$checkout/dist" -name 'fwbouncer_*_all.deb' 2>/dev/null | sort -V | tail -n 1)
    if [ -z "$package" ]; then
        "$checkout/packaging/lib/make-deb.sh"
        package=$(find "$checkout/dist" -name 'fwbouncer_*_all.deb' | sort -V | tail -n 1)
    fi
    # A build of the same version may still be another one.
    sum=$(sha256sum <"$package")
    if ! installed fwbouncer || [ "$(cat /var/local/fwbouncer.sum 2>/dev/null)" != "$sum" ]; then
        say "installing $package"
        DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --reinstall --no-install-recommends "$package" ||
            die "apt-get could not install $package"
        echo "$sum" >/var/local/fwbouncer.sum
    fi
    # Who watches doesn't want to wait ten seconds.
    if [ ! -e /etc/fwbouncer/fwbouncer.yaml.local ]; then
        echo 'update_frequency: 1s' >/etc/fwbouncer/fwbouncer.yaml.local
        chgrp fwbouncer /etc/fwbouncer/fwbouncer.yaml.local
        systemctl restart fwbouncer
    fi
    systemctl is-active --quiet fwbouncer || die "fwbouncer does not run: systemctl status fwbouncer"
}

need_root
need_debian
# CrowdSec follows James's log from when it is there.
provide_james
provide_crowdsec
provide_fwbouncer
fwbouncer status
