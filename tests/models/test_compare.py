"""The table of the six kinds: what is done is kept, and nothing is made up for what is not."""

import dataclasses
import json

import compare
import pytest
import train


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Writes the result of a run, as if it had been trained."""
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compare, "QUESTIONS", 100)
    (tmp_path / "results").mkdir()

    def write(variant, seed, accuracy):
        final = {"accuracy": accuracy, "heldout_loss": 0.5, "parameters": 1000,
                 "by_overwrites": {group: accuracy for group in "1234"}}
        compare.result_file(variant, seed).write_text(json.dumps({"final": final}))

    return write


def test_the_table_says_what_it_is_of_and_what_is_missing(results):
    for seed, accuracy in zip(compare.SEEDS, (0.5, 0.6, 0.7)):
        results("ddl_cc", seed, accuracy)
    results("additive", 0, 0.4)
    table = compare.table(compare.load_results())
    assert "| `ddl_cc` | 3 | 1,000 | 0.500 ± 0.000 | 60.0 ± 10.0 |" in table
    assert "| `additive` | 1 | 1,000 | 0.500 | 40.0 |" in table
    assert "`ddl_tc`" not in table
    assert "Not run yet: additive-1, additive-2, ddl_scalar-0" in table
    assert "ddl_cc-0" not in table


def test_guesses_are_the_corpus_baselines(results):
    baselines = compare.corpus.baselines(count=100)
    assert {strategy: shares["all"] for strategy, shares in compare.guessing().items()} == baselines


def test_what_is_done_is_not_repeated(results, tmp_path, monkeypatch, capsys):
    trained = []

    def train_model(recipe, folder, *_, **__):
        trained.append((recipe.variant, recipe.seed))
        (folder / "metrics.json").write_text("{}")
        return []

    monkeypatch.setattr(train, "train", train_model)
    monkeypatch.setattr(compare, "table", lambda _: "the table")
    results("additive", 0, 0.4)
    scratch = str(tmp_path / "scratch")
    compare.main(["--variants", "additive", "ddl_tc", "--seeds", "0", "1", "--scratch", scratch])
    assert trained == [("ddl_tc", 0), ("additive", 1), ("ddl_tc", 1)]
    assert compare.result_file("ddl_tc", 1).exists()
    assert "the table" in capsys.readouterr().out


def test_kinds_differ_in_the_kind_alone():
    recipes = [dataclasses.replace(compare.recipe(variant, 1), variant="")
               for variant in compare.VARIANTS]
    assert recipes.count(recipes[0]) == len(recipes)
