"""Training, export and loading fit together."""

import dataclasses
import json

import ddl
import export
import pytest
import torch
import train

_TINY = dict(layers=1, hidden=16, heads=2, head_dim=8, embed_kernel=4, steps=4,
             batch=2, length=64, learning_rate=1e-3, weight_decay=0.1,
             warmup=1, levels=(1, 2, 3), answer_weight=10.0, precision="fp32", seed=0)


@pytest.fixture(scope="module")
def tokenizer():
    return train.train_tokenizer(documents=300)


def test_tokenizer_is_deterministic_and_lossless(tokenizer):
    again = train.train_tokenizer(documents=300)
    assert tokenizer.to_str() == again.to_str()
    assert tokenizer.get_vocab_size() <= 1000
    for text in ("Anna is in the kitchen. Where is Anna? Answer: kitchen.", "Überraß 木 🙂\n\t  x"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_answers_weigh_more(tokenizer):
    batches = train.Batches(tokenizer, train.Recipe(variant="additive", **_TINY))
    text = "Where is Anna? Answer: kitchen. It was a cold day."
    ids = tokenizer.encode(text).ids
    heavy = [token for token, weight in zip(ids, batches._weights(ids)) if weight == 10.0]
    assert tokenizer.decode(heavy) == " kitchen"


def test_batches_depend_on_the_step_alone(tokenizer):
    recipe = train.Recipe(variant="additive", **_TINY)
    first, again = train.Batches(tokenizer, recipe)(3), train.Batches(tokenizer, recipe)(3)
    for a, b in zip(first, again):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("variant", ddl.VARIANTS)
def test_an_exported_model_gives_the_same_logits(variant, tmp_path, tokenizer):
    recipe = train.Recipe(variant=variant, **_TINY)
    model = ddl.Decoder(train.model_config(recipe, tokenizer.get_vocab_size()))
    train.initialise(model, 1)
    model = model.bfloat16().float()  # what bf16 can hold
    export.write_model(model, tmp_path, eos_token_id=0)
    loaded = ddl.load(tmp_path)
    tokens = torch.tensor([tokenizer.encode("Anna is in the kitchen.").ids])
    torch.testing.assert_close(loaded(tokens), model(tokens), rtol=0, atol=0)
    assert json.loads((tmp_path / "config.json").read_text())["ddl_variant"] == variant


def test_the_training_command_gives_the_recipe_back(tmp_path, monkeypatch):
    recipe = train.Recipe(variant="ddl_tc", **_TINY)
    values = json.loads(json.dumps(dataclasses.asdict(recipe)))
    command = export.training_command(values).replace("\\\n", " ").split()
    started = []
    monkeypatch.setattr(train, "train", lambda recipe, *_: started.append(recipe) or [])
    monkeypatch.setattr("sys.argv", command[1:])
    train.main()
    assert started == [recipe]


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "evaluate", lambda *_, **__: {"accuracy": 0.0})
    monkeypatch.setattr(train, "heldout_loss", lambda *_: 0.0)
    recipe = train.Recipe(variant="ddl_cc_ec", **_TINY)
    list(train.train(recipe, tmp_path / "whole", "cpu", 1, 2))

    stopped = train.train(recipe, tmp_path / "stopped", "cpu", 1, 2)  # saved at every step
    assert [next(stopped)["step"] for _ in range(3)] == [1, 2, 3]
    stopped.close()
    list(train.train(recipe, tmp_path / "stopped", "cpu", 1, 2))

    whole, _ = export.load_run(tmp_path / "whole")
    resumed, _ = export.load_run(tmp_path / "stopped")
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("done, allowed", [(2, True), (8, False)])
def test_a_run_can_be_prolonged_until_its_learning_rate_falls(done, allowed, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "evaluate", lambda *_, **__: {"accuracy": 0.0})
    monkeypatch.setattr(train, "heldout_loss", lambda *_: 0.0)
    short = train.Recipe(variant="additive", **{**_TINY, "steps": 10})
    run = train.train(short, tmp_path, "cpu", 1, 100)
    for _ in range(done):
        next(run)
    run.close()
    longer = train.train(dataclasses.replace(short, steps=12), tmp_path, "cpu", 1, 100)
    if allowed:
        assert [record["step"] for record in longer] == list(range(done + 1, 13))
    else:
        with pytest.raises(SystemExit, match="decay"):
            next(longer)


def test_a_run_is_not_resumed_by_another_recipe(tmp_path):
    recipe = train.Recipe(variant="additive", **_TINY)
    train.prepare(recipe, tmp_path)
    with pytest.raises(SystemExit, match="another recipe"):
        train.prepare(dataclasses.replace(recipe, seed=1), tmp_path)
