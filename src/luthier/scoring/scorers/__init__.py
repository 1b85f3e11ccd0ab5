"""The scorers that ship with Luthier, each with its metric; `luthier.registry` lists their names.

| name | what is compared |
|---|---|
| accuracy, macro-f1 | labels |
| exact-match, token-f1 | short answers, after SQuAD's normalisation |
| rouge-1, rouge-2, rouge-l, chrf, bleu | running text, each on a scale from 0 to 1 |
| regex, regex:PATTERN | the target is a pattern; or one pattern for all examples |
| json-schema, json-fields | extraction: valid at all; right, field by field |
| perplexity | the log-probabilities of targets; lower is better |
| judge(rubric.md) | running text, as a model sees it by a rubric, both orders |
| path/to/file.py:function | a function of your own, (prediction, target) -> number |
"""
