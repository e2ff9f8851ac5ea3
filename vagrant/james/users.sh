#!/bin/sh
# Makes James's domain and its one user, alice@example.net with the password `right`: its memory begins empty.
set -eu

admin=http://127.0.0.1:8000
until curl -sf -o /dev/null -X PUT "$admin/domains/example.net"; do
    sleep 1
done
curl -sf -X PUT -H 'Content-Type: application/json' -d '{"password": "right"}' "$admin/users/alice@example.net"
