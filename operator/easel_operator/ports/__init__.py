"""What the operator needs of the world, as Protocols and the values and errors that cross them.

Each is implemented once in `adapters` and used by the shell. Only the core may be imported here.
"""
