"""The machinery of the techniques that only change the prompt: no weights move here.

context_window   how much fits into the model's context
token_budget     what an evaluation will cost in tokens, and what is left
evaluator        candidate prompts and how they score on dev examples
answer_log       answers on disk, so that a search that was interrupted does not ask again
calibration      label biases
demonstrations   which solved examples a prompt shows, and in which order
variants         other instructions and formats
halving          many candidates on few examples, then few candidates on many
proposer         a language model that rewrites the instruction
"""
