"""The adapter for lm-evaluation-harness, with the harness itself and the real server."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from real_server import ROOT, RealServer

import deltaserve
from deltaserve.lm_eval import DeltaserveLM

_TASKS = ROOT / "client" / "python" / "examples" / "lm_eval"
_DEMO = json.loads((ROOT / "models" / "demo" / "prompts.json").read_text(encoding="utf-8"))
_QUESTION, _ANSWER = _DEMO["question"], f" {_DEMO['answer']}."


def _instances(kind: Any, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(kind, {}, each, index) for index, each in enumerate(arguments)]


def _loglikelihoods(lm: DeltaserveLM, *pairs: tuple[str, str]) -> list[tuple[float, bool]]:
    given: list[tuple[float, bool]] = lm.loglikelihood(
        _instances("loglikelihood", *pairs), disable_tqdm=True)
    return given


def test_log_likelihoods_are_the_servers(lm: DeltaserveLM, server: RealServer) -> None:
    answers = [f" {answer}." for answer in _DEMO["answers"]]
    with deltaserve.Client(server.address) as client:
        scored = client.score_continuations(_QUESTION, answers).continuations
    pairs = [(_QUESTION, answer) for answer in answers]
    pairs.insert(2, (_DEMO["story"], " The end."))  # another context in between
    given = _loglikelihoods(lm, *pairs)
    del given[2]
    assert given == [(one.loglik, one.is_greedy) for one in scored]


def test_continuations_beyond_one_call_keep_their_order(lm: DeltaserveLM) -> None:
    pairs = [(_QUESTION, f"{_ANSWER} {number}") for number in range(150)]
    alone = [_loglikelihoods(lm, pair)[0] for pair in pairs[::50]]
    assert _loglikelihoods(lm, *pairs)[::50] == alone


def test_an_empty_context_is_the_end_of_a_sequence(lm: DeltaserveLM, server: RealServer) -> None:
    with deltaserve.Client(server.address) as client:
        ids = client.tokenize(_DEMO["story"]).token_ids
        expected = client.score([client.model().eos_token_id or 0, *ids]).loglik
    ((loglik, _),) = _loglikelihoods(lm, ("", _DEMO["story"]))
    assert loglik == pytest.approx(expected)
    (rolling,) = lm.loglikelihood_rolling(
        _instances("loglikelihood_rolling", (_DEMO["story"],)), disable_tqdm=True)
    assert rolling == pytest.approx(expected)


def test_a_context_too_long_loses_its_beginning(lm: DeltaserveLM, server: RealServer) -> None:
    text = " ".join([_DEMO["story"]] * 80)
    with deltaserve.Client(server.address) as client:
        ids = client.tokenize(text + _ANSWER).token_ids[-lm.max_length:]
        answer_length = len(client.tokenize(_ANSWER).token_ids)
        tokens = client.score(ids).tokens[-answer_length:]
    ((loglik, _),) = _loglikelihoods(lm, (text, _ANSWER))
    assert loglik == pytest.approx(sum(token.logprob for token in tokens))


def test_rolling_predicts_every_token_of_a_long_text_once(lm: DeltaserveLM,
                                                          server: RealServer) -> None:
    text = " ".join([_DEMO["story"], _QUESTION] * 20)
    with deltaserve.Client(server.address) as client:
        ids = [client.model().eos_token_id or 0, *client.tokenize(text).token_ids]
        length = lm.max_length
        assert length < len(ids) < 2 * length
        # All that fits; then the rest, each token with all the context that there is room for.
        first = client.score(ids[:length]).tokens
        rest = client.score(ids[-length:]).tokens[-(len(ids) - length):]
    (loglik,) = lm.loglikelihood_rolling(_instances("loglikelihood_rolling", (text,)),
                                         disable_tqdm=True)
    assert loglik == pytest.approx(sum(token.logprob for token in (*first, *rest)))


def test_generation_stops_where_it_is_told(lm: DeltaserveLM) -> None:
    requests = _instances(
        "generate_until",
        (_QUESTION, {"until": ["."], "max_gen_toks": 4}),
        (_QUESTION, {"until": [], "max_gen_toks": 2, "do_sample": False}),
        (_QUESTION * 20, {"until": ["."], "max_gen_toks": 4}))
    stopped, full, _of_a_long_context = lm.generate_until(requests, disable_tqdm=True)
    assert stopped == _ANSWER.removesuffix(".")
    assert full == _ANSWER


def test_what_the_server_cannot_do_is_said(lm: DeltaserveLM) -> None:
    with pytest.raises(ValueError, match="num_beams"):
        lm.generate_until(_instances("generate_until", ("Anna", {"num_beams": 4})),
                          disable_tqdm=True)


def test_the_tasks_run_and_the_demo_model_is_good_at_them(server: RealServer,
                                                          tmp_path: pathlib.Path) -> None:
    tasks = ("tiny_world", "tiny_world_generate", "tiny_world_stories")
    done = subprocess.run(
        [sys.executable, "-m", "deltaserve.lm_eval", "run", "--model", "deltaserve",
         "--model_args", f"address={server.address}", "--tasks", ",".join(tasks),
         "--include_path", _TASKS, "--output_path", tmp_path],
        capture_output=True, text=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    assert "tiny_world_stories" in done.stdout
    (file,) = tmp_path.rglob("results_*.json")
    chosen, said, stories = (json.loads(file.read_text())["results"][task] for task in tasks)
    assert chosen["acc,none"] >= 0.95
    assert said["exact_match,stripped"] >= 0.95
    assert 0 < stories["bits_per_byte,none"] < 0.5


def test_the_dataset_is_what_its_script_writes(tmp_path: pathlib.Path) -> None:
    spec = importlib.util.spec_from_file_location("dataset", _TASKS / "dataset.py")
    assert spec is not None and spec.loader is not None
    dataset = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dataset)
    dataset.write(tmp_path)
    for name in ("questions.jsonl", "stories.jsonl"):
        assert (tmp_path / name).read_bytes() == (_TASKS / name).read_bytes()
