"""Do I need a language model at all? Plain references, on the same examples.

plain_reference        what a reference is
commonest_answer       always the same answer
word_classifier        TF-IDF and logistic regression
embedding_classifier   a sentence embedding and logistic regression
best_sentence          the best sentence of the best passage of the documents
suited_references      which of them suit a task
run_references         fit, score and keep them like runs
beside_the_pick        what they say about the verdict
"""

from luthier.compare.references.beside_the_pick import reference_sentence, reference_tests
from luthier.compare.references.run_references import run_references
from luthier.compare.references.suited_references import suited_references

__all__ = ["reference_sentence", "reference_tests", "run_references", "suited_references"]
