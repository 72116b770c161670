"""Easel installed on a cluster and used from outside, as its users would: by helm, kubectl and an S3 client.

    chart      helm: lint, render, install
    bucket     the bucket that results go to, and the Secret that opens it
    site       a cluster with Easel installed in a namespace
    waiting    conditions with a deadline
    counting   what the engines say they made, over the lives of their pods
    demo       the main job, shown to a person

The end-to-end tests, `make demo-cluster` and the cluster benchmark share it. It may import `easel_cluster` and `easel_api`,
and of `easel_inference` the judge and the contact sheet; never `easel_operator`.
"""
