#!/bin/sh
# Ask a question and fail unless the first hit's name is the expected one: ask.sh MMSEARCH QUESTION NAME
set -eu
echo "\$ mmsearch query \"$2\""
answer=$("$1" --library demo-library query "$2" -k 3)
echo "$answer"
first=$(echo "$answer" | head -n 1 | cut -f 3)
case $(basename "$first") in
"$3".*) ;;
*) echo "expected $3 first" >&2 && exit 1 ;;
esac
