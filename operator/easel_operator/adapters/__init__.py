"""The only code with SDKs: the Kubernetes API and its watches, the probe of runtimes, metrics. Each implements a port.

They do not import one another; the shell puts them together.
"""
