"""From the pydantic models to the CRDs: `python -m easel_api.crdgen [--check]`.

    lowering   a kind's JSON schema (easel_api.schema) -> what an API server takes (structural schema); pure
    bounds     refuses a spec field without bounds, which CEL's cost budget would refuse less clearly; pure
    render     the CustomResourceDefinition around the schema, and its YAML
    __main__   writes the files, or compares them

Only `make crds`, CI and tests call it; nothing at run time does. It imports the kinds and PyYAML, nothing else.
"""
