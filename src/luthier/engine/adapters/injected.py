"""An adapter put beside the weights of a base, and removed again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from luthier.engine.adapters.loading import check_config, load_adapter
from luthier.errors import ModelError
from luthier.models.adaptation import Adapter


@contextmanager
def injected(module: Any, adapter: Adapter) -> Iterator[Any]:
    """A PeftModel over `module` with the adapter's weights; the module is as before afterwards."""
    wrapped = inject(module, adapter)
    try:
        yield wrapped
    finally:
        remove(module, wrapped)


def inject(module: Any, adapter: Adapter) -> Any:
    """The PeftModel over `module`, for an adapter that stays in place until `remove`.

    It is no context manager that is left open: Python would close that at its own end, where PEFT's
    progress bar waits for ever for a thread to start.
    """
    import peft

    check_config(adapter.config)
    try:
        config = peft.get_peft_config(dict(adapter.config))
        config.inference_mode = False  # so that a fit can go on from these weights
        with warnings.catch_warnings():
            # PEFT warns of its own calls to Transformers, and that nano has another path than
            # "nano".
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", "The PEFT config's")
            wrapped = peft.get_peft_model(module, config)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ImportError) as error:
        if hasattr(module, "peft_config"):
            del module.peft_config
        raise ModelError(
            f"the adapter cannot be put into this base: {type(error).__name__}: {error}",
            next_step="Open it on the base that it was fitted on, or fit it again.",
        ) from error
    try:
        if adapter.tensors:
            load_adapter(wrapped, adapter)
    except BaseException:
        remove(module, wrapped)
        raise
    wrapped.eval()
    return wrapped


def remove(module: Any, wrapped: Any) -> None:
    """Leave the module as it was."""
    if not wrapped.active_peft_config.is_prompt_learning:
        wrapped.unload()
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    if hasattr(module, "peft_config"):
        del module.peft_config
