"""A session: one base with one adaptation applied, ready to run rows of tokens.

Virtual tokens stand in rows as ids above the vocabulary: id `vocabulary + v·P + j` is virtual token
j of vote v. So everything that handles rows of ids (prefix sharing, batching, the continuation
tree) handles soft prompts without knowing of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from luthier.engine.chat_template import chat_template
from luthier.engine.special_tokens import as_text
from luthier.engine.tokenization import Tokens, retokenize
from luthier.models.prompt import Rendered


@dataclass(frozen=True, eq=False)
class Session:
    """What `Backend.session` gives: a model, its tokenizer, and what stands before its texts.

    - `module`: the Hugging Face model with weights and adapter applied.
    - `peft`: the PeftModel around it where an adapter is in use, else None.
    - `soft`: the virtual tokens, (V votes, P, H), or None.
    - `placement`: where they stand, as in `VirtualTokens`.
    - `bos_in_prefix`: the prefix of the adapter begins with BOS, so that rows begin without.
    - `head`: further ids (a chat template's own) that the prefix or the virtual tokens stand for.
    """

    module: Any
    tokenizer: Any
    peft: Any = None
    soft: torch.Tensor | None = None
    placement: str = "before"
    bos_in_prefix: bool = False
    head: tuple[int, ...] = ()
    # What was tokenised last, for the next prompt mostly begins alike. It is replaced as a whole,
    # so that threads may share a session.
    _last: list[Tokens] = field(default_factory=list, init=False, repr=False)

    @property
    def device(self) -> torch.device:
        """The device of the module."""
        device: torch.device = self.embeddings.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the embeddings, hence of the activations."""
        dtype: torch.dtype = self.embeddings.weight.dtype
        return dtype

    @property
    def embeddings(self) -> Any:
        """The input embedding layer, (vocabulary, H)."""
        return self.module.get_input_embeddings()

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding table; virtual tokens have ids from here on."""
        return int(self.embeddings.weight.shape[0])

    @property
    def encoder_decoder(self) -> bool:
        """Whether prompts go to an encoder and answers to a decoder."""
        return bool(self.module.config.is_encoder_decoder)

    @property
    def context_length(self) -> int | None:
        """How many positions the base knows, None when it sets no limit."""
        limit = getattr(self.module.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None

    @property
    def text_limit(self) -> int | None:
        """How many tokens of text the context holds beside virtual tokens and an adapter's prefix;
        None when the base sets no limit."""
        if self.context_length is None:
            return None
        virtual = 0 if self.soft is None else int(self.soft.shape[1])
        return self.context_length - virtual - self.prefix_length

    @property
    def votes(self) -> int:
        """How many soft prompts vote; 1 without one."""
        return 1 if self.soft is None else int(self.soft.shape[0])

    @property
    def opening_token(self) -> int:
        """What stands before a text that would have nothing before it: BOS, else EOS, else 0."""
        found = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return next((int(t) for t in found if t is not None), 0)

    @property
    def prefix_length(self) -> int:
        """The tokens of a prefix-tuning adapter, whose keys and values come before every row."""
        if self.peft is None:
            return 0
        config = self.peft.active_peft_config
        return int(config.num_virtual_tokens) if config.peft_type == "PREFIX_TUNING" else 0

    def text(self, prompt: Rendered) -> str:
        """The prompt as one text, the chat template applied where there are messages. Special
        tokens that stand in it are text."""
        if not prompt.messages:
            return as_text(self.tokenizer, prompt.text)
        template = chat_template(self.tokenizer)

        def plain(text: str) -> str:
            return as_text(self.tokenizer, text)

        if template is None:
            return "\n\n".join(plain(m.text) for m in prompt.messages) + "\n\n"
        return template.text(
            prompt.messages, tools=prompt.tools, plain=plain, thought=prompt.thought
        )

    def encode(self, prompt: Rendered) -> list[int]:
        """The ids of a prompt with the special tokens that the model expects, without virtual
        tokens."""
        return self._row(self._tokens(prompt))

    def encode_pair(self, prompt: Rendered, continuation: str) -> tuple[list[int], int]:
        """What `encode_pairs` returns for one continuation."""
        return self.encode_pairs(prompt, [continuation])[0]

    def encode_pairs(
        self, prompt: Rendered, continuations: Sequence[str]
    ) -> list[tuple[list[int], int]]:
        """For each continuation the ids of prompt + continuation tokenised as one text, and where
        the continuation starts.

        A tokenizer may merge across the boundary; then the continuation starts at the first token
        that differs. For an encoder–decoder the continuation is tokenised alone and ends in EOS.
        """
        tokens = self._tokens(prompt)
        ids = self._row(tokens)
        continuations = [as_text(self.tokenizer, text) for text in continuations]
        if self.encoder_decoder:
            targets = [self.tokenizer(text_target=c.strip()).input_ids for c in continuations]
            return [(ids + list(target), len(ids)) for target in targets]
        texts = [tokens.text + c for c in continuations]
        found = []
        for after in retokenize(self.tokenizer, tokens, texts, special=tokens.special):
            joined = self._row(after)
            # `bos_in_prefix` and `head` may have taken their ids from both.
            start = max(0, after.kept - 1 - len(self.head))
            while start < min(len(ids), len(joined) - 1) and ids[start] == joined[start]:
                start += 1
            # After an empty prompt, or one that merged as a whole, it follows an opening token.
            found.append((joined, start) if start else ([self.opening_token, *joined], 1))
        return found

    def insert_virtual(self, ids: Sequence[int], start: int, *, vote: int = 0) -> list[int]:
        """Put the virtual tokens of one vote into a row whose answer starts at `start`.

        Placed "before", they stand at the beginning, after BOS if there is one, for a first token
        that the base has always seen keeps its place; placed "after", just before the answer.
        """
        if self.soft is None:
            return list(ids)
        length = int(self.soft.shape[1])
        first = self.vocabulary + vote * length
        virtual = list(range(first, first + length))
        at = start
        if self.placement == "before":
            bos = self.tokenizer.bos_token_id
            at = 1 if ids and bos is not None and ids[0] == bos else 0
        return [*ids[:at], *virtual, *ids[at:]]

    def embed(self, ids: torch.Tensor, soft: torch.Tensor | None = None) -> torch.Tensor:
        """The embeddings (B, T, H) of ids (B, T), virtual ones included; gradients flow to `soft`,
        which stands in for the session's own virtual tokens."""
        soft = self.soft if soft is None else soft
        real: torch.Tensor = self.embeddings(ids.clamp(max=self.vocabulary - 1))
        if self.encoder_decoder:  # some encoders scale what they look up themselves
            real = real * getattr(self.module.get_encoder(), "embed_scale", 1.0)
        if soft is None:
            return real
        flat = soft.reshape(-1, soft.shape[-1])
        is_virtual = ids >= self.vocabulary
        virtual = flat[(ids - self.vocabulary).clamp(min=0)].to(real.dtype)
        return torch.where(is_virtual.unsqueeze(-1), virtual, real)

    def prefix_cache(self, batch: int) -> Any:
        """The keys and values of a prefix-tuning adapter for `batch` rows, None without one."""
        if self.peft is None:
            return None
        config = self.peft.active_peft_config
        if config.peft_type != "PREFIX_TUNING":
            return None
        cache = self.peft.get_prompt(batch)
        layers = getattr(cache, "self_attention_cache", cache).layers
        whole = all(layer.keys.shape[2] == config.num_virtual_tokens for layer in layers)
        if whole and not any(getattr(layer, "is_sliding", False) for layer in layers):
            return cache
        return self._whole_prefix(batch, config)

    def _whole_prefix(self, batch: int, config: Any) -> Any:
        # PEFT's cache forgets what a sliding window has passed by; here masks say what is seen.
        from transformers import DynamicCache

        length, heads = config.num_virtual_tokens, config.num_attention_heads
        name = self.peft.active_adapter
        flat = self.peft.prompt_encoder[name](self.peft.prompt_tokens[name][:length])
        pairs = flat.view(length, -1, 2, heads, config.token_dim // heads).to(self.dtype)
        cache = DynamicCache()
        for i, pair in enumerate(pairs.permute(1, 2, 3, 0, 4)):
            keys, values = pair.unsqueeze(1).expand(-1, batch, -1, -1, -1)
            cache.update(keys, values, i)
        return cache

    def _tokens(self, prompt: Rendered) -> Tokens:
        templated = bool(prompt.messages and getattr(self.tokenizer, "chat_template", None))
        last = self._last[0] if self._last else None
        found = retokenize(self.tokenizer, last, [self.text(prompt)], special=not templated)
        self._last[:] = found
        return found[0]

    def _row(self, tokens: Tokens) -> list[int]:
        ids = list(tokens.ids)
        if not self.encoder_decoder:
            eos = self.tokenizer.eos_token_id
            if tokens.special and len(ids) > 1 and ids[-1] == eos:
                ids = ids[:-1]  # a causal prompt must stay open
            if not ids:
                ids = [self.opening_token]
            if self.bos_in_prefix and len(ids) > 1 and ids[0] == self.tokenizer.bos_token_id:
                ids = ids[1:]
            at = int(bool(ids) and ids[0] == self.tokenizer.bos_token_id)
            end = at + len(self.head)
            if self.head and len(ids) > end and tuple(ids[at:end]) == self.head:
                ids = ids[:at] + ids[end:]
        return ids
