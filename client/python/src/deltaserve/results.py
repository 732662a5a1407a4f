"""What calls return. Field by field it is proto/deltaserve/v1; None where a field is not set."""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


class FinishReason(enum.StrEnum):
    """Why a sample ended."""

    STOP = "STOP"  # end of sequence, a stop id or a stop string
    LENGTH = "LENGTH"  # max_tokens
    CANCELLED = "CANCELLED"
    DEADLINE = "DEADLINE"
    BUDGET = "BUDGET"  # the tenant's reservation is used up
    ERROR = "ERROR"  # the logits were not finite, or a fault of the server
    OTHER = "OTHER"  # one that only a newer version of this library knows


@dataclass(frozen=True, slots=True)
class PhaseUsage:
    """What the device spent on one phase of a request."""

    device_seconds: float
    energy_joules: float | None
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request took, or the sums of several."""

    prompt_tokens: int
    cached_prompt_tokens: int  # of these, not computed anew
    completion_tokens: int  # generated, over all samples
    scored_tokens: int
    queue_seconds: float
    time_to_first_token_seconds: float  # 0: none came
    total_seconds: float
    device_seconds: float
    prefill: PhaseUsage | None
    decode: PhaseUsage | None
    score: PhaseUsage | None
    energy_joules: float | None  # where the device measures it
    cost_usd: float | None  # where the server knows a price
    billed_usd: float | None  # where the server keeps a ledger
    durable: bool | None  # whether that ledger has it


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood at a position."""

    id: int
    piece: bytes  # need not be whole UTF-8; empty without a tokenizer
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's log-probability under the raw model."""

    id: int
    piece: bytes
    logprob: float
    top: tuple[Alternative, ...]  # best first, where asked for


@dataclass(frozen=True, slots=True)
class Sample:
    """One continuation of a prompt; in a Chunk, what is new of it."""

    index: int
    text: str  # empty without a tokenizer
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None  # None: it goes on
    logprobs: tuple[TokenLogprob, ...]  # where asked for


@dataclass(frozen=True, slots=True)
class Generation:
    """A finished generation: `n` samples, of which the properties show the first."""

    request_id: str
    model: str
    seed: int
    samples: tuple[Sample, ...]  # by index
    usage: Usage

    @property
    def text(self) -> str:
        return self.samples[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.samples[0].token_ids

    @property
    def finish_reason(self) -> FinishReason | None:
        return self.samples[0].finish_reason


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a stream brought next, of one sample or several."""

    samples: tuple[Sample, ...]
    usage: Usage | None  # in the last chunk

    @property
    def text(self) -> str:
        """What is new of the first sample."""
        return "".join(sample.text for sample in self.samples if sample.index == 0)


@dataclass(frozen=True, eq=False, slots=True)
class RewriteTrace:
    """What the rewrites of a DDL model did: X ← X + β k (vᵀ − kᵀX).

    The second axis is 0 for attention and 1 for the MLP.
    """

    beta: npt.NDArray[np.float32]  # [layer, sublayer, token]
    proj: npt.NDArray[np.float32]  # kᵀX before it: [layer, sublayer, token, value channel]
    v: npt.NDArray[np.float32]  # [layer, sublayer, token, value channel]


@dataclass(frozen=True, slots=True)
class Score:
    """The log-likelihood of one sequence."""

    request_id: str
    model: str
    token_ids: tuple[int, ...]
    tokens: tuple[TokenLogprob, ...]  # of token_ids[1:]: the first has no log-probability
    loglik: float  # their sum
    is_greedy: bool  # every token was the model's first choice
    trace: RewriteTrace | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class Continuation:
    """The log-likelihood of one continuation of a context."""

    tokens: tuple[TokenLogprob, ...]
    loglik: float
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class ContinuationScores:
    """The log-likelihoods of several continuations of one context, in their order."""

    request_id: str
    model: str
    token_ids: tuple[int, ...]  # of the context
    continuations: tuple[Continuation, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's tokens."""

    token_ids: tuple[int, ...]
    pieces: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is served."""

    name: str
    residual: str  # additive, ddl_scalar, ddl_tc, ddl_tc_ec, ddl_cc, ddl_cc_ec
    value_channels: int  # d_v
    vocab_size: int
    context_length: int
    num_layers: int
    hidden_size: int
    num_heads: int
    head_dim: int
    num_parameters: int
    weight_bytes: int
    dtype: str  # bf16 or fp32, as held
    device: str
    has_tokenizer: bool
    eos_token_id: int | None
    max_sequence_tokens: int  # that one request can hold
    usd_per_device_hour: float | None


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """What the requests of a tenant, a model, a day took; None: of all."""

    tenant: str | None
    model: str | None
    day: datetime.date | None  # of UTC, on which they began
    requests: int
    interrupted: int  # of these: the server went away before their end
    billed_usd: float
    absorbed_usd: float  # cost beyond what was reserved, which nobody is billed
    usage: Usage


@dataclass(frozen=True, slots=True)
class RequestUsage:
    """What one request took."""

    request_id: str
    tenant: str
    model: str
    opened: datetime.datetime
    closed: datetime.datetime | None
    state: str  # open, closed or interrupted
    status: str  # how it ended: the name of a google.rpc.Code
    reserved_usd: float | None
    billed_usd: float
    absorbed_usd: float
    usage: Usage
