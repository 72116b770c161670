"""The control plane: decides what the cluster should hold and applies it.

    shell     work queue, cache, settings, leader election, probes         may import everything below
    adapters  Kubernetes API, watches, runtime probe, metrics export       the only code with SDKs; independent of one another
    ports     Protocols and value types
    core      pure: no I/O, no clock, no environment, no randomness

It never imports torch or `easel_inference`, and never reads a tenant's secret.
"""
