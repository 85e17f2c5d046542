"""Source, target, network and operator in one process, on a clock of their own, decided by a seed.

What may live here: a driver like the live one, and who looks on. Rules:

1. The VMs are the production classes, commanded through the production QMP session. What is
   simulated is what surrounds them: time, memory, the network, the operator, accidents.
2. Nothing reads a real clock, the system's randomness, or an order that Python does not promise:
   the same plan gives the same journal, byte for byte, in any process.
3. `plan` says what happens to a migration, `run` lets it happen, `safety` says what must hold at
   every step, `settle` what must be reached once accidents have stopped.
4. `replay` lets a counterexample of the tables happen instead: `trace` is what it is, `told` are
   VMs and a network that wait for a word.
"""
