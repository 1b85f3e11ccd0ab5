"""Text from a local model: requests to rows of tokens, written together, and back to text.

`LUTHIER_ENGINE=plain` asks transformers' own `generate`, one request at a time: the reference for
anyone who doubts a text, and the only way for models whose layers keep a state instead of keys and
values. It knows greedy decoding and stop strings, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from luthier.content import Usage
from luthier.engine.engine_choice import chosen_engine, supports_tree_masks
from luthier.engine.generation.constraint import Constraint
from luthier.engine.generation.decode_loop import MOST_ROWS, Generation, decode, ends_of
from luthier.engine.generation.sampling import generator_of
from luthier.engine.prefix_tree.memory import out_of_memory
from luthier.engine.session import Session
from luthier.errors import BackendError, CapabilityError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import Generated, GenerateRequest
from luthier.models.grammar import ends_by_itself, grammar_of
from luthier.models.prompt import label_text


def generate(
    session: Session, requests: Sequence[GenerateRequest], adaptation: Adaptation
) -> list[Generated]:
    """One result for each request; greedy at temperature 0, else sampled with the request's seed.

    A prompt that leaves no room for its answer loses its beginning after the first token; an answer
    may claim at most half the context.
    """
    form = adaptation.prompt.format
    asked = []
    for request in requests:
        decoding = request.decoding or adaptation.decoding
        labels = [label_text(label, form) for label in decoding.labels]
        asked.append(_writings(session, request, decoding, grammar_of(decoding, labels)))
    generations = [w for _, group in asked for w in group]
    if chosen_engine() == "plain" or not (session.encoder_decoder or supports_tree_masks(session)):
        computed = sum(_plain(session, w) for w in generations)
    else:
        apart = [w for w in generations if not w.negative], [w for w in generations if w.negative]
        computed = sum(_written(session, side) for side in apart)
    return _results(session, asked, computed)


def _writings(
    session: Session, request: GenerateRequest, decoding: Decoding, grammar: str | None
) -> tuple[bool, list[Generation]]:
    """Whether the prompt was cut, and one writing for each sample."""
    prompt, room, truncated = _fitted(session, session.encode(request.prompt), decoding)
    negative: list[int] = []
    if decoding.guidance_scale != 1.0:
        # Without a negative prompt, what is likely after the prompt's last token alone
        # (arXiv:2306.17806, section 2.2).
        negative = prompt[-1:] if request.negative is None else session.encode(request.negative)
        negative, other_room, _ = _fitted(session, negative, decoding)
        room = min(room, other_room)
    stop = () if ends_by_itself(decoding) else decoding.stop
    ends = ends_of(session, stop)
    if not ends and grammar is not None:
        raise CapabilityError(
            "This model has no end token, without which a constrained answer cannot end",
            next_step="Set eos_token in its tokenizer_config.json.",
        )
    made = []
    for k in range(request.samples):
        generator = None
        if decoding.temperature > 0:
            generator = generator_of(prompt, seed=request.seed, sample=k)
        made.append(
            Generation(
                rows=_with_virtual(session, prompt),
                negative=_with_virtual(session, negative) if negative else [],
                room=room,
                ends=ends,
                stop=stop,
                temperature=decoding.temperature,
                guidance_scale=decoding.guidance_scale,
                constraint=None if grammar is None else Constraint.of(session, grammar, ends),
                generator=generator,
            )
        )
    return truncated, made


def _with_virtual(session: Session, prompt: Sequence[int]) -> list[list[int]]:
    return [session.insert_virtual(prompt, len(prompt), vote=v) for v in range(session.votes)]


def _fitted(session: Session, prompt: list[int], decoding: Decoding) -> tuple[list[int], int, bool]:
    """The prompt as it fits, tokens left for the answer, and whether the prompt was cut."""
    limit, room = session.context_length, decoding.max_new_tokens
    if limit is None:
        return prompt, room, False
    left = limit - session.prefix_length - (0 if session.soft is None else session.soft.shape[1])
    # Prompt and answer of an encoder–decoder have a context each.
    most = max(2, left if session.encoder_decoder else left - min(room, left // 2))
    truncated = len(prompt) > most
    if truncated:
        prompt = [prompt[0], *prompt[-(most - 1) :]]
    left = limit if session.encoder_decoder else left - len(prompt)
    return prompt, max(1, min(room, left)), truncated


def _written(session: Session, generations: Sequence[Generation]) -> int:
    """Write them; where memory does not suffice, those that are left in smaller company."""
    most = MOST_ROWS
    while True:
        try:
            return decode(session, [w for w in generations if not w.over], most=most)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if most == 1:
                raise BackendError(
                    "A single answer does not fit in memory",
                    next_step="Close other programs, or use a smaller base or shorter inputs.",
                ) from error
            most //= 2
            for generation in generations:
                if not generation.over:
                    generation.begin_again()


def _results(
    session: Session, asked: Sequence[tuple[bool, list[Generation]]], computed: int
) -> list[Generated]:
    """What was computed beyond the written tokens is charged to requests by their prompts."""
    prompts = [len(group[0].rows[0]) for _, group in asked]
    news = [sum(len(w.tokens) for w in group) for _, group in asked]
    rest, total, before = computed - sum(news), sum(prompts), 0
    results = []
    for (truncated, group), prompt, new in zip(asked, prompts, news, strict=True):
        share = rest * (before + prompt) // total - rest * before // total
        before += prompt
        usage = Usage(prompt, new, share + new, 1, int(truncated))
        others = tuple(Generated(w.text, Usage(), not w.whole) for w in group[1:])
        results.append(Generated(group[0].text, usage, not group[0].whole, others))
    return results


def _plain(session: Session, generation: Generation) -> int:
    """The reference: transformers' own generation of one answer."""
    if (
        generation.negative
        or generation.constraint
        or generation.generator
        or len(generation.rows) > 1
    ):
        raise CapabilityError(
            "The plain engine writes greedily: no constraint, guidance, sampling or votes",
            next_step="Unset LUTHIER_ENGINE; recurrent models have no other engine.",
        )
    settings: dict[str, Any] = {
        "max_new_tokens": generation.room,
        "do_sample": False,
        "pad_token_id": session.tokenizer.pad_token_id,
        "eos_token_id": list(generation.ends) or None,
    }
    ids = torch.tensor(generation.rows, device=session.device)
    start = 0  # with embeddings in, only the new tokens come out
    settings["attention_mask"] = torch.ones_like(ids)
    if session.encoder_decoder:
        start = 1
        out = session.module.generate(inputs_embeds=session.embed(ids), **settings)
    elif session.soft is not None:
        if session.prefix_length:
            raise CapabilityError(
                "The plain engine knows no soft prompt beside a prefix adapter",
                next_step="Unset LUTHIER_ENGINE; recurrent models have no other engine.",
            )
        out = session.module.generate(inputs_embeds=session.embed(ids), **settings)
    else:
        start = ids.shape[1]
        runner = session.module if session.peft is None else session.peft
        out = runner.generate(input_ids=ids, **settings)
    for token in out[0, start:].tolist():
        if not generation.over:
            generation.take(session.tokenizer, token)
    return ids.shape[1] + len(generation.tokens)
