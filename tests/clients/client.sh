#!/usr/bin/env bash
# curl as a client of the proxy.
#
#   client.sh HOW URL FILE TIMES [NAME:VALUE]...
#
# Prints one line of JSON per answer. Knows nothing of what is expected.
set -euo pipefail

how=$1 url=$2 file=$3 times=$4
shift 4

answers=$(mktemp -d)
trap 'rm -r "$answers"' EXIT

# First and alone: a `.curlrc` could say anything.
arguments=(-q --silent --show-error --noproxy '*' --max-time 30)
typed=no
for header in "$@"; do
    arguments+=(--header "$header")
    [[ ${header,,} == content-type:* ]] && typed=yes
done
case $how in
bytes)
    arguments+=(--data-binary "@$file")
    # An empty value takes away the one that curl would set.
    [[ $typed == yes ]] || arguments+=(--header 'Content-Type:')
    ;;
text) arguments+=(-d "$(<"$file")") ;;
remedied) arguments+=(--json "$(<"$file")") ;;
upload) arguments+=(-F "file=@$file") ;;
*)
    echo "curl has no way to send $how" >&2
    exit 64
    ;;
esac
# All URLs in one process: it keeps the connection between them.
for ((call = 0; call < times; call++)); do
    arguments+=(--output "$answers/$call" "$url")
done

head='"status": %{http_code}'
head+=', "content_type": "%header{content-type}"'
head+=', "request_id": "%header{x-request-id}"'
head+=', "proxy_status": "%header{proxy-status}"'
heads=$(curl "${arguments[@]}" --write-out "$head\n")
mapfile -t heads <<<"$heads"
for ((call = 0; call < times; call++)); do
    printf '{%s, "body": "%s"}\n' "${heads[call]}" "$(base64 -w0 "$answers/$call")"
done
