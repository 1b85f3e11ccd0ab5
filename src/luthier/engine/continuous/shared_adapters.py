"""What lets adaptations of one base stand in one batch: numbers for LoRA adapters, a table for soft
prompts, and the keys and values that a prefix begins with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from luthier.engine.adapters.batched_lora import BatchedLoRA, shares_batches
from luthier.engine.adapters.injected import injected
from luthier.engine.prefix_tree.shared_cache import KeyValues, key_values_of
from luthier.engine.session import Session
from luthier.models.adaptation import Adaptation, Adapter


@dataclass(frozen=True, slots=True)
class PrefixFacts:
    """Stands for the PeftModel of a prefix in a session: only its configuration is asked for."""

    active_peft_config: Any


@dataclass(frozen=True, slots=True, eq=False)
class SharedEntry:
    """One adaptation in the batch.

    **Fields**

    - `session`: encodes its prompts; nothing runs in it.
    - `number`: its LoRA adapter, 0 for none.
    - `offset`: where its virtual tokens stand in the table.
    - `start`: the keys and values that come before every row of a prefix; empty elsewhere.
    - `root`: equal for adaptations whose rows may share keys and values.
    - `held`: the adapter and the soft prompt, so that their identities are not given away.
    """

    session: Session
    number: int
    offset: int
    start: KeyValues
    root: tuple[int, int]
    held: tuple[Any, Any]

    def moved(self, ids: list[int]) -> list[int]:
        """The ids with virtual tokens where they stand in the table."""
        vocabulary = self.session.vocabulary
        return [i + self.offset if i >= vocabulary else i for i in ids]


class SharedAdapters:
    """The adaptations that were seen so far, by what of them the base must know."""

    def __init__(self, module: Any, tokenizer: Any) -> None:
        self._module, self._tokenizer = module, tokenizer
        self._entries: dict[tuple[int, int], SharedEntry] = {}
        self._adapters: list[Adapter] = []
        self._table: list[torch.Tensor] = []
        self._lora = BatchedLoRA(module, [])
        self._stacked = 0  # adapters that `_lora` has
        self.together = Session(module, tokenizer)  # with all virtual tokens

    @staticmethod
    def accepts(adaptation: Adaptation) -> bool:
        """Whether an adaptation can share a batch: a fork, a head, several soft prompts that vote,
        and adapters other than plain LoRA and prefixes cannot."""
        adapter, soft = adaptation.adapter, adaptation.soft_prompt
        if adaptation.weights is not None or adaptation.head is not None:
            return False
        if soft is not None and (soft.tensor.shape[0] > 1 or adapter is not None):
            return False
        return adapter is None or shares_batches(adapter) or _is_prefix(adapter)

    def entry(self, adaptation: Adaptation) -> SharedEntry:
        """The entry of an adaptation, made when it is first seen."""
        adapter, soft = adaptation.adapter, adaptation.soft_prompt
        key = (id(adapter), id(soft))
        found = self._entries.get(key)
        if found is None:
            found = self._entries[key] = self._made(adapter, soft, key)
        return found

    @property
    def lora(self) -> BatchedLoRA:
        """All LoRA adapters by now; many that came together are stacked once."""
        if self._stacked < len(self._adapters):
            self._lora, self._stacked = (
                BatchedLoRA(self._module, self._adapters),
                len(self._adapters),
            )
        return self._lora

    def _made(self, adapter: Adapter | None, soft: Any, key: tuple[int, int]) -> SharedEntry:
        session, number, offset = Session(self._module, self._tokenizer), 0, 0
        start: KeyValues = {}
        root = (0, 0)
        if soft is not None:
            like = session.embeddings.weight
            tensor = soft.tensor.to(device=like.device, dtype=torch.float32)
            session = replace(session, soft=tensor, placement=soft.placement, head=soft.head)
            offset = sum(len(t) for t in self._table)
            self._table.append(tensor.flatten(0, 1))
            self.together = replace(self.together, soft=torch.cat(self._table).unsqueeze(0))
        if adapter is not None:
            if _is_prefix(adapter):
                start, config = self._prefix(adapter)
                session = replace(
                    session,
                    peft=PrefixFacts(config),
                    bos_in_prefix=adapter.starts_with_bos,
                    head=adapter.head + session.head,
                )
            else:
                self._adapters.append(adapter)
                number = len(self._adapters)
            root = key
        return SharedEntry(session, number, offset, start, root, (adapter, soft))

    def _prefix(self, adapter: Adapter) -> tuple[KeyValues, Any]:
        """The keys and values of a prefix, and its configuration."""
        with injected(self._module, adapter) as wrapped, torch.inference_mode():
            session = Session(self._module, self._tokenizer, wrapped)
            return key_values_of(session.prefix_cache(1)), wrapped.active_peft_config


def _is_prefix(adapter: Adapter) -> bool:
    return adapter.config.get("peft_type") == "PREFIX_TUNING" and bool(adapter.tensors)
