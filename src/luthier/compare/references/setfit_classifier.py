"""SetFit: the sentence encoder learns from pairs of examples, then a logistic regression.

Pairs with the same label move together and others apart (Tunstall et al. 2022, arXiv:2209.11055,
section 3.1); the training is the library's, the classifier on top is that of the other references.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, Any

from luthier.compare.references.plain_reference import FittedReference, PlainReference, whole_text
from luthier.errors import ModelError, from_extra
from luthier.records import FitRecord
from luthier.training.linear_classifier import fit_linear

if TYPE_CHECKING:
    from luthier.task.task import Task

MOST_PAIRS = 4_000  # in all; the library's 20 rounds are for a few examples a label
MOST_ROUNDS = 20
BATCH = 16
SEED = 0


class SetFitClassifier(PlainReference):
    """Reads the vector of a text, from an encoder that was trained for it."""

    def __init__(self, encoder: str, called: str) -> None:
        """`encoder` is the name or the folder of a sentence-transformers model."""
        self.encoder = encoder
        self.name = f"SetFit on {called}"

    def settings(self) -> Mapping[str, Any]:
        """What the training depends on."""
        return {"encoder": self.name, "pairs": MOST_PAIRS, "batch": BATCH}

    def fit(self, task: Task) -> FittedReference:
        """Train the encoder on pairs of the training split, then choose the penalty on dev."""
        require_setfit()
        began = time.perf_counter()
        texts = [whole_text(example) for example in task.train]
        targets = [example.target for example in task.train]
        rounds = max(1, min(MOST_ROUNDS, MOST_PAIRS // (2 * max(1, len(texts)))))
        with quiet(), tempfile.TemporaryDirectory() as folder:
            body = _trained(self.encoder, texts, targets, rounds=rounds, folder=folder)

        def embed(examples: list[str]) -> Any:
            return body.encode(examples, normalize_embeddings=True, show_progress_bar=False)

        dev = [whole_text(example) for example in task.dev]
        train = embed(texts)
        fitted = fit_linear(
            (train, targets), (embed(dev) if dev else train[:0], [e.target for e in task.dev])
        )
        record = FitRecord(
            fit_seconds=time.perf_counter() - began,
            trainable_parameters=fitted.parameters + sum(p.numel() for p in body.parameters()),
            train_examples=len(texts),
            dev_score=fitted.accuracy,
            settled={"rounds of pairs": rounds, "C": fitted.c},
        )
        return FittedReference(
            lambda examples: fitted.predict(embed([whole_text(e) for e in examples])), record
        )


def require_setfit() -> None:
    """ModelError where the library is not installed."""
    with from_extra("setfit", "SetFit is not installed", kind=ModelError):
        import setfit  # noqa: F401


def _trained(
    encoder: str, texts: list[str], targets: list[str], *, rounds: int, folder: str
) -> Any:
    """The sentence-transformers model after its training on pairs."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression

    body = SentenceTransformer(encoder, device="cpu", trust_remote_code=False)
    if len(set(targets)) < 2:
        return body  # no pair of different labels
    arguments = TrainingArguments(
        output_dir=folder, batch_size=BATCH, num_epochs=1, num_iterations=rounds, seed=SEED,
        report_to="none", save_strategy="no", show_progress_bar=False,
    )  # fmt: skip
    trainer = Trainer(
        model=SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=300)),
        args=arguments,
        train_dataset=Dataset.from_dict({"text": texts, "label": targets}),
    )
    trainer.train()
    return body


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and messages of the libraries."""
    import warnings

    loggers = [logging.getLogger(name) for name in ("setfit", "datasets", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
