"""The former name of `morl_vllm.server.auth.AuthMiddleware`, which commands that start a server may still give."""

from morl_vllm.server.auth import AuthMiddleware as Door

__all__ = ["Door"]
