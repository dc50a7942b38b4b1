"""Plugins import some names from where they stood before `morl.runtime`; these still are the same objects."""

from __future__ import annotations

import morl.runtime.exchange
import morl.runtime.parts
import morl.training.exchange
import morl.training.parts


def test_former_places_give_the_same_objects():
    for former, present in (
        (morl.training.exchange, morl.runtime.exchange),
        (morl.training.parts, morl.runtime.parts),
    ):
        for name in former.__all__:
            assert getattr(former, name) is getattr(present, name)
