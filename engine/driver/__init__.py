"""The live world: the only place with asyncio, sockets, processes, threads, mappings and time.

It carries out what the engine's core asks for and tells it what happened; it decides nothing about
a migration. What a blocking call could hold up runs in a thread; everything else runs on one
asyncio loop, in callbacks that return at once.

    uri -> transport   a migration stream: `connect`, `listen`, `Channel` (channel_socket,
                       channel_pipe, channel_file are its kinds)
    memory             guest RAM: a shared mapping and its digest
    framing -> uplink  a NIC's cable into a switch: Ethernet frames over a stream socket
    framing -> switch  the switch at the other end
    clock              the time, and calls at a later one
"""
