#!/usr/bin/env bash
# From a fresh checkout to answers: installs, builds, serves the demo model, streams a completion,
# scores the candidate answers of a question, and shows the metrics. --keep leaves the server
# running. Exit code: 0 when all of that worked, 1 otherwise, 2 for a wrong option.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage="usage: deploy/quickstart.sh [--keep]"
keep=false
case "${1-}" in
  "") ;;
  --keep) keep=true ;;
  -h | --help) echo "$usage"; exit 0 ;;
  *) echo "$usage" >&2; exit 2 ;;
esac

model=models/demo/ddl_cc_ec
prompts=models/demo/prompts.json
deltaserve=build/release/server/deltaserve
deltactl=build/release/client/cli/deltactl
out=build/quickstart.out  # where the server says its addresses
log=build/quickstart.log

step() { printf '\n== %s\n' "$*"; }

# Shows a command as one would type it, then runs it. Notes such as the usage join the output.
try() {
  local word
  printf '\n$'
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=-]*) printf " '%s'" "${word//\'/\'\\\'\'}" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$@" 2>&1
}

server=
on_exit() {
  local status=$?
  if [ "$status" -ne 0 ]; then
    echo "quickstart.sh: failed; the server's log is $log" >&2
    [ ! -s "$log" ] || tail -n 5 "$log" >&2
  fi
  if [ -n "$server" ] && kill -0 "$server" 2>/dev/null; then
    kill -TERM "$server"
    wait "$server" || true
  fi
}

step "Packages"
deploy/install_packages.sh

step "Build"
cmake --preset release
cmake --build --preset release --parallel "$(nproc)" --target deltaserve deltactl

step "Server"
trap on_exit EXIT
: >"$out"
# A session of its own, so that --keep outlives this terminal.
setsid "$deltaserve" --model "demo=$model" --listen 127.0.0.1:0 --metrics 127.0.0.1:0 \
  >"$out" 2>"$log" </dev/null &
server=$!
for ((waited = 0; ; ++waited)); do
  address=$(sed -n 's/^listening on //p' "$out")
  [ -z "$address" ] || break
  kill -0 "$server" 2>/dev/null || { echo "The server has ended." >&2; exit 1; }
  [ "$waited" -lt 300 ] || { echo "The server is not ready after 30 seconds." >&2; exit 1; }
  sleep 0.1
done
metrics=$(sed -n 's/^metrics on //p' "$out")
cat "$out"
try "$deltactl" models --address "$address"

# A text of the demo's prompts, or a list of them, one a line.
texts() {
  python3 - "$prompts" "$1" <<'PYTHON'
import json, sys
value = json.load(open(sys.argv[1], encoding="utf-8"))[sys.argv[2]]
print(*([value] if isinstance(value, str) else value), sep="\n")
PYTHON
}
story=$(texts story)
question=$(texts question)
continuations=()
while read -r answer; do
  continuations+=(--continuation " $answer.")
done < <(texts answers)

step "Generate: a story, as it is written"
try "$deltactl" generate --address "$address" --temperature 0.5 --seed 7 --max-tokens 64 \
  "$story"

step "Generate: a fact that was overwritten, with the log-probabilities of the two likeliest tokens"
try "$deltactl" generate --address "$address" --temperature 0 --logprobs 2 --max-tokens 4 \
  --stop . --include-stop "$question"

step "Score: the candidates"
try "$deltactl" score --address "$address" "${continuations[@]}" "$question"

step "Metrics: $metrics"
curl --silent --show-error --fail --noproxy '*' "$metrics" |
  grep -E '^deltaserve_(requests|prompt_tokens|generated_tokens|scored_tokens)_total'

if $keep; then
  step "The server goes on (log: $log). To stop it: kill $server"
  server=
else
  step "Stopping the server"
  kill -TERM "$server"
  stopped=0
  wait "$server" || stopped=$?
  server=
  [ "$stopped" -eq 0 ] || { echo "The server ended with exit code $stopped." >&2; exit 1; }
  echo "All of it worked."
fi
