"""Loads what `longjing export` wrote with transformers and PEFT, and compares them with what `longjing probe` says of it.

usage: transformers.py FOLDER PROBE_INPUT PROBE_OUTPUT [ADAPTER]
With ADAPTER, FOLDER is its base and the probe is of the merged model.
"""

import json
import sys
from pathlib import Path

# This file has the name of the package that it tests.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig  # noqa: E402

# The bars of the golden fixtures: logits 1e-4, log-probabilities 5e-5, through an adapter 2e-4; greedy ids exact.
LOGITS, LOGITS_ADAPTER, LOGPROBS = 1e-4, 2e-4, 5e-5

folder, input_path, output_path, *rest = sys.argv[1:]
given = json.loads(Path(input_path).read_text())
ours = json.loads(Path(output_path).read_text())

model, loading = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
    assert not loading[kind], f"{folder}: {kind}: {loading[kind]}"
if rest:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, rest[0])
model.eval()

with torch.no_grad():
    logits = model(torch.tensor(given["input_ids"])).logits
    ids = list(given["greedy_prompt_ids"])
    logprobs = []
    for _ in range(given["greedy_tokens"]):
        last = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        ids.append(int(last.argmax()))
        logprobs.append(float(last.max()))

difference = (logits - torch.tensor(ours["logits"])).abs().max().item()
bar = LOGITS_ADAPTER if rest else LOGITS
assert difference <= bar, f"{folder}: logits differ by {difference:.1e}, the bar is {bar:.0e}"
assert ids[len(given["greedy_prompt_ids"]) :] == ours["greedy"]["new_ids"], f"{folder}: another greedy continuation"
drift = max(abs(a - b) for a, b in zip(logprobs, ours["greedy"]["logprobs"]))
assert drift <= (LOGITS_ADAPTER if rest else LOGPROBS), f"{folder}: log-probabilities differ by {drift:.1e}"

said = [f"logits within {difference:.1e}"]
if not rest:
    GenerationConfig.from_pretrained(folder)
    if (Path(folder) / "tokenizer.json").exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        text = "Hello, 世界! 12 + 30 = 42"
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text, f"{folder}: the tokenizer loses text"
        if tokenizer.chat_template:
            prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
            assert text in prompt, f"{folder}: the chat template loses the message"
            said.append("chat template")
    card = (Path(folder) / "README.md").read_text()
    from huggingface_hub import ModelCard

    data = ModelCard(card).data
    assert data.license and data.library_name == "transformers", f"{folder}: the card has no licence or library"
    assert ("model-index" in card) == bool(data.eval_results), f"{folder}: the card's results cannot be read"
    said.append("tokenizer, generation config and card")
print(f"{folder}: {', '.join(said)}")
