"""The machinery of the techniques that only change the prompt: no weights move here.

start          the prompt and decoding a model brings along, or the task's
room           how much fits into the model's context
token_budget          tokens: what an evaluation will cost, what is left
bench          candidates and how they do on dev examples
calibration    label biases
demonstrations sets of solved examples
candidates     instructions and formats
halving        many candidates, few examples; few candidates, many examples
proposer         a language model that rewrites the instruction
"""
