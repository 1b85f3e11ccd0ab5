"""One answer by transformers' own generation, which the decode loop is checked against.

`LUTHIER_ENGINE=plain` switches it on for anyone who doubts a text, and it is the only way for bases
whose layers keep a state instead of keys and values. It decodes greedily and knows stop strings, no
more.
"""

from __future__ import annotations

from typing import Any

import torch

from luthier.engine.generation.sequence_state import SequenceState
from luthier.engine.session import Session
from luthier.errors import CapabilityError

NEXT_STEP = "Unset LUTHIER_ENGINE; recurrent models have no other engine."


def generate_plainly(session: Session, sequence: SequenceState) -> int:
    """Generate one answer, and return how many tokens were computed.

    CapabilityError for a constraint, guidance, sampling or votes.
    """
    if (
        sequence.negative_prompts
        or sequence.constraint
        or sequence.generator
        or len(sequence.prompts) > 1
    ):
        raise CapabilityError(
            "The plain engine writes greedily: no constraint, guidance, sampling or votes",
            next_step=NEXT_STEP,
        )
    ids = torch.tensor(sequence.prompts, device=session.device)
    settings: dict[str, Any] = {
        "max_new_tokens": sequence.max_tokens,
        "do_sample": False,
        "pad_token_id": session.tokenizer.pad_token_id,
        "eos_token_id": list(sequence.ends) or None,
        "attention_mask": torch.ones_like(ids),
    }
    start = 0  # with embeddings in, only the new tokens come out
    if session.encoder_decoder:
        start = 1
        out = session.module.generate(inputs_embeds=session.embed(ids), **settings)
    elif session.soft is not None:
        if session.prefix_length:
            raise CapabilityError(
                "The plain engine knows no soft prompt beside a prefix adapter",
                next_step=NEXT_STEP,
            )
        out = session.module.generate(inputs_embeds=session.embed(ids), **settings)
    else:
        start = ids.shape[1]
        model = session.module if session.peft is None else session.peft
        out = model.generate(input_ids=ids, **settings)
    for token in out[0, start:].tolist():
        if not sequence.finished:
            sequence.append(session.tokenizer, token)
    return ids.shape[1] + len(sequence.tokens)
