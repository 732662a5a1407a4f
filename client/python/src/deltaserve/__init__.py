"""Client of a Deltaserve inference server.

    with deltaserve.Client("127.0.0.1:50051") as client:
        print(client.generate("Anna is in", max_tokens=8).text)

AsyncClient is the same for asyncio. What calls return is in deltaserve.results, how they fail in
deltaserve.errors; parameters, defaults and ranges are those of the server's docs/api.md.
"""

from deltaserve._connection import Tls
from deltaserve._operations import GenerateOptions, Prompt, TokenIds
from deltaserve.aio import AsyncClient, AsyncGenerationStream
from deltaserve.client import Client, GenerationStream
from deltaserve.errors import (
    CancelledError,
    DeadlineExceededError,
    DeltaserveError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from deltaserve.results import (
    Alternative,
    Chunk,
    Continuation,
    ContinuationScores,
    FinishReason,
    Generation,
    Model,
    PhaseUsage,
    RequestUsage,
    RewriteTrace,
    Sample,
    Score,
    TokenLogprob,
    Tokens,
    Usage,
    UsageTotal,
)
from deltaserve.retry import RetryPolicy

__all__ = [
    "Alternative",
    "AsyncClient",
    "AsyncGenerationStream",
    "CancelledError",
    "Chunk",
    "Client",
    "Continuation",
    "ContinuationScores",
    "DeadlineExceededError",
    "DeltaserveError",
    "FailedPreconditionError",
    "FinishReason",
    "GenerateOptions",
    "Generation",
    "GenerationStream",
    "InternalError",
    "InvalidArgumentError",
    "Model",
    "NotFoundError",
    "PermissionDeniedError",
    "PhaseUsage",
    "Prompt",
    "RequestUsage",
    "ResourceExhaustedError",
    "RetryPolicy",
    "RewriteTrace",
    "Sample",
    "Score",
    "Tls",
    "TokenIds",
    "TokenLogprob",
    "Tokens",
    "UnauthenticatedError",
    "UnavailableError",
    "Usage",
    "UsageTotal",
]
