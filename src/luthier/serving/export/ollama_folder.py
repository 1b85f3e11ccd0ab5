"""What Ollama needs: a GGUF file and a Modelfile with the prompt, the parameters and the stops."""

from __future__ import annotations

from pathlib import Path

from luthier.models.model import Model
from luthier.models.prompt import label_text, prompt_head, render
from luthier.serving.export.gguf_file import write_gguf

HERE = "\x00input\x00"


def write_ollama(model: Model, folder: Path) -> str:
    """Write model.gguf and Modelfile to `folder`, and return the commands that run it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_gguf(model, folder / "model.gguf")
    (folder / "Modelfile").write_text(modelfile(model), "utf-8")
    return 'ollama create tuned -f Modelfile\nollama run tuned "…"'


def modelfile(model: Model) -> str:
    """The Modelfile. A base without a chat template gets the prompt as it was measured, in the
    template; one with a template gets the head of the prompt as its system part."""
    prompt, decoding = model.adaptation.prompt, model.adaptation.decoding
    lines = ["FROM ./model.gguf"]
    if model.backend.facts.prefers_chat and prompt.format.style != "plain":
        lines.append(f'SYSTEM """{_quoted(prompt_head(prompt))}"""')
        for shown in prompt.demonstrations if prompt.selection == "all" else ():
            lines.append(f'MESSAGE user """{_quoted(shown.input)}"""')
            answer = _quoted(label_text(shown.target, prompt.format))
            lines.append(f'MESSAGE assistant """{answer}"""')
    else:
        every = prompt.demonstrations if prompt.selection == "all" else ()
        text = render(prompt, HERE, demonstrations=every).text
        template = _quoted(text).replace(HERE, "{{ .Prompt }}")
        lines.append(f'TEMPLATE """{template}"""')
    lines.append(f"PARAMETER temperature {decoding.temperature:g}")
    lines.append(f"PARAMETER num_predict {decoding.max_new_tokens}")
    if model.backend.facts.context_length:
        lines.append(f"PARAMETER num_ctx {model.backend.facts.context_length}")
    for stop in decoding.stop or ():
        lines.append(f'PARAMETER stop "{_escaped(stop)}"')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text between three quotation marks; template braces in it are taken apart."""
    return text.replace('"""', '""\u200b"').replace("{{", "{\u200b{")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
