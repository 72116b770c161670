"""The worker: one job, from its spec to verified objects in a store; resumable at any point.

    settings    what a pod's environment says
    opening     from a spec to its open store and inputs
    items       a spec's items, with ids that follow from what defines them
    inputs      the pictures a job starts from, checked before anything is made
    ledger      the manifest as a write-ahead log
    attempts    one item: tries, storing, giving up
    verification    whether what came is what was asked
    routes      a job's class and its Providers as a backend
    routed      that backend: who makes an item, and who when that fails
    wallet      what a job may pay over all of its Providers, settled by how a call ends
    purses      what a job may spend at a Provider, by the ledger at the API server
    insights    what clips show, by the indexer of their Provider
    turns       when the next call to a Provider may be made
    worker      the loop over all items
    progress    what is done and how long the rest takes
    report      carries progress to a Reporter: a terminal, or a job's status
    access      the API server, the GenerationJob of this pod and its status, over plain HTTPS
    __main__    the entry point of a worker pod

Called by `cli` and by the worker pod. Imports `backends` and `artifacts`; never torch, the engine or `kubernetes`: a
worker is one pod per job and is to start in under a second.
"""
