"""The corpus: deterministic, split cleanly, and not to be guessed."""

import itertools

import corpus
import pytest


def _documents(split, seed, count, **options):
    return list(itertools.islice(corpus.documents(split, seed, **options), count))


def test_equal_arguments_give_equal_text():
    assert _documents("train", 3, 50) == _documents("train", 3, 50)
    assert corpus.question("heldout", 1, 7) == corpus.question("heldout", 1, 7)


def test_documents_can_start_anywhere():
    assert _documents("train", 3, 5, start=10) == _documents("train", 3, 15)[10:]


def test_seeds_and_splits_differ():
    texts = [tuple(_documents(*which, 20)) for which in
             (("train", 1), ("train", 2), ("heldout", 1))]
    assert len({text for group in texts for text in group}) == 60


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="validation"):
        corpus.question("validation", 0, 0)


def test_training_never_puts_a_person_in_a_withheld_place():
    kind = corpus.KIND_BY_NAME["place"]
    told = [template.split("{v}")[0] for template in kind.first + kind.change]
    forbidden = {prefix.format(e=person, o=old, p=other) + place
                 for person, place in itertools.product(corpus.PEOPLE, corpus.PLACES)
                 if corpus.is_withheld(person, place)
                 for prefix in told
                 for old in (corpus.PLACES if "{o}" in prefix else ("",))
                 for other in (corpus.PEOPLE if "{p}" in prefix else ("",))}
    for text in _documents("train", 5, 400):
        for sentence in text.split(". "):
            assert sentence not in forbidden


def test_held_out_questions_ask_for_withheld_pairs_too():
    asked = [corpus.question("heldout", 1, index, kind="place") for index in range(200)]
    assert 20 <= sum(question.withheld for question in asked) <= 100


def test_questions_are_as_difficult_as_asked_for():
    for index in range(200):
        asked = corpus.question("heldout", 1, index)
        assert 1 <= asked.overwrites <= 4
        assert asked.distractors >= 4
        assert asked.answer in asked.candidates
        assert asked.prompt.endswith("Answer:")
    harder = corpus.Difficulty(overwrites=(6, 6), min_distractors=8, tail=(5, 5))
    asked = corpus.question("heldout", 1, 0, harder)
    assert asked.overwrites == 6 and asked.distractors >= 8


def test_guessing_is_right_at_most_two_times_in_five():
    for strategy, share in corpus.baselines(count=1000).items():
        assert share <= 0.4, strategy


def test_the_answer_is_the_last_value_told_of_the_entity():
    """Replays places from the text alone."""
    for index in range(100):
        asked = corpus.question("heldout", 2, index, kind="place")
        story, query = asked.prompt.rsplit(". ", 1)
        entity = next(person for person in corpus.PEOPLE if person in query)
        named = []
        for sentence in story.split(". "):
            places = [word for word in sentence.split() if word in corpus.PLACES]
            bystander = sentence.startswith("Later") and f"saw {entity}" not in sentence
            if entity in sentence and places and not bystander:
                named.append(places[-1])
        assert asked.answer == named[-1]
