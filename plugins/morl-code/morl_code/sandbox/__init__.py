"""Confines a process, and runs generated programs in confined processes.

`interface`, `registry`, `client`, `bubblewrap`, `limits` and `probe` run in the trainer.  Everything else runs in
processes of its own: in a *zygote*, which starts once per worker, confines itself, and forks the processes of programs
and of tests; and in those.  The zygote starts without site-packages, so these modules import the standard library only,
and nothing else of this plugin.
"""
