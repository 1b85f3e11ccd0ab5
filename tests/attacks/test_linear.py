"""What is nearly the same is found among many texts too, in memory and time that grow with them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter

import pytest

from luthier.task import near_sketches
from luthier.task.near_duplicates import Forms, jaccard
from luthier.task.near_sketches import EXACT_UP_TO, NearTexts


def messages(count, seed=0, words=25):
    rng = random.Random(seed)
    vocabulary = [
        f"{a}{b}{n}" for a in ("ka", "lo", "mi") for b in ("bar", "den") for n in range(300)
    ]
    return [" ".join(rng.choices(vocabulary, k=words)) for _ in range(count)]


def test_what_is_nearly_the_same_is_found_among_many():
    """A word changed in 25, as long as a Jaccard index of 0.8 allows."""
    texts = messages(EXACT_UP_TO + 500)
    forms = Forms(texts)
    near = NearTexts(len(texts), lambda n: forms.body(texts[n]))
    rng = random.Random(1)
    found = missed = 0
    for number in rng.sample(range(len(texts)), 300):
        words = texts[number].split()
        words[rng.randrange(len(words))] = "other"
        body = forms.body(" ".join(words))
        original = forms.body(texts[number])
        score = jaccard(body.characters, original.characters)
        if score < 0.8:
            continue
        found += 1
        missed += near.find(body).get(number) != score
    assert found > 150
    assert missed <= 2  # six of ten thousand at the border, fewer above it


def test_what_is_found_among_many_is_there():
    texts = messages(EXACT_UP_TO + 200)
    forms = Forms(texts)
    near = NearTexts(len(texts), lambda n: forms.body(texts[n]))
    for other in messages(200, seed=9):
        assert near.find(forms.body(other)) == {}
    for number in range(0, len(texts), 50):
        assert near.find(forms.body(texts[number])) == {number: 1.0}


def test_both_ways_agree(monkeypatch):
    texts = messages(300) + messages(300)[::3] + [f"{t} more" for t in messages(300)[::5]]
    forms = Forms(texts)
    bodies = [forms.body(t) for t in texts]
    exact = NearTexts(len(texts), lambda n: bodies[n])
    monkeypatch.setattr(near_sketches, "EXACT_UP_TO", 0)
    many = NearTexts(len(texts), lambda n: bodies[n])
    assert [many.find(b) for b in bodies] == [exact.find(b) for b in bodies]


def test_signatures_are_the_same_in_every_process():
    program = (
        "from luthier.task.near_duplicates import character_shingles, word_shingles\n"
        "from luthier.task.near_sketches import _band_keys\n"
        "print(_band_keys(character_shingles('the same text')).tolist(),"
        " sorted(word_shingles('a b c d'.split())))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


@pytest.mark.parametrize("share", [0.05, 0.1, 0.12, 0.5])
def test_forms_are_those_that_a_full_count_finds(share):
    rng = random.Random(2)
    texts = [
        f"dear sir {t}" if rng.random() < share else t for t in messages(1500, seed=3, words=12)
    ]
    counts = Counter(
        gram for t in texts for gram in set(zip(t.split(), t.split()[1:], strict=False))
    )
    expected = {gram for gram, count in counts.items() if count >= max(20, 0.1 * len(texts))}
    assert Forms(texts).common == expected
