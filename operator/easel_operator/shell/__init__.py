"""The imperative part: watches, the work queue, leader election, health, and the process that holds them together.

    kopf thread ── watching ──> cache ──> queue ──> loop: observe -> decide (core) -> act (adapters)

kopf is used at the edge alone, for lists and watches: no handlers of changes, no timers, no finalizers, nothing of its
own written to anybody's objects. May import everything below; only `__main__` imports it.
"""
