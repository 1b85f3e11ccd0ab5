"""Which words do it? The effect of each term of a prompt on a score, by designed experiments."""

from luthier.scoring.terms.contact_sheet import ContactSheet, SheetRow
from luthier.scoring.terms.effects import Effect, PairEffect, TermEffects
from luthier.scoring.terms.picture_study import (
    USUAL_PICTURES,
    PictureDesign,
    PictureStudy,
    plan_picture_terms,
    study_picture_terms,
)
from luthier.scoring.terms.prompt_terms import Term
from luthier.scoring.terms.term_plan import TermPlan
from luthier.scoring.terms.term_study import (
    COUNTED,
    DESIGNS,
    USUAL_TRIALS,
    TermStudy,
    plan_terms,
    study_terms,
)

__all__ = [
    "COUNTED",
    "DESIGNS",
    "USUAL_PICTURES",
    "USUAL_TRIALS",
    "ContactSheet",
    "Effect",
    "PairEffect",
    "PictureDesign",
    "PictureStudy",
    "SheetRow",
    "Term",
    "TermEffects",
    "TermPlan",
    "TermStudy",
    "plan_picture_terms",
    "plan_terms",
    "study_picture_terms",
    "study_terms",
]
