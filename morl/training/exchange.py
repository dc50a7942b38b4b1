"""The former place of `morl.runtime.exchange`; plugins import from it."""

from morl.runtime.exchange import Exchange, is_first_rank

__all__ = ["Exchange", "is_first_rank"]
