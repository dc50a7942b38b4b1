"""SmolLM2-135M-Instruct as a policy: a real model, with its tokenizer and chat template, from a Python package."""
