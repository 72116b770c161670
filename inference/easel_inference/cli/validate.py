"""`easel validate`: what is wrong with manifests, without a cluster."""
