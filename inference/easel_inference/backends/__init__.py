"""Backends: whoever makes an item, behind one Protocol; one module per wire family.

    base            the Backend protocol
    replicas        which replica of a model takes the next item
    triton          Easel's own runtime over gRPC
    families        from a Provider to its client
    delivered       a provider's picture or clip, checked, measured and encoded
    rest            what HTTP APIs have in common: one paid call, results from where they may lie
    polled          calls that give a handle
    aws, google, entra  accounts and tokens of the clouds
    custom_models   what models of one's own are asked on SageMaker, Vertex AI and Azure ML
    stability_models, openai_fields, runway_models, replicate_inputs  what models are asked, apart from how

and one module for each wire family: `bedrock_invoke`, `bedrock_async`, `sagemaker`, `vertex_generate_content`, `vertex_predict`
(Google's own model there: `vertex_try_on`), `vertex_long_running`, `vertex_interactions`, `openai_images` (of Azure, too), `azureml_score`,
`stability_v2beta`, `runway_tasks`, `bfl_poll`, `fal_queue`, `replicate_predictions`.

Called by `jobs`. A backend takes a `GenerationRequest`, passes on events and returns the result, or raises an error of
the one tree. It imports `serving.wire` for Triton, the values of `routing` and the formats of `artifacts`, and never stores, jobs or the
engine. SDKs are imported when a backend is made.
"""
