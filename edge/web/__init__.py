"""The page and the HTTP API: a process of its own beside the daemon, which it only talks to.

serve runs it; routes has every address; guard is the way in: host, login, limits; device is the
daemon, through its local socket. One thread, asyncio's; pool has the threads that classify.
"""
