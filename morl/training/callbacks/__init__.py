"""What happens around the steps: evaluation, sample files, checkpoints, the final model, the live display."""

from morl.training.callbacks.checkpoint import Checkpoints
from morl.training.callbacks.display import LiveDisplay, results_table
from morl.training.callbacks.evaluation import Evaluations
from morl.training.callbacks.export import ExportModel
from morl.training.callbacks.samples import SampleFiles

__all__ = ["Checkpoints", "Evaluations", "ExportModel", "LiveDisplay", "SampleFiles", "results_table"]
