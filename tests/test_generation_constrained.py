"""Constraints, guidance, samples and votes."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import jsonschema
import pytest
import torch

import luthier
from luthier.content import Response
from luthier.errors import CapabilityError, TechniqueError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import GenerateRequest
from luthier.models.parsing import voted
from luthier.models.prompt import Prompt, Rendered
from tests import tiny

CALL = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Łódź", "New York"]},
        "days": {"enum": [1, 3, 14]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
    },
    "required": ["city", "days", "tags"],
    "additionalProperties": False,
}
ASKED = [GenerateRequest(Rendered(text=f"Input: {i}\nLabel:"), s) for s, i in enumerate("abcdef")]


@pytest.fixture(scope="module")
def backends():
    made = {family: tiny.backend(family) for family in ("llama", "gpt2", "opt", "gemma3", "t5")}
    return {**made, "nano": luthier.load("nano").backend}


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3", "t5", "nano"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_json_holds_to_its_schema(backends, family, temperature):
    decoding = Decoding(json_schema=CALL, max_new_tokens=90, temperature=temperature)
    for made in backends[family].generate(ASKED, Adaptation(decoding=decoding)):
        jsonschema.validate(json.loads(made.text), CALL)
        assert not made.cut


def test_a_regex_is_matched_and_what_is_cut_says_so(backends):
    for pattern in (r"[0-9]{2}/[a-c]+", r"^(yes|no), \$\d$"):
        decoding = Decoding(regex=pattern, max_new_tokens=12, temperature=1.0)
        for made in backends["llama"].generate(ASKED, Adaptation(decoding=decoding)):
            assert made.cut or re.fullmatch(pattern, made.text)
    short = Decoding(regex="a{9}b{9}", max_new_tokens=3)
    assert all(g.cut for g in backends["llama"].generate(ASKED, Adaptation(decoding=short)))


def test_labels_are_generated_where_one_is_a_prefix_of_another(backends):
    labels = ("b", "billing", "c/d - (e)")
    decoding = Decoding(labels=labels, temperature=1.0)
    many = [replace(ASKED[0], samples=24)]
    made = backends["llama"].generate(many, Adaptation(decoding=decoding))[0]
    texts = {made.text, *(o.text for o in made.others)}
    assert texts <= set(labels)
    assert len(texts) > 1


def test_cut_json_is_reported_as_not_parsed(backends):
    model = luthier.models.model.Model(backends["llama"])
    answer = model.adapt(decoding=Decoding(json_schema=CALL, max_new_tokens=4)).answer(
        [luthier.Example("a", "x", "")]
    )[0]
    assert answer.parsed is None
    assert not answer.parseable


def test_guidance_is_the_formula(backends):
    backend, scale = backends["llama"], 2.5
    negative = Rendered(text="Say nothing of use.\nLabel:")
    request = replace(ASKED[1], negative=negative)
    decoding = Decoding(max_new_tokens=6, stop=(), guidance_scale=scale)
    made = backend.generate([request, *ASKED], Adaptation(decoding=decoding))[0]
    with backend.session(Adaptation()) as session, torch.inference_mode():
        rows = [session.encode(request.prompt), session.encode(negative)]
        new: list[int] = []
        for _ in range(6):
            given, away = (
                session.module(torch.tensor([r + new])).logits[0, -1].log_softmax(-1) for r in rows
            )
            new.append(int((away + scale * (given - away)).argmax()))
        expected = session.tokenizer.decode(new, skip_special_tokens=True).strip()
    assert made.text == expected
    plain = backend.generate([request], Adaptation(decoding=replace(decoding, guidance_scale=1.0)))
    assert plain[0].text != expected


def test_the_negative_part_guides_an_answer(backends):
    decoding = Decoding(max_new_tokens=8, stop=())
    model = luthier.models.model.Model(backends["llama"])
    prompt = Prompt(instruction="Answer.", negative="long words")
    example = [luthier.Example("a", "where is my parcel", "")]
    said = [
        model.adapt(prompt=prompt, decoding=replace(decoding, guidance_scale=s)).answer(example)
        for s in (1.0, 4.0)
    ]
    assert said[0][0].text != said[1][0].text


def test_samples_differ_repeat_and_do_not_depend_on_company(backends):
    backend = backends["llama"]
    adaptation = Adaptation(decoding=Decoding(max_new_tokens=6, stop=(), temperature=1.0))
    five = replace(ASKED[0], samples=5)
    made = backend.generate([five], adaptation)[0]
    texts = [made.text, *(o.text for o in made.others)]
    assert len(texts) == 5
    assert len(set(texts)) > 1
    again = backend.generate([*ASKED[1:], five], adaptation)[-1]
    assert [again.text, *(o.text for o in again.others)] == texts
    assert backend.generate([replace(five, samples=1)], adaptation)[0].text == texts[0]
    other = backend.generate([replace(five, seed=7)], adaptation)[0]
    assert [other.text, *(o.text for o in other.others)] != texts
    # One prefill: five samples compute the prompt once.
    assert made.usage.computed_tokens <= made.usage.prompt_tokens + made.usage.generated_tokens


def test_the_commonest_answer_wins_and_the_unread_do_not_vote():
    said = [None, "Paris.", "Rome", "paris", None, None]
    answers = [Response(t or "", t, t is not None) for t in said]
    assert voted(answers).parsed == "Paris."
    assert voted([Response(t, t, True) for t in ("-5", "5", "-5")]).parsed == "-5"
    assert voted(answers[:1] * 3).parsed is None


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"stop": ("",)}, "stop"),
        ({"votes": 3}, "temperature 0"),
        ({"regex": "("}, "does not compile"),
        ({"regex": "(?=a)b"}, "look-around"),
        ({"json_schema": "{"}, "not JSON"),
        ({"json_schema": {"type": "strin"}}, "not a valid JSON schema"),
        ({"json_schema": {"$ref": "http://x/y"}}, "cannot be followed"),
        ({"json_schema": CALL, "regex": "a"}, "twice"),
    ],
)
def test_bad_settings_are_told_before_any_weights_load(settings, part):
    with pytest.raises(TechniqueError, match=re.escape(part)) as caught:
        Decoding(**settings)
    assert caught.value.next_step
    assert caught.value.exit_code == 2


def test_guidance_beside_labels_is_refused(backends):
    model = luthier.models.model.Model(backends["llama"])
    with pytest.raises(CapabilityError, match="guidance_scale"):
        model.adapt(decoding=Decoding(labels=("a", "b"), guidance_scale=2.0)).ask("x")


def test_a_decoding_survives_the_disk(tmp_path, backends):
    from luthier.models.storage import open_adaptation

    model = luthier.models.model.Model(backends["llama"])
    decoding = Decoding(json_schema=CALL, guidance_scale=1.5, votes=3, temperature=0.7)
    model.adapt(decoding=decoding).save(tmp_path / "a")
    assert open_adaptation(tmp_path / "a")[0].decoding == decoding
    hash(decoding)


def test_a_task_with_a_schema_is_written_under_it_unless_told_otherwise(backends):
    rows = [(f"note {i}", json.dumps({"city": "Paris", "days": 3, "tags": []})) for i in range(30)]
    keys = {"name": "t", "instruction": "Extract.", "kind": "extract", "schema": CALL}
    task = luthier.Task.from_examples(rows, **keys)
    free = luthier.Task.from_examples(rows, **keys, unconstrained=True)
    assert free.base_decoding().json_schema is None
    assert task.fingerprint != free.fingerprint
    model = luthier.models.model.Model(backends["llama"])
    results = [
        luthier.evaluate(
            model.adapt(
                prompt=t.base_prompt(), decoding=replace(t.base_decoding(), max_new_tokens=90)
            ),
            t,
        )
        for t in (task, free)
    ]
    assert results[0].parse_rate.value == 1.0
    assert results[1].parse_rate.value == 0.0


def test_tokens_of_a_unigram_vocabulary_without_bytes_are_read(backends):
    """As in T5: a sentencepiece vocabulary, spaces written as signs, no byte fallback."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<pad>", "<unk>", "</s>", "▁", "▁yes", "▁no", "yes", "n", "o", ",", "a", "b"]
    inner = Tokenizer(models.Unigram([(p, -float(i)) for i, p in enumerate(pieces)], unk_id=1))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    from luthier.engine.local_backend import LocalBackend

    backend = LocalBackend(tiny.backend("t5").module, words, name="unigram", fingerprint="0" * 64)
    decoding = Decoding(regex="yes, no|no,(a|b)", max_new_tokens=8, temperature=1.0)
    for made in backend.generate(ASKED, Adaptation(decoding=decoding)):
        assert made.text in ("yes, no", "no,a", "no,b")
        assert not made.cut
