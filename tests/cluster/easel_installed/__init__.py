"""Easel installed on a cluster and used from outside, as its users would: by helm, kubectl and an S3 client.

    chart       helm: lint, render, install
    manifests   objects as a user would write them
    bucket      the bucket that results go to, and the Secret that opens it
    site        one namespace of a cluster in which Easel works
    places      which cluster: this machine's own node, or the one of a kubeconfig
    waiting     conditions with a deadline
    counting    what the engines say they made, over the lives of their pods
    killing     ends a pod as a crash would
    demo        the main job, shown to a person

The end-to-end tests, `make demo-cluster` and the cluster benchmark share it. It may import `easel_cluster` and `easel_api`,
and of `easel_inference` the manifest and the contact sheet; never `easel_operator`.
"""
