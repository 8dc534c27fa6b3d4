#!/usr/bin/env bash
# Pushes events and documents to invoice-router. Needs bash 4.4, curl, openssl and the coreutils.
#
#   client.sh URL SECRET_FILE event FILE              an event, as JSON
#   client.sh URL SECRET_FILE document FILE           a document, before the invoice that names its digest
#   client.sh URL SECRET_FILE invoice FILE DOCUMENT…  an invoice's documents, then its event
#
# Standard output has the last answer to each request as it came, standard error what it means. Exit code:
# 0 accepted · 1 refused, and the same again would be · 2 usage · 3 gave up: run it again later.
#
# What trips people up before there is a FILE:
# - Take the account's next version and read its data under one row lock, and write the event into an outbox in
#   the same transaction (README.md, beside the events). Otherwise a change overtakes another, or is never told.
# - Where there is no counter, the version is the larger of last + 1 and $(date +%s%3N), kept with the account:
#   it must rise even if the clock is put back. The small events need versions without gaps, so send
#   account.updated only.
# - Ids and numbers are strings, and so are amounts ("119.00"): 0042 loses its zeros as a number.
# - The event's own time-stamp says when the change was made, with its offset: date -u +%Y-%m-%dT%H:%M:%SZ.
set -uo pipefail

readonly ACCEPTED=0 REFUSED=1 USAGE=2 GAVE_UP=3
readonly ATTEMPTS=5
# Doubles with each attempt.
readonly FIRST_DELAY_SECONDS=1
# Whoever asks for more is asked again by the next run.
readonly LONGEST_DELAY_SECONDS=300
readonly CONNECT_SECONDS=10
# The daemon gives a body 70 s.
readonly TIME_OUT_SECONDS=75

declare -A MEANINGS=(
    [applied]='it is in force'
    [stored]='the document is there for the invoice that names it'
    [duplicate]='it was known already, and nothing happened twice'
    [stale]='nothing changed: a newer version is stored, or the invoice was withdrawn before it was issued'
    [parked]='it is kept until its account comes; there is no need to send it again'
)

# push FILE [ID]: an event. The file was written once: its bytes are signed, and its bytes are sent.
push() {
    local digest id
    digest=$(digest_of "$1")
    # The id belongs to the event, not to the attempt: it is how a repetition is known. An outbox has it in the
    # event's row; the digest does as well, since the same bytes get the same id in each run.
    id=${2:-evt_${digest:0:32}}
    send "$id" "$1" /v1/events -H 'content-type: application/json' --data-binary "@$1"
}

# upload FILE: a document. Render it once and keep its bytes: a PDF that is rendered again has another digest,
# which makes it another document and the event another invoice (409 invoice_conflict).
upload() {
    local digest
    digest=$(digest_of "$1")
    # What is signed are the 64 digits: the libraries cannot sign bytes that are no text.
    printf %s "$digest" >"$scratch/digits"
    send "doc_${digest:0:32}" "$scratch/digits" "/v1/documents/$digest" \
        -H 'content-type: application/octet-stream' --upload-file "$1"
}

# hand_over FILE DOCUMENT…: an invoice: its documents, then the event that names their digests.
hand_over() {
    local event=$1 document
    shift
    for document; do
        upload "$document" || return
    done
    documents=("$@")
    push "$event"
}

