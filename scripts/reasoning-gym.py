"""The optional Python side of Longjing's reasoning-gym tasks: one JSON request a line in, one JSON answer a line out.

    {"op": "tasks"}                                                        -> {"tasks": [NAME, ...]}
    {"op": "entries", "task": NAME, "config": {...}, "start": I, "count": N} -> {"entries": [{question, answer, metadata}, ...]}
    {"op": "score", "task": NAME, "config": {...}, "index": I, "answer": TEXT}       -> {"score": X}
    {"op": "score", "task": NAME, "config": {...}, "entry": {...}, "answer": TEXT}   -> {"score": X}

An entry named by its index is made again here, so that scorers see exactly what their own generator made (sets, tuples,
boards) and not what JSON keeps of it. What fails is answered as {"error": TEXT}; the process ends with its input.
"""

import json
import sys
from functools import lru_cache

import reasoning_gym
from reasoning_gym.factory import DATASETS

# What the libraries print must not mix with the answers.
answers = sys.stdout
sys.stdout = sys.stderr


@lru_cache(maxsize=256)
def dataset(task, config):
    return reasoning_gym.create_dataset(task, **json.loads(config))


@lru_cache(maxsize=4096)
def entry(task, config, index):
    return dataset(task, config)[index]


def respond(request):
    op = request["op"]
    if op == "tasks":
        # A composite has no problems but those of the tasks that its configuration names.
        return {"tasks": sorted(set(DATASETS) - {"composite"})}
    task, config = request["task"], json.dumps(request.get("config", {}), sort_keys=True)
    if op == "entries":
        start = request.get("start", 0)
        items = [entry(task, config, i) for i in range(start, start + request["count"])]
        return {"entries": [{key: item[key] for key in ("question", "answer", "metadata")} for item in items]}
    if op == "score":
        about = request["entry"] if "entry" in request else entry(task, config, request["index"])
        return {"score": float(dataset(task, config).score_answer(request["answer"], about))}
    raise ValueError(f"unknown op {op!r}")


for line in sys.stdin:
    try:
        response = respond(json.loads(line))
    except Exception as error:  # every request is answered, whatever it was
        response = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(response, default=str, ensure_ascii=False), file=answers, flush=True)
