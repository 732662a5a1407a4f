"""Evaluates a served model with lm-evaluation-harness, which then knows a model `deltaserve`.

    python -m deltaserve.lm_eval run --model deltaserve --model_args address=127.0.0.1:50051 \\
        --tasks tiny_world --include_path client/python/examples/lm_eval

The command is lm-eval's own. From Python, to import this module is enough for
lm_eval.simple_evaluate(model="deltaserve", model_args={"address": …}, …). Needs the extra
`deltaserve[lm-eval]`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from deltaserve._connection import Tls
from deltaserve._operations import GenerateOptions
from deltaserve.client import Client

T = TypeVar("T")
R = TypeVar("R")

_Loglikelihood = tuple[float, bool]  # and whether the continuation is the greedy one
_TokenizedPair = tuple[tuple[str, str] | None, list[int], list[int]]  # texts, context, continuation
_Batch = tuple[tuple[int, ...], list[int]]  # a context, and the requests whose it is

_MAX_CONTINUATIONS = 64  # of one call; fewer than any server of a default configuration takes

# What a task may ask for, and what it means to GenerateOptions.
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
             "frequency_penalty", "seed")


@register_model("deltaserve")
class DeltaserveLM(TemplateLM):
    """A model of a Deltaserve server.

    Several continuations of one context are scored by one call, which computes the context once;
    calls run `num_concurrent` at a time, and the server batches them. An API key is taken from the
    environment variable DELTASERVE_API_KEY. Contexts too long for the model lose their beginning.
    """

    def __init__(self, address: str, model: str = "", *, num_concurrent: int = 16,
                 timeout: float = 600.0, max_gen_toks: int = 256,
                 prefix_token_id: int | None = None, tls_roots: str | None = None,
                 batch_size: object = None, max_batch_size: object = None,
                 device: object = None) -> None:
        """`prefix_token_id`: what an empty context is; without one, the end of sequence.

        `tls_roots` is a PEM file of who may vouch for the server; none: no TLS. The harness gives
        the last three to every model; batches and devices are the server's own affair.
        """
        super().__init__()
        self._client = Client(
            address, api_key=os.environ.get("DELTASERVE_API_KEY"), timeout=float(timeout),
            tls=Tls.from_files(tls_roots) if tls_roots is not None else None)
        self._model = self._client.model(model)
        self._num_concurrent = int(num_concurrent)
        self._max_gen_toks = int(max_gen_toks)
        self._prefix_token_id = prefix_token_id
        self._token_ids = functools.lru_cache(maxsize=4096)(self._tokenize)

    @property
    def tokenizer_name(self) -> str:
        """What the harness's caches of requests are kept under."""
        return f"deltaserve-{self._model.name}"

    @property
    def max_length(self) -> int:
        return self._model.max_sequence_tokens

    @property
    def max_gen_toks(self) -> int:
        return self._max_gen_toks

    @property
    def eot_token_id(self) -> int:
        if self._model.eos_token_id is None:
            raise ValueError(f"model {self._model.name} has no end of sequence; "
                             "an empty context needs a prefix_token_id")
        return self._model.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        return self.eot_token_id if self._prefix_token_id is None else self._prefix_token_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None,
                   **_: Any) -> list[int]:
        """Special tokens are never added."""
        return list(self._token_ids(string))

    def loglikelihood_rolling(self, requests: list[Instance],
                              disable_tqdm: bool = False) -> list[float]:
        pairs: list[_TokenizedPair] = []
        text_of_pair: list[int] = []
        for index, request in enumerate(requests):
            windows = get_rolling_token_windows(
                self.tok_encode(request.args[0]), prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length - 1, context_len=1)
            for context, continuation in map(make_disjoint_window, windows):
                pairs.append((None, context, continuation))
                text_of_pair.append(index)
        sums = [0.0] * len(requests)
        scored = self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm)
        for index, (loglik, _) in zip(text_of_pair, scored, strict=True):
            sums[index] += loglik
        for request, loglik in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, loglik)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        def generate(request: Instance) -> str:
            context, arguments = request.args
            options = self._generate_options(arguments)
            room = self.max_length - options["max_tokens"]
            prompt = (self.tok_encode(context) or [self.prefix_token_id])[-room:]
            text = self._client.generate(prompt, model=self._model.name, **options).text
            self.cache_hook.add_partial("generate_until", request.args, text)
            return text

        return self._at_once(generate, requests, "Generating", disable_tqdm)

    def _generate_options(self, arguments: dict[str, Any]) -> GenerateOptions:
        wanted = dict(normalize_gen_kwargs(arguments, default_max_gen_toks=self._max_gen_toks))
        samples = wanted.pop("do_sample")
        options = GenerateOptions(
            max_tokens=min(wanted.pop("max_gen_toks"), self.max_length - 1),
            stop=[stop for stop in wanted.pop("until") if stop])
        wanted.setdefault("temperature", 1.0 if samples else 0.0)
        unknown = wanted.keys() - set(_SAMPLING)
        if unknown:
            raise ValueError(f"generation_kwargs that the server does not know: {sorted(unknown)}")
        options.update(wanted)  # type: ignore[typeddict-item]
        return options

    def _loglikelihood_tokens(self, requests: Sequence[_TokenizedPair], disable_tqdm: bool = False,
                              **_: Any) -> list[_Loglikelihood]:
        results: list[_Loglikelihood] = [(0.0, True)] * len(requests)  # so of no tokens at all

        def score(batch: _Batch) -> None:
            context, indices = batch
            scores = self._client.score_continuations(
                context, [requests[index][2] for index in indices], model=self._model.name)
            for index, scored in zip(indices, scores.continuations, strict=True):
                results[index] = (scored.loglik, scored.is_greedy)

        self._at_once(score, self._batches(requests), "Scoring", disable_tqdm)
        for (texts, _context, _continuation), result in zip(requests, results, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, result)
        return results

    def _batches(self, requests: Sequence[_TokenizedPair]) -> list[_Batch]:
        """One call each: continuations of one context, no more of them than the model can hold."""
        batches: list[_Batch] = []
        open_of: dict[tuple[int, ...], tuple[_Batch, int]] = {}  # the last one, and its tokens
        for index, (_texts, context, continuation) in enumerate(requests):
            if not continuation:
                continue
            key = self._fitting(context, continuation)
            batch, tokens = open_of.get(key, ((key, []), self.max_length))
            tokens += len(continuation)
            if tokens > self.max_length or len(batch[1]) == _MAX_CONTINUATIONS:
                batch, tokens = (key, []), len(continuation)
                batches.append(batch)
            batch[1].append(index)
            open_of[key] = batch, tokens
        return batches

    def _fitting(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[int, ...]:
        """The end of the context that the model can hold beside the continuation."""
        room = self.max_length - len(continuation)
        if room < 1:
            raise ValueError(f"a continuation of {len(continuation)} tokens leaves no room for a "
                             f"context; {self._model.name} can hold {self.max_length}")
        return tuple(context[-room:])

    def _tokenize(self, text: str) -> tuple[int, ...]:
        return self._client.tokenize(text, model=self._model.name).token_ids

    def _at_once(self, call: Callable[[T], R], arguments: Iterable[T], what: str,
                 disable_tqdm: bool) -> list[R]:
        """What `call` gives of each, in their order."""
        given = list(arguments)
        with concurrent.futures.ThreadPoolExecutor(self._num_concurrent) as threads:
            return list(tqdm(threads.map(call, given), total=len(given), desc=what,
                             disable=disable_tqdm))


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
