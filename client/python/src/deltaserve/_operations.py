"""The calls of the API: where each goes, what it sends, how its answer is read. Without I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from deltaserve import _decode, results
from deltaserve.v1 import admin_pb2, inference_pb2, types_pb2

T = TypeVar("T")

TokenIds = Sequence[int] | npt.NDArray[np.integer[Any]]
Prompt = str | TokenIds  # text, or token ids

UsageKey = Literal["tenant", "model", "day"]

_INFERENCE = "/deltaserve.v1.InferenceService"
_ADMIN = "/deltaserve.v1.AdminService"


class GenerateOptions(TypedDict, total=False):
    """How to generate. What is left out is as docs/api.md says, which has the ranges, too."""

    max_tokens: int
    min_tokens: int
    temperature: float  # 0: greedy
    top_k: int
    top_p: float
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    seed: int
    stop: str | Collection[str]
    stop_token_ids: TokenIds
    ignore_eos: bool
    include_stop: bool  # keep the stop string in the text
    logit_bias: Mapping[int, float]
    logprobs: int  # alternatives beside each token's own log-probability
    n: int  # samples


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call to be made, any number of times."""

    path: str
    request: Message
    response: type[Message]  # one, or each of a stream
    decode: Callable[[Any], T]


def _token_ids(ids: TokenIds) -> list[int]:
    if isinstance(ids, (str, bytes)):
        raise TypeError(f"token ids are integers, not {type(ids).__name__}")
    return [int(token) for token in ids]


def _set_prompt(message: Any, prompt: Prompt) -> None:
    """Of a message with a oneof of `text` and `token_ids`."""
    if isinstance(prompt, str):
        message.text = prompt
    else:
        message.token_ids.CopyFrom(types_pb2.TokenIds(ids=_token_ids(prompt)))


def _generate_request(prompt: Prompt, model: str,
                      options: GenerateOptions) -> inference_pb2.GenerateRequest:
    fields: dict[str, Any] = dict(options)
    if isinstance(fields.get("stop"), str):
        fields["stop"] = [fields["stop"]]
    if "stop_token_ids" in fields:
        fields["stop_token_ids"] = _token_ids(fields["stop_token_ids"])
    unknown = fields.keys() - GenerateOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"generate has no option {', '.join(sorted(unknown))}")
    request = inference_pb2.GenerateRequest(model=model, **fields)
    _set_prompt(request, prompt)
    return request


def generate(prompt: Prompt, model: str,
             options: GenerateOptions) -> Operation[results.Generation]:
    return Operation(f"{_INFERENCE}/Generate", _generate_request(prompt, model, options),
                     inference_pb2.GenerateResponse, _decode.generation)


def generate_stream(prompt: Prompt, model: str,
                    options: GenerateOptions) -> Operation[inference_pb2.GenerateChunk]:
    return Operation(f"{_INFERENCE}/GenerateStream", _generate_request(prompt, model, options),
                     inference_pb2.GenerateChunk, lambda chunk: chunk)


def _score(decode: Callable[[inference_pb2.ScoreResponse], T],
           request: inference_pb2.ScoreRequest) -> Operation[T]:
    return Operation(f"{_INFERENCE}/Score", request, inference_pb2.ScoreResponse, decode)


def score(sequence: Prompt, model: str, top_k: int | None, trace: bool) -> Operation[results.Score]:
    request = inference_pb2.ScoreRequest(model=model, top_k=top_k, trace=trace or None)
    _set_prompt(request, sequence)
    return _score(_decode.score, request)


def score_continuations(context: Prompt, continuations: Iterable[Prompt], model: str,
                        top_k: int | None) -> Operation[results.ContinuationScores]:
    if isinstance(continuations, str):
        raise TypeError("continuations are several, not one str")
    request = inference_pb2.ScoreRequest(model=model, top_k=top_k)
    _set_prompt(request, context)
    for continuation in continuations:
        _set_prompt(request.continuations.add(), continuation)
    if not request.continuations:  # which would score the context itself
        raise ValueError("there are no continuations")
    return _score(_decode.continuation_scores, request)


def tokenize(text: str, model: str) -> Operation[results.Tokens]:
    return Operation(
        f"{_INFERENCE}/Tokenize", inference_pb2.TokenizeRequest(model=model, text=text),
        inference_pb2.TokenizeResponse, _decode.tokens)


def detokenize(token_ids: TokenIds, model: str) -> Operation[str]:
    return Operation(
        f"{_INFERENCE}/Detokenize",
        inference_pb2.DetokenizeRequest(model=model, token_ids=_token_ids(token_ids)),
        inference_pb2.DetokenizeResponse, _decode.text)


def list_models() -> Operation[tuple[results.Model, ...]]:
    return Operation(f"{_INFERENCE}/ListModels", inference_pb2.ListModelsRequest(),
                     inference_pb2.ListModelsResponse, _decode.models)


def get_model(name: str) -> Operation[results.Model]:
    return Operation(f"{_INFERENCE}/GetModel", inference_pb2.GetModelRequest(model=name),
                     inference_pb2.Model, _decode.model)


def usage_totals(by: Collection[UsageKey],
                 **only: str | None) -> Operation[tuple[results.UsageTotal, ...]]:
    unknown = set(by) - {"tenant", "model", "day"}
    if isinstance(by, str) or unknown:
        raise ValueError(f"usage is by some of tenant, model and day, not by {by!r}")
    request = admin_pb2.GetUsageRequest(
        **only, by_tenant="tenant" in by, by_model="model" in by, by_day="day" in by)
    return Operation(f"{_ADMIN}/GetUsage", request, admin_pb2.GetUsageResponse,
                     _decode.usage_totals)


def request_usage(request_id: str, tenant: str | None) -> Operation[results.RequestUsage]:
    return Operation(f"{_ADMIN}/GetUsage",
                     admin_pb2.GetUsageRequest(request_id=request_id, tenant=tenant),
                     admin_pb2.GetUsageResponse, _decode.request_usage)
