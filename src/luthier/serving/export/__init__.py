"""The winner for other programs, scored again before it is called done.

`export_targets` says what a target cannot carry, `merged_model`, `peft_folder`, `gguf_file`,
`ollama_folder` and `vllm_folder` write, `plain_rescoring` and `llama_rescoring` answer the test set
with the exported files alone, `model_card` tells a reader what it is.
"""
