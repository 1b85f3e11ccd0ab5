"""The jobs, one file a kind; `benchmarks.__main__` names them."""
