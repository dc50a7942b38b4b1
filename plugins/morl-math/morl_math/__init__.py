"""Mathematics for morl: correctness of final answers, and the usual sets of problems.

>>> from morl_math import final_answer
>>> final_answer("So there are 3 + 4 = 7.  #### 7", mode="number")
'7'
"""

from morl_math.extract import final_answer, reference_answer

__all__ = ["final_answer", "reference_answer"]
