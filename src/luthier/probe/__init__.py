"""What does the base know? Measured before anything is fitted.

`run_probe` asks every part that it can: how familiar documents are (`familiarity`), where answers
stand word for word in a corpus (`verbatim`), whether a task's test set is in the model
(`contamination`), where it makes things up (`hallucination_map`), what it can do without knowledge
(`skills`), and which techniques to try first (`probe_advice`). Each part is a module with one
function that returns a frozen record; what was not measured in it is None, and `lacks` says why.
"""
