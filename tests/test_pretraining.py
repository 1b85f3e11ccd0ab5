"""The recipe of the embedded model: what can be checked without its data."""

import random

import numpy as np
import pytest
import torch
from pretraining import model as network
from pretraining import optim, sums, train
from pretraining.episodes.piece import Encoded, Piece
from pretraining.episodes.reading import paragraphs, questions
from pretraining.measuring import calls
from pretraining.measuring.reading import matches
from transformers import OPTConfig, OPTForCausalLM


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=40,
        hidden_size=128,
        word_embed_proj_dim=128,
        ffn_dim=96,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=64,
        activation_function="gelu",
        do_layer_norm_before=False,
        dropout=0.0,
    )
    return OPTForCausalLM(config).eval()


def test_the_training_forward_is_that_of_transformers(small):
    x = torch.randint(3, 40, (3, 17))
    first = torch.tensor([0, 5, 40])
    places = first[:, None] + torch.arange(17)[None]
    with torch.inference_mode():
        ours = network.forward(small, x, first)[0] @ small.lm_head.weight.T
        theirs = small(x, position_ids=places).logits
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_part_of_the_forward_stops_at_the_middle_layer(small):
    x = torch.randint(3, 40, (2, 9))
    with torch.inference_mode():
        whole = network.forward(small, x)[1]
        part = network.forward(small, x, part=True)[1]
        states = small(x, output_hidden_states=True).hidden_states
    torch.testing.assert_close(whole, part)
    torch.testing.assert_close(part, states[network.AUXILIARY_LAYER], atol=1e-5, rtol=1e-4)


def test_copying_heads_write_the_row_of_what_they_look_at(small):
    """With a state that tells its token, the fitted values and outputs give that token's row."""
    table = small.get_input_embeddings().weight.detach()
    states = table[torch.randint(0, 40, (500,))]
    network.copy_heads(small, states, torch.eye(128), torch.zeros(128))
    attention = small.model.decoder.layers[network.MATCH_LAYER].self_attn
    with torch.inference_mode():
        copied = attention.v_proj(table)[:, :128] @ attention.out_proj.weight[:, :128].T
        likely = (copied @ table.T).argmax(-1)
    assert (likely == torch.arange(40)).float().mean() > 0.9


def test_a_checkpoint_of_the_optimiser_goes_on_as_if_never_stopped():
    def fresh():
        torch.manual_seed(1)
        named = {"layers.w": torch.nn.Parameter(torch.randn(4, 4)), "bias": torch.zeros(4)}
        named["bias"] = torch.nn.Parameter(named["bias"])
        rates = {"matrix_lr": 1e-2, "other_lr": 1e-2, "embedding_lr": 1e-2}
        return named, optim.create(named, **rates)

    def step(named, optimiser, seed):
        torch.manual_seed(seed)
        x = torch.randn(3, 4)
        (x @ named["layers.w"] + named["bias"]).square().sum().backward()
        optim.step(optimiser, 1.0, 0.5)

    named, optimiser = fresh()
    for seed in range(4):
        step(named, optimiser, seed)
        if seed == 1:
            kept = {n: p.detach().clone() for n, p in named.items()}
            state = {k: v.clone() for k, v in optim.state(optimiser, named).items()}
    again, other = fresh()
    with torch.no_grad():
        for name, p in again.items():
            p.copy_(kept[name])
    optim.restore(other, again, state)
    for seed in (2, 3):
        step(again, other, seed)
    for name in named:
        torch.testing.assert_close(again[name], named[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("request_text", "about", "wanted"),
    [
        ("a rate of 5% for 3 years", {"type": "float"}, "0.05"),
        ("two rolls of 6", {"type": "integer"}, "2"),
        ("a city of 2 million people", {"type": "integer"}, "2000000"),
        ("charges of 1e-9 and 2e-9", {"type": "float"}, "1e-09"),
        ("the gene `BRCA1` in man", {"type": "string"}, '"BRCA1"'),
        ("Sample1: [22,33] and Sample2: [23,45]", {"type": "array"}, "[23, 45]"),
        ("from x=1 to x=3", {"type": "array"}, "[1, 3]"),
        (
            "with apples, pears and plums",
            {"type": "array", "items": {"type": "string"}},
            '["apples", "pears", "plums"]',
        ),
    ],
)
def test_values_that_the_request_offers(request_text, about, wanted):
    assert wanted in calls.candidates(request_text, about)


def test_a_question_stands_around_its_passage_and_its_answer_carries_the_loss():
    draw = random.Random(0)
    forms = set()
    for _ in range(60):
        pieces = paragraphs.laid_out(draw, "", [Piece("It rained in Oslo.")], "Where?", "Oslo")
        assert "".join(p.text for p in pieces if p.weight == 1.0) == " Oslo\n"
        text = "".join(p.text for p in pieces)
        assert "It rained in Oslo." in text
        forms.add(text.count("Where?"))
    assert forms == {1, 2}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # textblob's files
@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        ("Kenyatta visited China in 1964.", {("kenyatta", "visit china"), ("what", "in 1964")}),
        (
            "The name oxygen was coined in 1777 by Antoine Lavoisier.",
            {("who coined", "name oxygen")},
        ),
        ("Ninety-eight people sat in the new hall.", {("what", "people sit")}),
        ("Typical speeds are 3600 revolutions per minute.", {("how many", "revolutions")}),
    ],
)
def test_a_statement_is_turned_round_into_a_question(sentence, wanted):
    asker = questions.Asker(["The chemist Antoine Lavoisier died in Paris."] * 9)
    draw, seen = random.Random(0), set()
    for _ in range(80):
        made = asker.ask(draw, sentence)
        if made is not None:
            answer = sentence[made.first : made.last]
            assert answer == answer.strip()
            assert answer.lower() not in made.text.lower()
            seen.add(made.text.lower())
    for parts in wanted:
        assert any(all(p in text for p in parts) for text in seen), sorted(seen)


def test_exact_match_forgives_articles_and_punctuation():
    assert matches("The Broncos.", ["Broncos"])
    assert not matches("Denver", ["Denver Broncos"])


def test_sums_come_first_and_the_curriculum_fills_what_is_left():
    s = train.Settings(sums_first=0.25, first_progress=0.5)
    assert train.progress_at(0.2, s) == -1.0
    assert train.progress_at(0.25, s) == 0.5
    assert train.progress_at(0.625, s) == pytest.approx(0.75)
    assert train.progress_at(1.0, s) == 1.0


def test_groups_hold_episodes_of_similar_length_and_no_more_than_asked():
    draw = random.Random(0)
    none = np.zeros((0, 2), dtype=np.int64)
    every = [
        Encoded("", np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.float32), none, [])
        for n in (draw.randint(3, 90) for _ in range(60))
    ]
    groups = train.of_similar_length(every, 200)
    assert sorted(len(e.ids) for g in groups for e in g) == sorted(len(e.ids) for e in every)
    assert all(max(len(e.ids) for e in g) * len(g) <= 200 for g in groups)
    assert max(max(len(e.ids) for e in g) - min(len(e.ids) for e in g) for g in groups) < 40


def test_a_text_to_sum_up_has_its_cue_after_it():
    draw = random.Random(3)
    texts = [("where is my card", 7), ("it never came", 2)]
    made = sums.episode(draw, texts, ["lamp", "road", "fern", "salt", "wool", "oak"])
    about = [(made.pieces[i - 1].text, p.about) for i, p in enumerate(made.pieces) if p.about >= 0]
    assert [row for _, row in about] == [7, 2]
    assert all(before.endswith(text) for (before, _), (text, _) in zip(about, texts, strict=True))
