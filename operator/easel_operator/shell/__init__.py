"""The imperative part: the cache, the work queue, leader election, health, and the process that holds them together.

    watches (adapters) ──> cache ──> queue ──> loop: observe -> decide (core) -> act (adapters)

May import everything below; only `__main__` imports it.
"""
