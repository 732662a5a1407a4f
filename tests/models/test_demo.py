"""The shipped models are what their cards say: a pair, small, and one of them good."""

import json

import corpus
import ddl
import pytest
import train
from conftest import MODELS
from tokenizers import Tokenizer

_DEMO = MODELS / "demo"
_KINDS = ("ddl_cc_ec", "additive")
_SHAPE = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim",
          "block_size", "rope_base")


def _load(kind):
    return ddl.load(_DEMO / kind), Tokenizer.from_file(str(_DEMO / kind / "tokenizer.json"))


def test_both_have_the_same_shape_and_tokens():
    configs = [ddl.ModelConfig.from_file(_DEMO / kind / "config.json") for kind in _KINDS]
    assert [config.ddl_variant for config in configs] == list(_KINDS)
    assert len({tuple(getattr(config, key) for key in _SHAPE) for config in configs}) == 1
    assert len({(_DEMO / kind / "tokenizer.json").read_bytes() for kind in _KINDS}) == 1


@pytest.mark.parametrize("kind", _KINDS)
def test_folders_are_small(kind):
    assert sum(path.stat().st_size for path in (_DEMO / kind).iterdir()) <= 8e6


def test_the_delta_model_answers_held_out_questions():
    model, tokenizer = _load("ddl_cc_ec")
    questions = [corpus.question("heldout", 3, index) for index in range(60)]
    assert sum(train.exact_match(model, tokenizer, questions)) >= 54


def test_the_question_that_is_shown_is_answered_rightly():
    model, tokenizer = _load("ddl_cc_ec")
    prompts = json.loads((_DEMO / "prompts.json").read_text(encoding="utf-8"))
    answer = model.generate(tokenizer.encode(prompts["question"]).ids, 4,
                            stop_token=tokenizer.token_to_id("."))
    assert tokenizer.decode(answer) == f" {prompts['answer']}"
    assert prompts["answer"] in prompts["answers"]
