"""Settings that cannot be used are named, with their value and the next step."""

from __future__ import annotations

import pytest

from luthier.errors import TechniqueError
from luthier.techniques.adapter.lora import LoRA
from luthier.techniques.head.linear_probe import LinearProbe
from luthier.techniques.image.picture_lora import PictureLoRA
from luthier.techniques.image.textual_inversion import TextualInversion
from luthier.techniques.preference.ppo_technique import PPO
from luthier.techniques.rag.query_map import QueryMap
from luthier.techniques.rag.raft import RAFT
from luthier.techniques.rag.rag import RAG
from luthier.techniques.soft.soft_prompt import SoftPrompt


@pytest.mark.parametrize(
    ("kind", "settings", "problem", "next_step"),
    [
        (LoRA, {"rank": 0}, "lora: rank=0 must be a whole number of at least 1", "rank=8"),
        (LoRA, {"rank": 8.5}, "lora: rank=8.5 must be a whole number", "rank=8"),
        (PictureLoRA, {"rank": True}, "picture-lora: rank=True must be", "rank=8"),
        (TextualInversion, {"tokens": 0}, "textual-inversion: tokens=0 must be", "tokens=4"),
        (SoftPrompt, {"tokens": 0}, "soft-prompt: tokens=0 must be", "Leave it out."),
        (SoftPrompt, {"votes": None}, "soft-prompt: votes=None must be", "votes=1"),
        (RAFT, {"oracle_share": 2.0}, "number of at least 0 and of at most 1", "oracle_share=0.8"),
        (RAG, {"k": 0}, "rag: k=0 must be a whole number of at least 1", "Leave it out."),
        (RAG, {"mode": "densse"}, "rag: mode='densse' is unknown", "Did you mean 'dense'?"),
        (QueryMap, {"negatives": 0}, "query-map: negatives=0 must be", "negatives=4"),
        (PPO, {"beta": float("nan")}, "ppo: beta=nan must be a number of at least 0", "beta=0.05"),
        (PPO, {"beta": "much"}, "ppo: beta='much' must be a number", "beta=0.05"),
        (LinearProbe, {"penalty": 0}, "linear-probe: penalty=0 must be a number above 0", "Leave"),
    ],
)
def test_a_setting_that_cannot_be_used(kind, settings, problem, next_step) -> None:
    with pytest.raises(TechniqueError) as caught:
        kind(**settings)
    assert problem in caught.value.problem
    assert next_step in caught.value.next_step


def test_the_bounds_themselves_can_be_used() -> None:
    LoRA(rank=1)
    RAG(k=None, shown_passages=0)
    RAFT(oracle_share=0)
    RAFT(oracle_share=1)
    SoftPrompt(tokens=None, init=None)
    LinearProbe(layer=0, penalty=None)
    PPO(beta=0)
