"""Backends: whoever makes an item, behind one Protocol; one module per wire family.

    base            the Backend protocol
    replicas        which replica of a model takes the next item
    triton          Easel's own runtime over gRPC
    families        from a Provider to its client
    delivered       a provider's picture, checked, measured and encoded
    aws             what AWS' services have in common
    stability_models  what Stability AI's models are asked, whoever serves them
    bedrock_invoke  Stability AI's models on Amazon Bedrock
    rest            what the HTTP APIs of other providers have in common
    stability_v2beta  Stability AI's own API

Called by `jobs`. A backend takes a `GenerationRequest`, passes on events and returns the result, or raises an error of
the one tree. It imports `serving.wire` for Triton, the values of `routing` and the formats of `artifacts`, and never stores, jobs or the
engine. SDKs are imported when a backend is made.
"""
