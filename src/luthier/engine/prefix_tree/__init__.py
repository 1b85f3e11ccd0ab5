"""Each distinct token once: requests become a tree of tokens, which is planned and run.

In the order in which a scoring call meets them:

- `continuation_tree`: the continuations of one prefix as a tree of tokens.
- `planner`: `PrefixNode`s, whose keys and values are kept, and `PackedRow`s, each of several
  `Segment`s that share one row of a batch.
- `batch_layout`: where the tokens of a packed row stand, and several rows as one `PackedBatch`.
- `shared_cache`, `shared_attention`: how the rows of a batch read one prefix without copying it.
- `read_scores`: log-probabilities out of a batch's logits.
- `run_tree`: the plan, run depth first within the memory that `memory` allows.
"""
