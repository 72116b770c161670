"""Providers on this machine, for tests: behaviour of our own on wire shapes of theirs. Tests alone import it; see README.md beside it."""
