"""The facts: small frozen records that every room shares. No behaviour beyond arithmetic.

Units stand in the names. What was not measured is None, never zero.
"""

from luthier.records.capability import Capability
from luthier.records.example import Example, Kind, Recording, Transcripts
from luthier.records.fit_record import (
    Budget,
    FitRecord,
    FitStep,
    HelperUse,
    Lineage,
    StepRecord,
    TrainingFacts,
)
from luthier.records.scores import EvalResult, PairedTest, SampleScore, Score

__all__ = [
    "Budget",
    "Capability",
    "EvalResult",
    "Example",
    "FitRecord",
    "FitStep",
    "HelperUse",
    "Kind",
    "Lineage",
    "PairedTest",
    "Recording",
    "SampleScore",
    "Score",
    "StepRecord",
    "TrainingFacts",
    "Transcripts",
]