# send ID SIGNED_FILE PATH CURL_OPTION…: until it is accepted, refused or given up. curl's own --retry will not do:
# it sends the first time-stamp again, and does not know of 409.
send() {
    local id=$1 signed=$2 path=$3 attempt status answer after delay document outcome=$GAVE_UP
    shift 3
    for ((attempt = 1; ; attempt++)); do
        # Of this attempt, unlike the id and the body: five minutes off is refused.
        signed_headers "$id" "$signed" >"$scratch/request"
        # Without -q a .curlrc could have it follow redirects.
        if status=$(curl -q --globoff --silent --show-error --connect-timeout "$CONNECT_SECONDS" \
            --max-time "$TIME_OUT_SECONDS" --header "@$scratch/request" --dump-header "$scratch/head" \
            --output "$scratch/answer" --write-out '%{http_code}' "$@" "$url$path" 2>"$scratch/error"); then
            answer=$(tr -d '\0' <"$scratch/answer")
            after=$(sed -n 's/^retry-after: *\([0-9]\{1,9\}\)[[:space:]]*$/\1/Ip' "$scratch/head")
            if [[ $status = 2* && $(member result) =~ ^(applied|stored|duplicate|stale|parked)$ ]]; then
                explain
                outcome=$ACCEPTED
                break
            fi
            say "attempt $attempt: $status"
            explain_problem
            if ! may_retry "$status"; then
                outcome=$REFUSED
                break
            fi
        else
            # It may have arrived all the same. Under the same id it is safe to ask again.
            say "attempt $attempt: $(<"$scratch/error")"
            answer='' after=''
        fi
        if ((attempt == ATTEMPTS || 10#0$after > LONGEST_DELAY_SECONDS)); then
            say 'gave up; run this again later'
            break
        fi
        if [[ $(member code) = document_missing ]]; then
            for document in "${documents[@]}"; do
                upload "$document"
            done
        fi
        # Not all at once, after a fault that all met at once.
        delay=$((FIRST_DELAY_SECONDS * 2 ** (attempt - 1) * (500 + RANDOM % 500)))
        sleep "$((10#0$after + delay / 1000)).$(printf %03d $((delay % 1000)))"
    done
    [[ -z $answer ]] || printf '%s\n' "$answer"
    return "$outcome"
}

# read_secrets FILE: the secrets, one a line. Two, while the old one is being replaced: a signature by each is
# sent, and the daemon takes whichever it knows.
read_secrets() {
    local line
    while read -r line || [[ -n $line ]]; do
        case $line in
            '' | '#'*) ;;
            *) hexadecimal_key "$line" >/dev/null || return; secrets+=("$line") ;;
        esac
    done <"$1" && ((${#secrets[@]} > 0))
}

# signed_headers ID FILE
signed_headers() {
    local timestamp secret signatures=()
    # Seconds since 1970, which are UTC whatever TZ says. A clock that is set by NTP is needed all the same.
    timestamp=$(date +%s)
    for secret in "${secrets[@]}"; do
        signatures+=("$(signature "$secret" "$1" "$timestamp" <"$2")")
    done
    printf 'webhook-id: %s\nwebhook-timestamp: %s\nwebhook-signature: %s\n' "$1" "$timestamp" "${signatures[*]}"
}

# signature SECRET ID TIMESTAMP: of standard input, by Standard Webhooks 1.0.
signature() {
    { printf '%s.%s.' "$2" "$3" && cat; } | hmac "$(hexadecimal_key "$1")" | printf 'v1,%s\n' "$(openssl base64 -A)"
}

# hexadecimal_key SECRET: the key is what the base64 behind whsec_ stands for, not its text.
hexadecimal_key() {
    [[ $1 =~ ^whsec_[A-Za-z0-9+/]+={0,2}$ ]] || return
    printf %s "${1#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n'
}

# hmac KEY: HMAC-SHA256 (RFC 2104) of standard input, by a key of at most 64 bytes in hexadecimal digits. `openssl
# dgst -mac HMAC -macopt hexkey:…` would do it too, but shows the key to everybody who may list the processes.
hmac() {
    local key=$1 inner='' outer='' at
    for ((at = 0; at < 128; at += 2)); do
        printf -v inner '%s\\x%02x' "$inner" $((0x0${key:at:2} ^ 0x36))
        printf -v outer '%s\\x%02x' "$outer" $((0x0${key:at:2} ^ 0x5c))
    done
    { printf %b "$outer" && { printf %b "$inner" && cat; } | openssl dgst -sha256 -binary; } |
        openssl dgst -sha256 -binary
}

digest_of() {
    sha256sum <"$1" | cut -d ' ' -f 1
}

# may_retry STATUS: whether the same request can succeed later. No other 4xx ever does: somebody has to look.
may_retry() {
    [[ $1 = 408 || $1 = 429 || $1 = 5* || $answer =~ \"retryable\":\ *true ]]
}

# member NAME: a string of the answer. What looks like a member inside a text has backslashes before its quotation
# marks, so that this does not find it.
member() {
    [[ $answer =~ \"$1\":\ *\"([A-Za-z0-9_]*)\" ]] && printf %s "${BASH_REMATCH[1]}"
}

explain() {
    say "$(member result): ${MEANINGS[$(member result)]}"
    # Warnings, and in_flight: mails that were on their way to the recipient of before.
    [[ ! $answer =~ \"(warnings|in_flight)\":\ *\[[^]] && $(member state) != sending ]] || say "look at: $answer"
}

explain_problem() {
    # The places that are wrong stand in `errors`; the daemon's log has more under the request_id.
    say "  $answer"
    case $(member code) in
        version_gap)
            [[ $answer =~ \"current_version\":\ *([0-9]+) ]]
            say "  send the account's events after version ${BASH_REMATCH[1]:-} first, or its account.updated"
            ;;
        document_missing) say '  upload first what is missing' ;;
    esac
}

say() {
    printf '%s\n' "$*" >&2
}

usage() {
    say "$1"
    exit "$USAGE"
}

main() {
    local secret_file command document digest
    if (($# < 4)) || [[ ! $3 =~ ^(event|document|invoice)$ ]] || { (($# > 4)) && [[ $3 != invoice ]]; }; then
        for command in 'event FILE' 'document FILE' 'invoice FILE DOCUMENT…'; do
            say "client.sh URL SECRET_FILE $command"
        done
        exit "$USAGE"
    fi
    url=${1%/} secret_file=$2 command=$3
    shift 3
    [[ $url =~ ^https?://[^/] ]] || usage "$url is no http or https URL"
    { [[ -r $secret_file ]] && read_secrets "$secret_file"; } || usage "$secret_file holds no secret, or a wrong line"
    for document; do
        [[ -f $document && -r $document ]] || usage "cannot read $document"
    done
    scratch=$(mktemp -d) || exit "$USAGE"
    trap 'rm -rf "$scratch"' EXIT
    case $command in
        event) push "$1" ;;
        document) upload "$1" ;;
        invoice)
            for document in "${@:2}"; do
                digest=$(digest_of "$document")
                grep -q "$digest" -- "$1" || usage "$1 does not name the digest of $document: was it rendered again?"
            done
            hand_over "$@"
            ;;
    esac
}

url='' scratch='' secrets=() documents=()
# Not where another file sources this one.
if [[ ${BASH_SOURCE[0]} = "$0" ]]; then
    main "$@"
fi
