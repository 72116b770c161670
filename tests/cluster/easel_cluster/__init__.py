"""A real Kubernetes on one Linux machine, for tests and demos, without a container engine.

Everything is built once from Go modules pinned in `tests/cluster/go` and kept in a cache folder outside the checkout.
Two shapes:

- API only: etcd and kube-apiserver (and kube-controller-manager when asked) on loopback ports, as any user;
- node: also scheduler, containerd, kubelet, kube-proxy, CoreDNS and an S3 server, as root. The node's half lives in
  network, mount and process namespaces of its own, so that taking it down leaves the machine as it was.

    layout, tools                   where things are; building the programs
    processes                       starting, watching and stopping programs that are surely ours
    pki                             certificates and kubeconfigs
    controlplane, s3, node, network, dns    what the programs are told
    cluster                         up, down, status
    oci, bases, images              stand-in base images and the project's own images
    __main__                        the command line

Only tests, benchmarks and the Makefile use this package. It may import `easel_api.errors`, and nothing else of the project.
"""
