"""A checkpoint of a run as a model that other tools load."""

from morl.export.run import export_run

__all__ = ["export_run"]
