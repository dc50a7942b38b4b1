"""From finished runs to a report: what differs between the lines of a study, and what cannot be told apart.

Data goes one way: run folders -> `Run` (`runs`) -> `Results` (`summary`, with `statistics`, `collapse`, `configs`)
-> figures and page.  These are drawn from `Results` alone, so that `results.json` is enough to draw them again.
"""

from morl.analysis.report import require_matplotlib, write_report
from morl.analysis.runs import FailedRun, LabelledRun

__all__ = ["FailedRun", "LabelledRun", "require_matplotlib", "write_report"]
