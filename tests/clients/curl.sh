#!/usr/bin/env bash
# Follows a stream with `curl -N`, and prints what it saw, a JSON object a line (recorder.mjs).
#
#   bash curl.sh --url URL
#
# curl shows one answer and ends: its own --retry would begin anew, without the last id. So this is the loop around it,
# which comes back with the last id after as long as the server asked for, and ends with 204 or at a terminal status.
set -u

last_id=
retry=3000
while true; do
    event=message data='' id=$last_id
    while IFS= read -r line; do
        case $line in
            'event: '*) event=${line#event: } ;;
            'data: '*) data=${line#data: } ;;
            'retry: '*) retry=${line#retry: } ;;
            'id: '*) id=${line#id: } ;;
            '')
                last_id=$id
                printf '{"type":"%s","data":%s,"id":"%s"}\n' "$event" "$data" "$last_id"
                if [ "$event" = status ] && [[ $data =~ ^'{'.*'"status":"'(completed|failed|cancelled)'"' ]]; then
                    echo '{"type":"closed"}'
                    exit
                fi
                event=message data=
                ;;
            ': answered 204')
                echo '{"type":"error","source":"client","status":204,"readyState":2}'
                echo '{"type":"closed"}'
                exit
                ;;
        esac
        # The last line is none of the stream: written like a comment, it ends no block that was cut off.
    done < <(curl --silent --no-buffer ${last_id:+--header "Last-Event-ID: $last_id"} --write-out ': answered %{http_code}\n' "$@")
    echo '{"type":"error","source":"client","readyState":0}'
    sleep "$(printf '%d.%03d' $((retry / 1000)) $((retry % 1000)))"
done
