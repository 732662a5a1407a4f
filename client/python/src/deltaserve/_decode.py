"""Messages of proto/deltaserve/v1 as the types of results.py."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from deltaserve import results
from deltaserve.v1 import admin_pb2, inference_pb2, types_pb2

T = TypeVar("T")


def _same_fields(cls: type[T], message: Message, **others: Any) -> T:
    """A `cls` with the message's fields of the same names, but for the `others` given here."""
    def value(name: str) -> Any:
        field = message.DESCRIPTOR.fields_by_name[name]
        absent = field.has_presence and not message.HasField(name)
        return None if absent else getattr(message, name)

    names = (field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
    return cls(**others, **{name: value(name) for name in names if name not in others})


def usage(message: types_pb2.Usage) -> results.Usage:
    phases = {name: _same_fields(results.PhaseUsage, getattr(message, name))
              if message.HasField(name) else None
              for name in ("prefill", "decode", "score")}
    return _same_fields(results.Usage, message, **phases)


def _token_logprobs(tokens: Iterable[types_pb2.TokenLogprob]) -> tuple[results.TokenLogprob, ...]:
    return tuple(
        results.TokenLogprob(
            id=token.id, piece=token.piece, logprob=token.logprob,
            top=tuple(results.Alternative(id=other.id, piece=other.piece, logprob=other.logprob)
                      for other in token.top))
        for token in tokens)


def _finish_reason(number: int) -> results.FinishReason | None:
    if number == types_pb2.FINISH_REASON_UNSPECIFIED:
        return None
    known = types_pb2.FinishReason.DESCRIPTOR.values_by_number.get(number)
    return results.FinishReason.OTHER if known is None else results.FinishReason(known.name)


def _sample(message: inference_pb2.Sample) -> results.Sample:
    return results.Sample(
        index=message.index, text=message.text, token_ids=tuple(message.token_ids),
        finish_reason=_finish_reason(message.finish_reason),
        logprobs=_token_logprobs(message.logprobs))


def generation(message: inference_pb2.GenerateResponse) -> results.Generation:
    return results.Generation(
        request_id=message.request_id, model=message.model, seed=message.seed,
        samples=tuple(map(_sample, message.samples)), usage=usage(message.usage))


def chunk(message: inference_pb2.GenerateChunk) -> results.Chunk:
    return results.Chunk(
        samples=tuple(map(_sample, message.samples)),
        usage=usage(message.usage) if message.HasField("usage") else None)


def _trace(message: inference_pb2.RewriteTrace) -> results.RewriteTrace:
    per_token = (message.num_layers, 2, message.num_tokens)
    per_channel = (*per_token, message.value_channels)

    def array(values: Sequence[float], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        return np.fromiter(values, np.float32, len(values)).reshape(shape)

    return results.RewriteTrace(beta=array(message.beta, per_token),
                                proj=array(message.proj, per_channel),
                                v=array(message.v, per_channel))


def score(message: inference_pb2.ScoreResponse) -> results.Score:
    return results.Score(
        request_id=message.request_id, model=message.model, token_ids=tuple(message.token_ids),
        tokens=_token_logprobs(message.sequence.tokens), loglik=message.sequence.loglik,
        is_greedy=message.sequence.is_greedy,
        trace=_trace(message.trace) if message.HasField("trace") else None,
        usage=usage(message.usage))


def continuation_scores(message: inference_pb2.ScoreResponse) -> results.ContinuationScores:
    return results.ContinuationScores(
        request_id=message.request_id, model=message.model, token_ids=tuple(message.token_ids),
        continuations=tuple(
            results.Continuation(tokens=_token_logprobs(scored.tokens), loglik=scored.loglik,
                                 is_greedy=scored.is_greedy)
            for scored in message.continuations),
        usage=usage(message.usage))


def tokens(message: inference_pb2.TokenizeResponse) -> results.Tokens:
    return results.Tokens(token_ids=tuple(message.token_ids), pieces=tuple(message.pieces))


def text(message: inference_pb2.DetokenizeResponse) -> str:
    return message.text


def model(message: inference_pb2.Model) -> results.Model:
    return _same_fields(results.Model, message)


def models(message: inference_pb2.ListModelsResponse) -> tuple[results.Model, ...]:
    return tuple(map(model, message.models))


def usage_totals(message: admin_pb2.GetUsageResponse) -> tuple[results.UsageTotal, ...]:
    return tuple(
        _same_fields(results.UsageTotal, total, usage=usage(total.usage),
                     day=datetime.date.fromisoformat(total.day) if total.day else None)
        for total in message.totals)


def request_usage(message: admin_pb2.GetUsageResponse) -> results.RequestUsage:
    request = message.request
    parse = datetime.datetime.fromisoformat
    return _same_fields(results.RequestUsage, request, usage=usage(request.usage),
                        opened=parse(request.opened),
                        closed=parse(request.closed) if request.closed else None)
