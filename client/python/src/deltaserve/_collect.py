"""The chunks of a stream, put together to what Generate would have given. Without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc

from deltaserve import _decode, results
from deltaserve.errors import InternalError
from deltaserve.v1 import inference_pb2


@dataclass(slots=True)
class _Parts:
    """Of one sample."""

    text: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[results.TokenLogprob] = field(default_factory=list)
    finish_reason: results.FinishReason | None = None


class Collector:
    """What has come of a stream."""

    def __init__(self) -> None:
        self.request_id = ""  # this and the next two: once the first chunk is here
        self.model = ""
        self.seed = 0
        self._samples: dict[int, _Parts] = {}
        self._usage: results.Usage | None = None

    def add(self, message: inference_pb2.GenerateChunk) -> results.Chunk:
        if message.request_id:
            self.request_id, self.model, self.seed = (
                message.request_id, message.model, message.seed)
        chunk = _decode.chunk(message)
        for sample in chunk.samples:
            parts = self._samples.setdefault(sample.index, _Parts())
            parts.text.append(sample.text)
            parts.token_ids.extend(sample.token_ids)
            parts.logprobs.extend(sample.logprobs)
            parts.finish_reason = sample.finish_reason or parts.finish_reason
        self._usage = chunk.usage or self._usage
        return chunk

    def samples(self) -> tuple[results.Sample, ...]:
        """What there is by now, by index."""
        return tuple(self._sorted())

    def _sorted(self) -> Iterator[results.Sample]:
        for index, parts in sorted(self._samples.items()):
            yield results.Sample(
                index=index, text="".join(parts.text), token_ids=tuple(parts.token_ids),
                finish_reason=parts.finish_reason, logprobs=tuple(parts.logprobs))

    def generation(self) -> results.Generation:
        """Of a stream that has ended well."""
        if self._usage is None:
            raise InternalError(grpc.StatusCode.INTERNAL, "the stream ended without its usage",
                                request_id=self.request_id)
        return results.Generation(request_id=self.request_id, model=self.model, seed=self.seed,
                                  samples=self.samples(), usage=self._usage)
