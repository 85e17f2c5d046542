"""The migration engine.

The core in this package is sans-IO: bytes, commands and the time go in, effects and bytes come
out. Sockets, threads, clocks and asyncio live in ``engine.driver`` alone.
"""
