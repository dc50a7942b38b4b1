"""`morl diagnose`: what an estimator's first step would do to the policy as it is, before anything is trained.

Data goes one way: the command line (`arguments`) -> completions of the initial policy (`run`) -> what each reward and
each pair of them looks like (`measures`), and what each estimator would push up or down (`first_step`) -> words
(`report`).
"""
