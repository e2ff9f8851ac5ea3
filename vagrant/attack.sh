#!/usr/bin/env bash
# attack.sh [ADDRESS...]: guesses passwords at the mail host until nobody answers any more, over SMTP at each address.
# Unless told otherwise it goes to the mail host's IPv4 and IPv6 address. Ends with 0 if it was cut off at each.
set -u

targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(203.0.113.25 2001:db8:113::25)
port=25 patience=5 most=40

# hear: the server's answer, which is its last line; fails if none comes.
hear() {
    local line
    while IFS= read -r -t "$patience" line <&3; do
        line=${line%$'\r'}
        case $line in
        [0-9][0-9][0-9]-*) ;;
        *)
            answer=$line
            return 0
            ;;
        esac
    done
    return 1
}

# say WORDS: what the server answers to that.
say() {
    printf '%s\r\n' "$1" >&3 2>/dev/null && hear
}

# connect ADDRESS: within a few seconds, or not at all. A packet that is dropped is answered by nobody.
connect() {
    timeout "$patience" bash -c ": <>/dev/tcp/$1/$port" 2>/dev/null || return 1
    exec 3<>"/dev/tcp/$1/$port" && hear && say 'EHLO attacker.example.org'
}

guess() {
    local password=secret$1
    say "AUTH PLAIN $(printf '\0alice@example.net\0%s' "$password" | base64 -w 0)"
}

# attack ADDRESS: 0 when it was cut off.
attack() {
    local number begun=$SECONDS open=no
    printf '\n%s, port %s\n' "$1" "$port"
    for ((number = 1; number <= most; number++)); do
        if [ $open = no ]; then
            if ! connect "$1" 2>/dev/null; then
                printf '  guess %2d: no connection within %s s: cut off, after %s s\n' "$number" "$patience" "$((SECONDS - begun))"
                return 0
            fi
            open=yes
        fi
        if guess "$number"; then
            printf '  guess %2d: %s\n' "$number" "$answer"
        else
            printf '  guess %2d: no answer\n' "$number"
            exec 3>&-
            open=no
        fi
        sleep 0.5
    done
    exec 3>&-
    echo "  $most guesses, and still answered"
    return 1
}

code=0
for target in "${targets[@]}"; do
    attack "$target" || code=1
done
exit "$code"
