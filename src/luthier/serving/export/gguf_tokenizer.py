"""A tokenizer as GGUF keeps it."""

from __future__ import annotations

import json
from typing import Any

from luthier.errors import CapabilityError

NORMAL, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 3, 4, 5, 6
# How a text is split before merges, by the pattern in tokenizer.json: llama.cpp's names for them.
PATTERNS = {
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "llama-bpe",
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+": "qwen2",
}


def write_tokenizer(writer: Any, tokenizer: Any, size: int) -> None:
    """Write the vocabulary of `size` tokens, the merges or scores, and the special tokens.

    CapabilityError for a tokenizer that llama.cpp does not know.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    whole = json.loads(backend.to_str()) if backend is not None else {}
    inner = whole.get("model", {})
    if inner.get("type") != "BPE":
        raise CapabilityError(
            f"--to gguf cannot carry this tokenizer, of the type {inner.get('type')!r}",
            next_step="Choose --to merged: plain Transformers opens any tokenizer.",
        )
    pieces = bool(inner.get("byte_fallback"))
    names = {i: text for text, i in tokenizer.get_vocab().items()}
    special = set(tokenizer.all_special_ids)
    added = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items()}
    tokens, kinds = [], []
    for i in range(size):
        text = added.get(i, names.get(i))
        kind = NORMAL
        if text is None:
            text, kind = f"[PAD{i}]", UNUSED
        elif i in special:
            kind = CONTROL
        elif i in added:
            kind = USER_DEFINED
        elif pieces and len(text) == 6 and text.startswith("<0x"):
            kind = BYTE
        tokens.append(text.encode("utf-8"))
        kinds.append(kind)
    writer.add_tokenizer_model("llama" if pieces else "gpt2")
    writer.add_tokenizer_pre("default" if pieces else splitting(whole))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if pieces:
        writer.add_token_scores([-float(i) for i in range(size)])
        writer.add_add_space_prefix(_adds_space(whole))
    else:
        merges = inner["merges"]
        writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    for name in ("bos", "eos", "pad", "unk"):
        number = getattr(tokenizer, f"{name}_token_id", None)
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    first = tokenizer("a").input_ids[:1]
    writer.add_add_bos_token(
        tokenizer.bos_token_id is not None and first == [tokenizer.bos_token_id]
    )
    writer.add_add_eos_token(False)
    if getattr(tokenizer, "chat_template", None):
        writer.add_chat_template(tokenizer.chat_template)


def splitting(whole: dict[str, Any]) -> str:
    """llama.cpp's name for how a byte-level tokenizer splits. CapabilityError where it has none."""
    found = whole.get("pre_tokenizer") or {}
    parts = found.get("pretokenizers", [found])
    patterns = [p["pattern"].get("Regex", "") for p in parts if p.get("type") == "Split"]
    if not patterns and any(
        p.get("type") == "ByteLevel" and p.get("use_regex", True) for p in parts
    ):
        return "gpt-2"
    if len(patterns) == 1 and patterns[0] in PATTERNS:
        return PATTERNS[patterns[0]]
    raise CapabilityError(
        f"--to gguf cannot carry this tokenizer: llama.cpp does not split texts as it does "
        f"({', '.join(patterns) or found.get('type')})",
        next_step="Choose --to merged: plain Transformers opens any tokenizer.",
    )


def _adds_space(whole: dict[str, Any]) -> bool:
    return "Prepend" in json.dumps(whole.get("normalizer") or {}) or (
        (whole.get("pre_tokenizer") or {}).get("prepend_scheme") in ("always", "first")
    )
