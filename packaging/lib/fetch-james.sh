#!/bin/sh
# Fetches Apache James from Maven Central into .cache/james, for tests against the real one, and prints the folder of
# its jars. Maven checks each file against its published checksum. What is there already is left.
set -eu

checkout=$(cd "$(dirname "$0")/../.." && pwd)
. "$checkout/packaging/lib/common.sh"

pom=$checkout/tests/james/pom.xml
james=$checkout/.cache/james
# Maven's own store is needed until all is there; then it would only double the size.
store=$james/repository

fetch() {
    command -v mvn >/dev/null || apt_need maven
    say "fetching Apache James from Maven Central into .cache; this takes a minute or two"
    rm -rf "$james/jars" "$james/complete"
    mkdir -p "$james"
    quietly env MAVEN_OPTS=-XX:-UsePerfData timeout 900 mvn --batch-mode --no-transfer-progress --strict-checksums \
        --file "$pom" -Dmaven.repo.local="$store" -Dmaven.wagon.http.retryHandler.count=3 \
        dependency:copy-dependencies -DoutputDirectory="$james/jars" ||
        die "Maven could not fetch James; what it has so far is kept in $store"
    rm -rf "$store"
    sha256sum <"$pom" >"$james/complete"
}

need_debian
# Whatever Java is there has to run Maven, James and keytool.
if ! command -v java >/dev/null || ! command -v keytool >/dev/null; then
    apt_need default-jre-headless >&2
fi
[ "$(cat "$james/complete" 2>/dev/null)" = "$(sha256sum <"$pom")" ] || fetch >&2
echo "$james/jars"
