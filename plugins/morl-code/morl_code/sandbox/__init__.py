"""Confines a process, and runs generated programs in confined processes.

Everything here but `client` and `probe` runs in processes of its own: in a *zygote*, which starts once per worker,
confines itself, and forks one process per program and per test; and in those.  The zygote starts without site-packages,
so these modules import the standard library only, and neither morl nor the rest of this plugin.
"""
