"""What happens around the steps: signals, metrics, evaluation, samples, checkpoints, the final model, the display."""

from morl.training.callbacks.checkpoint import Checkpoints
from morl.training.callbacks.display import LiveDisplay, results_table
from morl.training.callbacks.evaluation import Evaluations
from morl.training.callbacks.export import ExportModel
from morl.training.callbacks.metrics_rows import MetricsRows
from morl.training.callbacks.samples import SampleFiles
from morl.training.callbacks.stopping import Stopping
from morl.training.callbacks.watch import Watch

__all__ = [
    "Checkpoints",
    "Evaluations",
    "ExportModel",
    "LiveDisplay",
    "MetricsRows",
    "SampleFiles",
    "Stopping",
    "Watch",
    "results_table",
]
