"""Answers, generated token by token.

- `generate`: requests under one adaptation come in, texts go out.
- `stream`: the text of one request in pieces, as it is generated.
- `decode_loop`: sequences join a batch, take a token a step, and leave it.
- `sequence_state`: one answer, how it is chosen, and what there is of it so far.
- `decoder_batch`, `encoder_decoder_batch`: the sequences of a batch and their key–value caches.
- `choose_tokens`: from logits to one token: votes, guidance, constraint, sampling.
- `constraint`: which tokens a grammar lets come next.
- `plain`: transformers' own generation, the reference.
"""
