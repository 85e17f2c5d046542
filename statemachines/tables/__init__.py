"""One table per lifecycle: data only, no functions that decide anything.

`conditions.py` names the guards that several tables share. Which tables one VM has, and that they
fit together, is said in `statemachines/system.py`.
"""
