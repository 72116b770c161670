"""The operator's process and a namespace to watch it work in, for tests against a real API server.

There are no nodes: pods are made by the real controllers and `Pods` stands in for kubelet alone, by the status
subresource of the real API. Used by tests of the operator; knows no internals of it but its configuration file.
"""
