#!/usr/bin/env bash
# Exports with Longjing and loads the result with the real readers. They are installed into their own folder, test/peers/.venv
# or the one that LONGJING_PEERS names; nothing of the machine is changed.
set -euo pipefail
shopt -s nullglob
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$(dirname "$here")")"
fixtures="${LONGJING_FIXTURES:-$root/test/golden}"
venv="${LONGJING_PEERS:-$here/.venv}"
if ! "$venv/bin/python" -c 'import peft, transformers' 2>/dev/null; then
  python3 -m venv "$venv"
  # A build without CUDA takes a tenth of the space, and is not on PyPI for every processor.
  "$venv/bin/pip" install --quiet --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/cpu torch || "$venv/bin/pip" install --quiet torch
  "$venv/bin/pip" install --quiet transformers peft
fi
node="$venv/node"
if [[ ! -d "$node/node_modules/@huggingface/transformers" ]]; then
  npm install --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel error @huggingface/transformers@4
fi
# llama.cpp as its makers of node-llama-cpp have built it for this machine's processor; the builds for graphics cards are left out.
llama="$venv/llama"
case "$(node -p 'process.platform + "-" + process.arch')" in
  darwin-arm64) build=mac-arm64-metal ;;
  darwin-x64) build=mac-x64 ;;
  win32-*) build="$(node -p '"win-" + process.arch')" ;;
  *) build="$(node -p 'process.platform + "-" + process.arch')" ;;
esac
if [[ ! -d "$llama/node_modules/@node-llama-cpp/$build" ]]; then
  npm install --prefix "$llama" --omit optional --ignore-scripts --no-audit --no-fund --loglevel error node-llama-cpp@3.21.1 "@node-llama-cpp/$build@3.21.1"
fi
longjing="$root/bin/longjing"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore
passed=0 failed=0

check() { # NAME COMMAND…
  if "${@:2}"; then passed=$((passed + 1)); else failed=$((failed + 1)) && echo "FAILED: $1"; fi
}

counted() { # NAME COMMAND…: adds the counts of the command's last line
  "${@:2}" 2>&1 | tee "$work/counted" || true
  if [[ "$(tail -n 1 "$work/counted")" =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
  else
    failed=$((failed + 1)) && echo "FAILED: $1"
  fi
}

probe() { # MODEL NAME: ids that any vocabulary of a fixture has
  echo '{"input_ids": [[5, 17, 3, 42, 9, 28, 61, 7], [11, 2, 80, 33, 4, 19, 6, 50]], "greedy_prompt_ids": [5, 17, 3], "greedy_tokens": 12}' >"$work/$2.in.json"
  "$longjing" probe "$1" --input "$work/$2.in.json" --output "$work/$2.out.json"
}

model() { # SOURCE NAME DTYPE
  "$longjing" export "$1" --to hf --dtype "$3" --out "$work/$2" >/dev/null && probe "$work/$2" "$2" &&
    "$venv/bin/python" "$here/transformers.py" "$work/$2" "$work/$2.in.json" "$work/$2.out.json"
}

# The adapter is merged into its base, extracted again from the difference, and given to PEFT with the base.
adapter() { # ADAPTER NAME BASE RANK
  "$longjing" export "$3" --to hf --adapter "$1" --out "$work/$2-merged" >/dev/null && probe "$work/$2-merged" "$2" &&
    "$venv/bin/python" "$here/transformers.py" "$3" "$work/$2.in.json" "$work/$2.out.json" "$1" &&
    "$longjing" export "$work/$2-merged" --to lora --base "$3" --rank "$4" --out "$work/$2-extracted" >/dev/null &&
    "$venv/bin/python" "$here/transformers.py" "$3" "$work/$2.in.json" "$work/$2.out.json" "$work/$2-extracted"
}

# What a run has trained, as its checkpoint and as it is exported, is given to PEFT with the base.
trained() { # RUN NAME BASE
  "$longjing" export "$1" --to hf --out "$work/$2-merged" >/dev/null && probe "$work/$2-merged" "$2" &&
    "$longjing" export "$1" --to lora --out "$work/$2-adapter" >/dev/null || return 1
  for adapter in "$work/$2-adapter" "$1"/checkpoints/grpo-step-*; do
    "$venv/bin/python" "$here/transformers.py" "$3" "$work/$2.in.json" "$work/$2.out.json" "$adapter" || return 1
  done
}

onnx() { # SOURCE NAME
  "$longjing" export "$1" --to onnx --out "$work/$2-onnx" >/dev/null && probe "$1" "$2" &&
    node "$here/transformers-js.mjs" "$node" "$work/$2-onnx" "$work/$2.in.json" "$work/$2.out.json"
}

for folder in "$fixtures"/models/*/; do
  name="$(basename "$folder")"
  check "$name" model "$folder" "$name" float32
  check "$name as ONNX" onnx "$folder" "$name"
done
first="$(find "$fixtures/models" -mindepth 1 -maxdepth 1 -type d | sort | sed -n '$p')"
for dtype in bfloat16 float16; do check "$dtype" model "$first" "$(basename "$first")-$dtype" "$dtype"; done
for folder in "$fixtures"/lora/*/; do
  name="$(basename "$folder")"
  base="$folder$(sed -n 's/.*"base": *"\([^"]*\)".*/\1/p' "$folder/expected.json" | head -n 1)"
  rank="$(sed -n 's/^ *"r": *\([0-9]*\).*/\1/p' "$folder/adapter_config.json")"
  check "$name" adapter "$folder" "$name" "$base" "$rank"
done
"$longjing" train "$root/test/tiny-recipe.ts" --out "$work/run" --json >/dev/null
check "a run" model "$work/run" from-run float32
"$longjing" train "$root/test/tiny-lora-recipe.ts" --base "$work/from-run" --out "$work/lora-run" --json >/dev/null
check "a run that trains an adapter" trained "$work/lora-run" lora-run "$work/from-run"
counted "llama.cpp" "$root/node_modules/.bin/tsx" --conditions source "$here/llama-cpp.ts" "$llama" \
  "$fixtures"/models/*/ "$fixtures"/gguf/*_K_*.gguf "$root"/models/*/ "$work/run"

# vLLM is 9 GB, too much for every run: LONGJING_VLLM names a virtual environment that has it.
if [[ -n "${LONGJING_VLLM:-}" ]]; then
  folders=()
  for folder in "$fixtures"/models/*/; do folders+=("$work/$(basename "$folder")"); done
  check "vLLM" "$LONGJING_VLLM/bin/python" "$here/vllm.py" "${folders[@]}"
fi

echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
