"""The only code with SDKs: the Kubernetes API, the probe of runtimes, metrics. Each implements a port.

They do not import one another; the shell puts them together. kopf is not here: it belongs to the shell.
"""
