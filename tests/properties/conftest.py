"""The same examples on every run, however slow the machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "morl",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("morl")
