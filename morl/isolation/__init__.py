"""Foreign functions in worker processes, which can be stopped; loads neither torch nor transformers.

>>> with ProcessPool("os.path:basename") as pool:
...     pool.call({"p": "folder/file.txt"})
'file.txt'
"""

from morl.isolation.pool import ProcessPool, WorkerDied

__all__ = ["ProcessPool", "WorkerDied"]
