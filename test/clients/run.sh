#!/usr/bin/env bash
# Asks a server through the clients that people use, and loads it with GuideLLM. The clients are installed into folders of their
# own, test/clients/node_modules (or the folder that LONGJING_CLIENTS names) and the Python of test/peers; nothing of the machine
# is changed. The JavaScript clients want Node 22 or newer: Node 24 comes from npm. The last line is `N passed, N failed`.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$(dirname "$here")")"
clients="${LONGJING_CLIENTS:-$here}"
mkdir -p "$clients"
work="$(mktemp -d)"
servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

platform="$(node -p '`${process.platform}-${process.arch}`')"
node24="$clients/node_modules/node-$platform/bin/node"
if [[ ! -d "$clients/node_modules/openai" || ! -x "$node24" ]]; then
  [[ "$clients" == "$here" ]] || cp "$here/package.json" "$clients/"
  npm install --prefix "$clients" --no-package-lock --no-save --no-audit --no-fund --loglevel error "node-$platform@24" </dev/null
fi
# Node looks for packages beside the file that imports them.
[[ "$clients" == "$here" ]] || cp "$here/clients.test.mjs" "$clients/"
venv="${LONGJING_PEERS:-$root/test/peers/.venv}"
python="$venv/bin/python"
if ! "$python" -c 'import openai, lm_eval, guidellm' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet openai 'lm-eval[api]' guidellm
fi

# url FILE: waits for the first URL that a server has written there
url() {
  for _ in $(seq 300); do
    if grep -om1 'http://[0-9.:]*' "$1"; then return; fi
    sleep 0.2
  done
  cat "$1" >&2
  return 1
}

cd "$root"
node --import tsx --conditions source test/clients/serve.ts >"$work/fake" 2>&1 &
servers+=($!)
model=countdown-zero
bin/longjing serve "models/$model" --port 0 --json --no-log >"$work/shipped" 2>&1 &
servers+=($!)
passed=0 failed=0

LONGJING_URL="$(url "$work/fake")" LONGJING_SHIPPED_URL="$(url "$work/shipped")"
export LONGJING_URL LONGJING_SHIPPED_URL LONGJING_SHIPPED_MODEL="$model" LONGJING_SHIPPED_FOLDER="$root/models/$model"
"$node24" --test --test-reporter=tap "$clients/clients.test.mjs" >"$work/javascript" || grep -A30 'not ok' "$work/javascript" || true
passed=$((passed + $(sed -n 's/^# pass //p' "$work/javascript"))) failed=$((failed + $(sed -n 's/^# fail //p' "$work/javascript")))

"$python" "$here/clients.py" | tee "$work/python" || true
[[ "$(tail -n 1 "$work/python")" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]
passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))

# Every request is answered, with as many tokens as were asked for.
loaded() {
  HF_HUB_OFFLINE=1 "$venv/bin/guidellm" run --disable-progress --disable-console \
    --backend "kind=openai_http,target=$(url "$work/shipped"),model=$model" \
    --profile kind=concurrent,streams=4 --constraint kind=max_requests,count=16 \
    --tokenizer "kind=huggingface_auto,model=$root/models/$model" \
    --data kind=synthetic_text,prompt_tokens=32,output_tokens=24 --output "kind=json,path=$work/load.json" >"$work/guidellm" 2>&1 || { cat "$work/guidellm"; return 1; }
  "$python" - "$work/load.json" <<'PYTHON'
import json, sys
[benchmark] = json.load(open(sys.argv[1]))["benchmarks"]
totals = benchmark["metrics"]["request_totals"]
tokens = benchmark["metrics"]["output_token_count"]["successful"]
assert totals["errored"] == 0 and totals["successful"] >= 16, totals
assert tokens["min"] == tokens["max"] == 24, tokens
PYTHON
}
if loaded; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED: GuideLLM"; fi

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
