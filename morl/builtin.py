"""morl's own parts, offered through the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Mapping

from morl.hookspecs import Factory, hookimpl


@hookimpl
def morl_register_prompt_sources() -> Mapping[str, Factory]:
    return {
        "jsonl": "morl.prompts.jsonl:JsonLines",
        "datasets": "morl.prompts.hub:HubDataset",
        "mixture": "morl.prompts.mixture:Mixture",
    }


@hookimpl
def morl_register_policy_sources() -> Mapping[str, Factory]:
    return {"pretrained": "morl.policy.source:Pretrained"}


@hookimpl
def morl_register_rollout_backends() -> Mapping[str, Factory]:
    return {"transformers": "morl.rollout.transformers:TransformersBackend"}


@hookimpl
def morl_register_reward_providers() -> Mapping[str, Factory]:
    return {
        "regex": "morl.reward.text:RegexReward",
        "tags": "morl.reward.text:TagsReward",
        "length": "morl.reward.text:LengthReward",
        "exact-match": "morl.reward.text:ExactMatchReward",
        "python": "morl.reward.function:FunctionReward",
        "reference-kl": "morl.reward.reference:ReferenceKLReward",
    }


@hookimpl
def morl_register_environments() -> Mapping[str, Factory]:
    return {"tools": "morl.environments.tools:Tools", "python": "morl.environments.python:PythonEnvironment"}


@hookimpl
def morl_register_advantage_estimators() -> Mapping[str, Factory]:
    return {
        "grpo": "morl.advantage:GRPO",
        "grpo-no-std": "morl.advantage:GRPONoStd",
        "gdpo": "morl.advantage:GDPO",
    }


@hookimpl
def morl_register_policy_losses() -> Mapping[str, Factory]:
    return {
        "clipped": "morl.loss:ClippedLoss",
        "gspo": "morl.loss:GSPOLoss",
        "gspo-token": "morl.loss:GSPOTokenLoss",
        "luspo": "morl.loss:LUSPOLoss",
        "cispo": "morl.loss:CISPOLoss",
        "sapo": "morl.loss:SAPOLoss",
        "vespo": "morl.loss:VESPOLoss",
    }


@hookimpl
def morl_register_weightings() -> Mapping[str, Factory]:
    return {"constant": "morl.advantage:ConstantWeighting", "schedule": "morl.advantage:ScheduleWeighting"}


@hookimpl
def morl_register_optimizers() -> Mapping[str, Factory]:
    return {
        "adamw": "morl.optim.optimizer:AdamW",
        "adafactor": "morl.optim.low_memory:Adafactor",
        "adamw-8bit": "morl.optim.low_memory:QuantisedAdamW",
        "muon": "morl.optim.muon:MuonAdamW",
        "torch": "morl.optim.classes:TorchOptimizer",
    }


@hookimpl
def morl_register_schedules() -> Mapping[str, Factory]:
    return {
        "constant": "morl.optim.schedule:Constant",
        "linear": "morl.optim.schedule:Linear",
        "cosine": "morl.optim.schedule:Cosine",
        "cosine-with-restarts": "morl.optim.schedule:CosineWithRestarts",
        "polynomial": "morl.optim.schedule:Polynomial",
        "inverse-sqrt": "morl.optim.schedule:InverseSqrt",
        "wsd": "morl.optim.schedule:WarmupStableDecay",
        "transformers": "morl.optim.transformers_schedule:TransformersSchedule",
    }
