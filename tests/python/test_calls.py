"""Every method against the real server, of both clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from both_clients import AsyncCaller, BlockingCaller, Caller
from real_server import ROOT, RealServer

import deltaserve

_DEMO = json.loads((ROOT / "models" / "demo" / "prompts.json").read_text(encoding="utf-8"))
_PROMPT: str = _DEMO["question"]
_ANSWERS: list[str] = [f" {answer}." for answer in _DEMO["answers"]]
_RIGHT: str = f" {_DEMO['answer']}."


@pytest.fixture
def client(server: RealServer, caller: Caller) -> Iterator[BlockingCaller | AsyncCaller]:
    with caller(server.address, timeout=30.0) as client:
        yield client


def test_a_stop_string_ends_the_text(client: Any) -> None:
    generation = client.call("generate", _PROMPT, temperature=0, max_tokens=4, stop=".")
    assert generation.text == _RIGHT.removesuffix(".")
    assert generation.finish_reason is deltaserve.FinishReason.STOP


def test_generate_gives_text_ids_and_usage(client: Any) -> None:
    generation = client.call("generate", _PROMPT, temperature=0, max_tokens=2)
    assert generation.text == _RIGHT
    assert generation.finish_reason is deltaserve.FinishReason.LENGTH
    assert generation.model == "demo"
    assert generation.request_id
    usage = generation.usage
    assert usage.prompt_tokens > 0
    assert usage.completion_tokens == len(generation.token_ids) == 2
    assert usage.device_seconds == pytest.approx(
        usage.prefill.device_seconds + usage.decode.device_seconds)
    assert usage.cost_usd == pytest.approx(usage.device_seconds * 3.60 / 3600, abs=1e-12)
    assert usage.energy_joules is None or usage.energy_joules >= 0
    assert usage.billed_usd is None


def test_prompts_are_text_or_ids_of_any_kind(client: Any) -> None:
    ids = client.call("tokenize", _PROMPT).token_ids
    for prompt in (_PROMPT, ids, list(ids), np.array(ids)):
        assert client.call("generate", prompt, temperature=0, max_tokens=2).text == _RIGHT


def test_every_option_reaches_the_server(client: Any) -> None:
    options: deltaserve.GenerateOptions = dict(
        max_tokens=6, min_tokens=2, temperature=0.9, top_k=50, top_p=0.95, min_p=0.01,
        presence_penalty=0.1, frequency_penalty=0.1, repetition_penalty=1.1, seed=2**64 - 1,
        stop=["zebra"], stop_token_ids=[0], ignore_eos=True, include_stop=True,
        logit_bias={14: -5.0}, logprobs=2, n=3)
    generation = client.call("generate", _PROMPT, model="demo", **options)
    assert generation.seed == 2**64 - 1
    assert [sample.index for sample in generation.samples] == [0, 1, 2]
    for sample in generation.samples:
        assert [token.id for token in sample.logprobs] == list(sample.token_ids)
        assert b"".join(token.piece for token in sample.logprobs).decode() == sample.text
        assert all(len(token.top) == 2 for token in sample.logprobs)
        assert all(token.logprob <= 0 for token in sample.logprobs)


def test_a_stream_makes_up_what_generate_gives(client: Any) -> None:
    options = dict(seed=7, max_tokens=20, n=2, logprobs=1)
    whole = client.call("generate", _PROMPT, **options)
    chunks: list[deltaserve.Chunk] = []
    streamed = client.stream(_PROMPT, into=chunks, **options)
    assert streamed.samples == whole.samples
    assert (streamed.seed, streamed.model) == (whole.seed, whole.model)
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert streamed.usage == chunks[-1].usage


def test_a_cancelled_stream_ends_with_that_error(client: Any) -> None:
    chunks: list[deltaserve.Chunk] = []
    with pytest.raises(deltaserve.CancelledError) as caught:
        client.stream(_PROMPT, into=chunks, cancel_after=2, ignore_eos=True)
    assert len(chunks) < 128
    assert caught.value.request_id


def test_score_says_what_generate_says(client: Any) -> None:
    generation = client.call("generate", _PROMPT, temperature=0, max_tokens=5, logprobs=0)
    ids = client.call("tokenize", _PROMPT).token_ids + generation.token_ids
    score = client.call("score", ids, top_k=3)
    assert score.token_ids == ids
    assert len(score.tokens) == len(ids) - 1
    generated = generation.samples[0].logprobs
    scored = score.tokens[-len(generated):]
    assert [token.logprob for token in scored] == [token.logprob for token in generated]  # all bits
    assert score.loglik == pytest.approx(sum(token.logprob for token in score.tokens))
    assert all(len(token.top) == 3 for token in score.tokens)
    assert score.trace is None


def test_the_trace_comes_as_arrays(client: Any) -> None:
    model = client.call("model")
    score = client.call("score", "Anna is in the barn.", trace=True)
    per_token = (model.num_layers, 2, len(score.token_ids))
    assert score.trace.beta.shape == per_token
    assert score.trace.proj.shape == score.trace.v.shape == (*per_token, model.value_channels)
    assert score.trace.beta.dtype == np.float32
    assert np.all((score.trace.beta > 0) & (score.trace.beta < 2))


def test_continuations_are_scored_in_their_order(client: Any) -> None:
    continuations: list[Any] = list(_ANSWERS)
    continuations[0] = client.call("tokenize", continuations[0]).token_ids
    scores = client.call("score_continuations", _PROMPT, continuations)
    assert len(scores.continuations) == len(_ANSWERS)
    greedy = [text for text, scored in zip(_ANSWERS, scores.continuations, strict=True)
              if scored.is_greedy]
    assert greedy == [_RIGHT]
    best = max(scores.continuations, key=lambda scored: scored.loglik)
    assert best is scores.continuations[_ANSWERS.index(_RIGHT)]
    assert tuple(token.id for token in scores.continuations[0].tokens) == continuations[0]
    assert scores.usage.scored_tokens == sum(len(scored.tokens) for scored in scores.continuations)


def test_tokenize_and_back(client: Any) -> None:
    tokens = client.call("tokenize", "Tom went to the mill. — ü")
    assert b"".join(tokens.pieces).decode() == "Tom went to the mill. — ü"
    assert client.call("detokenize", tokens.token_ids) == "Tom went to the mill. — ü"


def test_models_are_described(client: Any) -> None:
    (model,) = client.call("models")
    assert model == client.call("model", "demo") == client.call("model")
    assert model.residual == "ddl_cc_ec"
    assert model.usd_per_device_hour == 3.60
    assert model.has_tokenizer


def test_what_the_server_refuses_is_named(client: Any) -> None:
    with pytest.raises(deltaserve.InvalidArgumentError, match="temperature") as caught:
        client.call("generate", _PROMPT, temperature=3)
    assert caught.value.request_id
    with pytest.raises(deltaserve.NotFoundError, match="demo"):
        client.call("model", "another")
    with pytest.raises(deltaserve.InvalidArgumentError):
        client.stream("", into=[])


def test_a_timeout_ends_the_call_and_tells_what_it_used(client: Any) -> None:
    with pytest.raises(deltaserve.DeadlineExceededError):
        client.call("generate", _PROMPT, ignore_eos=True, max_tokens=900, n=8, timeout=0.05)


@pytest.mark.parametrize(("method", "arguments", "error"), [
    ("generate", (b"Anna",), TypeError),
    ("score", (b"Anna",), TypeError),
    ("score_continuations", ("Anna", " is"), TypeError),
    ("score_continuations", ("Anna", []), ValueError),
    ("usage_totals", (), ValueError),
])
def test_slips_are_caught_before_the_call(client: Any, method: str, arguments: tuple[Any, ...],
                                          error: type[Exception]) -> None:
    options = {"by": "tenant"} if method == "usage_totals" else {}
    with pytest.raises(error):
        client.call(method, *arguments, **options)


def test_an_unknown_option_is_a_type_error(client: Any) -> None:
    with pytest.raises(TypeError, match="temprature"):
        client.call("generate", "Anna", temprature=1.0)
