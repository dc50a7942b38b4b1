"""What the plugin adds to vLLM's own worker, inside the engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safetensors import safe_open
from torch import Tensor


class PolicyWorker:
    """Mixed into the engine's worker class (`worker_extension_cls`); never made by itself."""

    model_runner: Any

    def morl_load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> list[str]:
        """Loads a checkpoint in place of the present weights.

        vLLM keeps the old value of a parameter that it is not given, with a warning at most.  Of one that it puts
        together (q, k and v, for example) any part counts as the whole, so whoever sends must have every name, see
        `morl_vllm.weights.check_weights`.

        Args:
            weights: names and tensors as in a checkpoint.

        Returns:
            Parameters of the engine's model that were not loaded: there must be none.
        """
        model = self.model_runner.get_model()
        load, missing = model.load_weights, set[str]()

        def recording(weights: Iterable[tuple[str, Tensor]]) -> set[str]:
            # Only now, while the model is laid open for loading, are its parameters those of its checkpoint.
            missing.update(name for name, _ in model.named_parameters())
            loaded: set[str] = load(weights)
            missing.difference_update(loaded)
            return loaded

        model.load_weights = recording
        try:
            self.model_runner.reload_weights(weights_iterator=weights)
        finally:
            del model.load_weights
        return sorted(missing)

    def morl_load_file(self, path: str) -> list[str]:
        """As `morl_load_weights`, from a file of safetensors."""
        with safe_open(path, framework="pt") as file:
            return self.morl_load_weights((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118

    def morl_set_temperature(self, temperature: float) -> None:
        """Divides the model's logits by this from now on, before the sampler sees them.

        The sampler's own temperature is then 1, and the log-probabilities it returns are those of
        softmax(logits / temperature) before top-k and top-p, which none of vLLM's `logprobs_mode`s gives.
        """
        model = self.model_runner.get_model()
        if not hasattr(model, "morl_temperature"):
            compute = model.compute_logits

            def tempered(*args: Any, **kwargs: Any) -> Any:
                logits = compute(*args, **kwargs)  # None on the ranks of a tensor-parallel engine that do not sample
                return logits if logits is None or model.morl_temperature == 1.0 else logits / model.morl_temperature

            model.compute_logits = tempered
        model.morl_temperature = temperature
