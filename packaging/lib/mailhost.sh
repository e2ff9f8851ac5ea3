# shellcheck shell=sh disable=SC2154 # work, packages and the host names are the demonstration's
# The programs of the demonstration's mail host: the real CrowdSec LAPI and the real Postfix, laid out below
# $packages and configured below $work. Neither is installed, and neither finds a file of the machine's own.

# write_lapi_files: what CrowdSec reads. It is the LAPI alone, knows no central server, and listens on loopback.
write_lapi_files() {
    mkdir -p "$work/lapi/data" "$work/lapi/hub" "$work/lapi/none"
    cat >"$work/lapi/config.yaml" <<END
common: {daemonize: false, log_media: stdout, log_level: warning, working_dir: "$work/lapi"}
config_paths:
  config_dir: $work/lapi
  data_dir: $work/lapi/data
  simulation_path: $work/lapi/simulation.yaml
  hub_dir: $work/lapi/hub
  index_path: $work/lapi/hub/.index.json
  notification_dir: $work/lapi/none
  plugin_dir: $work/lapi/none
crowdsec_service: {parser_routines: 1}
cscli: {output: human}
db_config: {type: sqlite, db_path: "$work/lapi/data/crowdsec.db", log_level: warning, use_wal: true}
api:
  client: {credentials_path: "$work/lapi/credentials.yaml"}
  server:
    log_level: warning
    listen_uri: 127.0.0.1:8080
    profiles_path: $work/lapi/profiles.yaml
    console_path: $work/lapi/console.yaml
prometheus: {enabled: false}
END
    echo 'simulation: false' >"$work/lapi/simulation.yaml"
    echo '{}' >"$work/lapi/hub/.index.json"
    : >"$work/lapi/console.yaml"
    cat >"$work/lapi/profiles.yaml" <<'END'
name: none
filters: ["false"]
decisions: [{type: ban, duration: 4h}]
on_success: break
END
}

# crowdsec_program NAME ARGUMENT...: runs one of CrowdSec's programs on the mail host.
crowdsec_program() {
    program=$1
    shift
    [ -x "$packages/usr/bin/$program" ] && program=$packages/usr/bin/$program
    ip netns exec "$mail" env LD_LIBRARY_PATH="$(echo "$packages"/usr/lib/*-linux-gnu | tr ' ' :)" \
        "$program" -c "$work/lapi/config.yaml" "$@"
}

start_lapi() {
    write_lapi_files
    quietly crowdsec_program cscli machines add demo -p "$key" -f "$work/lapi/credentials.yaml" ||
        die "cscli could not set up the LAPI"
    quietly crowdsec_program cscli bouncers add demo -k "$key" || die "cscli could not add the bouncer's key"
    crowdsec_program crowdsec -no-cs -no-capi >"$work/lapi.log" 2>&1 &
    wait_for "the LAPI" "$work/lapi.log" crowdsec_program cscli decisions list
}

# write_postfix_files: a mail host that accepts for example.net and, so that nothing here ever waits for a name
# server, asks for no names.
write_postfix_files() {
    mkdir -p "$work/postfix" "$work/spool" "$work/postfix-data" "$work/etc"
    # The users that Postfix needs, beside the machine's own; seen by Postfix alone.
    cp /etc/passwd /etc/group "$work/etc/"
    grep -q '^postfix:' "$work/etc/passwd" ||
        echo 'postfix:x:64025:64025::/nonexistent:/usr/sbin/nologin' >>"$work/etc/passwd"
    grep -q '^postfix:' "$work/etc/group" || echo 'postfix:x:64025:' >>"$work/etc/group"
    grep -q '^postdrop:' "$work/etc/group" || echo 'postdrop:x:64026:' >>"$work/etc/group"
    chown "$(awk -F: '$1 == "postfix" { print $3 }' "$work/etc/passwd")" "$work/postfix-data"
    cat >"$work/postfix/main.cf" <<END
compatibility_level = 3.6
queue_directory = $work/spool
data_directory = $work/postfix-data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
myhostname = mail.example.net
mydestination = example.net
mynetworks = 127.0.0.0/8
inet_interfaces = all
inet_protocols = all
local_recipient_maps =
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_junk_command_limit = 100000
maillog_file = $work/mail.log
maillog_file_prefixes = $work
END
    cp "$packages/usr/share/postfix/dynamicmaps.cf" "$work/postfix/" 2>/dev/null || : >"$work/postfix/dynamicmaps.cf"
    cat >"$work/postfix/master.cf" <<'END'
smtp       inet       n - n -     -   smtpd
submission inet       n - n -     -   smtpd
pickup     unix       n - n 60    1   pickup
cleanup    unix       n - n -     0   cleanup
qmgr       unix       n - n 300   1   qmgr
tlsmgr     unix       - - n 1000? 1   tlsmgr
rewrite    unix       - - n -     -   trivial-rewrite
bounce     unix       - - n -     0   bounce
defer      unix       - - n -     0   bounce
trace      unix       - - n -     0   bounce
verify     unix       - - n -     1   verify
flush      unix       n - n 1000? 0   flush
proxymap   unix       - - n -     -   proxymap
local      unix       - n n -     -   local
anvil      unix       - - n -     1   anvil
postlog    unix-dgram n - n -     1   postlogd
END
}

# Postfix finds its programs and users at their usual places through a view of /usr and /etc that only it has;
# its own process tree ends with its first process.
start_postfix() {
    write_postfix_files
    mkdir -p "$packages/etc" "$packages/usr"
    cat >"$work/postfix.sh" <<END
set -e
mount -t overlay overlay -o lowerdir=$work/etc:$packages/etc:/etc /etc
mount -t overlay overlay -o lowerdir=$packages/usr:/usr /usr
exec /usr/sbin/postfix -c $work/postfix start-fg
END
    ip netns exec "$mail" unshare --mount --pid --fork --kill-child --mount-proc \
        sh "$work/postfix.sh" >"$work/postfix.log" 2>&1 &
    wait_for "Postfix" "$work/postfix.log" served "$honest" 203.0.113.10 192.0.2.25 25
}
