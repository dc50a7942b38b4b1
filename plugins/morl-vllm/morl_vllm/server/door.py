"""The former place of `AuthMiddleware`; commands of servers name it."""

from morl_vllm.server.auth import Door

__all__ = ["Door"]
