"""Has vLLM's config loader read folders that `longjing export --to hf` wrote, and look their models up in its registry.

usage: vllm.py FOLDER...
Nothing is run: the wheels on PyPI want a GPU.
"""

import os
import sys
from pathlib import Path

# This file has the name of the package that it tests.
sys.path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"

from vllm.config import ModelConfig  # noqa: E402
from vllm.model_executor.models.registry import ModelRegistry  # noqa: E402

for folder in sys.argv[1:]:
    config = ModelConfig(model=folder, tokenizer=folder, dtype="float32", max_model_len=32)
    assert config.architectures, f"{folder}: no architecture"
    assert ModelRegistry.is_text_generation_model(config.architectures, config), f"{folder}: {config.architectures} is unknown to vLLM"
    assert config.get_vocab_size() == config.hf_config.vocab_size
    assert config.get_sliding_window() is None
    print(f"{folder}: vLLM: {config.architecture}, {config.get_total_num_kv_heads()} key and value heads of {config.get_head_size()}")
