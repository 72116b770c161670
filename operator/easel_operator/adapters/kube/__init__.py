"""The Kubernetes API by the `kubernetes` client's asyncio half: plain requests, typed errors, a client-side rate limit.

Objects stay plain JSON: the client's generated models would cost memory and drop fields that they do not know.
"""
