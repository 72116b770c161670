"""Results at rest: where they go, what they are called, and the manifest that says what each one is.

    keys        names of objects in a store, from names alone
    stores      the Store protocol: what a folder and a bucket have in common
    directory   a folder, and a PersistentVolumeClaim, which is one
    s3          a bucket of any S3 endpoint
    manifest    the typed manifest.json of a job
    headers     size and frames of a picture or clip, read from its header
    encoding    frames to bytes, used by the engine

Called by `jobs`, `cli` and the engine (encoding alone). Imports neither backends nor torch, and botocore only once a
bucket is opened: a job that writes to a volume does not pay for it.
"""
