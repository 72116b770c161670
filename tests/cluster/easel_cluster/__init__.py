"""A real Kubernetes on one Linux machine, for tests and demos, without a container engine.

Everything is built once from Go modules pinned in `tests/cluster/go` and kept in a cache folder outside the checkout.
Two shapes:

- API only: etcd and kube-apiserver (and kube-controller-manager when asked) on loopback ports, as any user;
- node: also scheduler, containerd, kubelet, kube-proxy, CoreDNS and an S3 server, as root. The node's half lives in
  network, mount and process namespaces of its own, so that taking it down leaves the machine as it was.

    layout, pins, tools             where things are; which programs there are; building them
    processes                       starting, watching and stopping programs that are surely ours
    pki                             certificates and kubeconfigs
    controlplane, s3, node(_settings)    what the programs are told
    namespaces, machine             the node's walls, and what it changes outside them
    apionly                         the API server alone, the S3 server alone
    kubectl, debian                 kubectl for one cluster; Debian packages that programs need
    cluster                         up, down, status
    oci, bases, images              stand-in base images and the project's own images
    __main__                        the command line

Only tests, benchmarks and the Makefile use this package. It may import `easel_api.errors`, and nothing else of the project.
"""
