"""Asks a server through Python's openai and lm-eval. Run by run.sh. The last line is `N passed, N failed`."""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import openai

base = os.environ["LONGJING_URL"]
shipped, shipped_model = os.environ["LONGJING_SHIPPED_URL"], os.environ["LONGJING_SHIPPED_MODEL"]
client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
hello = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
clock = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}}}


def answers_and_streams():
    whole = client.chat.completions.create(**hello)
    assert whole.choices[0].message.content == "hello"
    assert whole.choices[0].message.reasoning_content == "They said hello."
    *chunks, last = client.chat.completions.create(**hello, stream=True, stream_options={"include_usage": True})
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "hello"
    assert (last.choices, last.usage) == ([], whole.usage) and not any(c.usage for c in chunks)
    *chunks, last = client.chat.completions.create(**hello, stream=True)
    assert (last.choices[0].finish_reason, last.usage) == ("stop", whole.usage) and not any(c.usage for c in chunks)
    assert not any(c.usage for c in client.chat.completions.create(**hello, stream=True, stream_options={"include_usage": False}))


def calls_tools():
    asked = {"model": "fake", "tools": [clock], "messages": [{"role": "user", "content": "What time is it?"}]}
    call = client.chat.completions.create(**asked).choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("clock", {"zone": "UTC"})
    with client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.tool_calls[0].function.arguments == call.function.arguments
    forced = client.chat.completions.create(**hello, tools=[clock], tool_choice="required").choices[0]
    assert forced.finish_reason == "tool_calls" and "zone" in json.loads(forced.message.tool_calls[0].function.arguments)


def keeps_to_a_schema():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    answer = client.chat.completions.create(**hello, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}})
    assert isinstance(json.loads(answer.choices[0].message.content)["n"], int)
    extra = client.chat.completions.create(**hello, extra_body={"structured_outputs": {"choice": ["red", "blue"]}})
    assert extra.choices[0].message.content in ("red", "blue")


def completes_texts():
    assert client.completions.create(model="fake", prompt="user:a\n", max_tokens=5).choices[0].text == "<thin"


def embeds():
    packed = client.embeddings.create(model="fake", input=["hello"]).data[0].embedding
    plain = client.embeddings.create(model="fake", input=["hello"], encoding_format="float").data[0].embedding
    assert max(abs(a - b) for a, b in zip(packed, plain, strict=True)) < 1e-6


def responds():
    assert client.responses.create(model="fake", input="hello").output_text == "hello"
    assert list(client.responses.create(model="fake", input="hello", stream=True))[-1].type == "response.completed"


def raises_its_own_errors():
    for error, more in ((openai.NotFoundError, {"model": "x"}), (openai.BadRequestError, {"temperature": 9})):
        try:
            client.chat.completions.create(**{**hello, **more})
        except error:
            continue
        raise AssertionError(error)


def lm_eval(folder, model, arguments, task):
    """Evaluates a task that is described in the folder: its results, and what was kept of each question."""
    command = [sys.executable, "-m", "lm_eval", "--model", model, "--model_args", arguments, "--tasks", task]
    command += ["--include_path", folder, "--output_path", f"{folder}/out", "--log_samples", *(["--apply_chat_template"] if "chat" in model else [])]
    environment = {**os.environ, "HF_DATASETS_CACHE": f"{folder}/cache", "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    [found] = Path(folder, "out").rglob("results*.json")
    [samples] = Path(folder, "out").rglob(f"samples_{task}*.jsonl")
    return json.loads(found.read_text())["results"][task], [json.loads(line) for line in samples.read_text().splitlines()]


def is_evaluated_by_lm_eval():
    """A task of two questions, of which the model answers by repeating: one is right."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data.jsonl").write_text('{"q": "4", "a": "4"}\n{"q": "5", "a": "6"}\n')
        Path(folder, "echo.yaml").write_text(
            f"task: echo\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/data.jsonl\n"
            "test_split: test\noutput_type: generate_until\ndoc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
            "generation_kwargs:\n  until: ['\\n']\n  max_gen_toks: 64\n"
            "metric_list:\n  - metric: exact_match\n    aggregation: mean\n    higher_is_better: true\n"
        )
        arguments = f"model=fake,base_url={base}/v1/chat/completions,num_concurrent=2,max_retries=1,tokenized_requests=False"
        results, _ = lm_eval(folder, "local-chat-completions", arguments, "echo")
        assert results["exact_match,none"] == 0.5


def likelihood(context, continuation):
    """Of a continuation by the shipped model, with its tokens one by one."""
    one = openai.OpenAI(base_url=f"{shipped}/v1", api_key="none", max_retries=0)
    tokens = lambda text: one.post("/tokenize", body={"content": text}, cast_to=object)["tokens"]
    read = one.completions.create(model=shipped_model, prompt=tokens(context + continuation), echo=True, logprobs=1, max_tokens=0)
    return sum(read.choices[0].logprobs.token_logprobs[len(tokens(context)):])


def is_asked_for_likelihoods_by_lm_eval():
    """A task of choices: lm-eval reads what the prompts' tokens are worth, and so do we."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data.jsonl").write_text('{"q": "2 + 2 =", "c": ["4", "5", "17"]}\n{"q": "10 - 3 =", "c": ["1", "7", "6"]}\n')
        Path(folder, "choices.yaml").write_text(
            f"task: choices\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {folder}/data.jsonl\n"
            "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: '{{c}}'\ndoc_to_target: 0\n"
            "metric_list:\n  - metric: acc\n    aggregation: mean\n    higher_is_better: true\n"
        )
        arguments = f"model={shipped_model},base_url={shipped}/v1/completions,num_concurrent=2,max_retries=1,tokenizer_backend=huggingface,tokenizer={os.environ['LONGJING_SHIPPED_FOLDER']}"
        _, samples = lm_eval(folder, "local-completions", arguments, "choices")
        for sample in samples:
            for choice, [[value, _greedy]] in zip(sample["doc"]["c"], sample["resps"], strict=True):
                assert abs(float(value) - likelihood(sample["doc"]["q"], f" {choice}")) < 1e-3, sample


checks = [answers_and_streams, calls_tools, keeps_to_a_schema, completes_texts, embeds, responds, raises_its_own_errors, is_evaluated_by_lm_eval, is_asked_for_likelihoods_by_lm_eval]
failed = 0
for check in checks:
    try:
        check()
    except Exception:
        failed += 1
        print(f"FAILED: {check.__name__}")
        traceback.print_exc(file=sys.stdout)
print(f"{len(checks) - failed} passed, {failed} failed")
sys.exit(failed > 0)
