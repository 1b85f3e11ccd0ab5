"""Text from a local model: requests become sequences of tokens, and these become text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from luthier.content import Usage
from luthier.engine.engine_choice import chosen_engine, supports_tree_masks
from luthier.engine.generation.choose_tokens import generator_of
from luthier.engine.generation.constraint import Constraint
from luthier.engine.generation.decode_loop import MOST_ROWS, DecodeLoop
from luthier.engine.generation.plain import generate_plainly
from luthier.engine.generation.sequence_state import SequenceState, end_tokens
from luthier.engine.memory import out_of_memory, too_large
from luthier.engine.request_rows import truncated
from luthier.engine.session import Session
from luthier.engine.shortening import shortened
from luthier.errors import CapabilityError
from luthier.models.adaptation import Adaptation, Decoding
from luthier.models.backend import Generated, GenerateRequest
from luthier.models.grammar import ends_by_itself, grammar_of
from luthier.models.prompt import Rendered, label_text
from luthier.models.tool_formats import call_format, tool_grammar


class RequestSequences(NamedTuple):
    """The sequences of one request, one for each sample, and whether its prompt was cut."""

    sequences: list[SequenceState]
    truncated: bool


def generate(
    session: Session, requests: Sequence[GenerateRequest], adaptation: Adaptation
) -> list[Generated]:
    """One result for each request; greedy at temperature 0, else sampled with the request's seed.

    The input of a prompt that leaves no space for its answer loses its middle; an answer may claim
    at most half the context.
    """
    groups = [sequences_of(session, request, adaptation) for request in requests]
    sequences = [s for group in groups for s in group.sequences]
    if uses_decode_loop(session):
        free = [s for s in sequences if not s.negative_prompts]
        guided = [s for s in sequences if s.negative_prompts]
        computed = _decode(session, free) + _decode(session, guided)
    else:
        computed = sum(generate_plainly(session, s) for s in sequences)
    return _results(groups, computed)


def uses_decode_loop(session: Session) -> bool:
    """Whether answers are generated together by `DecodeLoop`, or one by one by transformers."""
    return chosen_engine() == "tree" and (session.encoder_decoder or supports_tree_masks(session))


def sequences_of(
    session: Session, request: GenerateRequest, adaptation: Adaptation
) -> RequestSequences:
    """The sequences of a request, at their beginning.

    CapabilityError for a constraint on a base without an end token.
    """
    decoding = request.decoding or adaptation.decoding
    labels = [label_text(label, adaptation.prompt.format) for label in decoding.labels]
    grammar = grammar_of(decoding, labels)
    tools = request.prompt.tools
    if tools:
        form = call_format(request.prompt.call_format)
        grammar = tool_grammar(form, tools, decoding, labels) or grammar
    most, max_tokens = _room(session, decoding)
    encoded = session.encode(request.prompt)
    prompt = _shortened(session, request.prompt, encoded, most)
    max_tokens = _left(session, prompt, max_tokens)
    negative: list[int] = []
    if decoding.guidance != 1.0:
        # Without a negative prompt, what is likely after the prompt's last token alone
        # (arXiv:2306.17806, section 2.2).
        negative = prompt[-1:]
        if request.negative is not None:
            negative = _shortened(session, request.negative, session.encode(request.negative), most)
        max_tokens = min(max_tokens, _left(session, negative, max_tokens))
    stop = () if ends_by_itself(decoding) and not tools else decoding.stop
    if tools and request.prompt.call_format != "plain":
        stop = tuple(s for s in stop if s.strip())  # calls have lines
    ends = end_tokens(session, stop)
    if not ends and grammar is not None:
        raise CapabilityError(
            "This model has no end token, without which a constrained answer cannot end",
            next_step="Set eos_token in its tokenizer_config.json.",
        )
    sequences = []
    for k in range(request.samples):
        generator = None
        if decoding.temperature > 0:
            generator = generator_of(prompt, seed=request.seed, sample=k)
        sequences.append(
            SequenceState(
                prompts=_with_virtual(session, prompt),
                negative_prompts=_with_virtual(session, negative) if negative else [],
                max_tokens=max_tokens,
                ends=ends,
                stop=stop,
                temperature=decoding.temperature,
                guidance_scale=decoding.guidance,
                constraint=None if grammar is None else Constraint.of(session, grammar, ends),
                generator=generator,
            )
        )
    return RequestSequences(sequences, prompt != encoded)


def _with_virtual(session: Session, prompt: Sequence[int]) -> list[list[int]]:
    return [session.insert_virtual(prompt, len(prompt), vote=v) for v in range(session.votes)]


def _room(session: Session, decoding: Decoding) -> tuple[int | None, int]:
    """How many tokens a prompt may have (None: as many as it likes), and how many an answer."""
    limit, max_tokens = session.text_limit, decoding.max_new_tokens
    if limit is None:
        return None, max_tokens
    if session.encoder_decoder:  # prompt and answer have a context each
        return max(2, limit), max_tokens
    return max(2, limit - min(max_tokens, limit // 2)), max_tokens


def _shortened(
    session: Session, prompt: Rendered, encoded: list[int], most: int | None
) -> list[int]:
    """The ids of a prompt as it fits into the context: its input loses its middle; where that is
    not enough, the prompt loses its beginning after the first token."""
    if most is None or len(encoded) <= most:
        return encoded
    return truncated(session.encode(shortened(session, prompt, most)), most)


def _left(session: Session, prompt: list[int], max_tokens: int) -> int:
    """How many tokens the context leaves for the answer."""
    limit = session.text_limit
    if limit is None:
        return max_tokens
    left = limit - len(prompt)
    if session.encoder_decoder:
        assert session.context_length is not None
        left = session.context_length
    return max(1, min(max_tokens, left))


def _decode(session: Session, sequences: Sequence[SequenceState]) -> int:
    """Generate the sequences, and return how many tokens were computed. Where memory is short,
    those that are left share smaller batches."""
    most = MOST_ROWS
    while True:
        waiting = [s for s in sequences if not s.finished]
        if not waiting:
            return 0
        try:
            loop = DecodeLoop(session, waiting, most=most)
            while not loop.finished:
                loop.step(session)
            return loop.computed
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if most == 1:
                raise too_large("A single answer") from error
            most //= 2
            for sequence in waiting:
                if not sequence.finished:
                    sequence.restart()


def _results(groups: Sequence[RequestSequences], computed: int) -> list[Generated]:
    """What was computed beyond the generated tokens is charged to requests by their prompts."""
    prompts = [len(group.sequences[0].prompts[0]) for group in groups]
    generated = [sum(len(s.tokens) for s in group.sequences) for group in groups]
    rest, total, before = computed - sum(generated), sum(prompts), 0
    results = []
    for group, prompt, new in zip(groups, prompts, generated, strict=True):
        share = rest * (before + prompt) // total - rest * before // total
        before += prompt
        usage = Usage(prompt, new, share + new, 1, int(group.truncated))
        first, *others = group.sequences
        results.append(
            Generated(
                first.text,
                usage,
                not first.complete,
                tuple(Generated(s.text, Usage(), not s.complete) for s in others),
            )
        )
    return results
