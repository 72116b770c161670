"""The contract: the kinds of `easel.dev/v1alpha1`, the error tree, and the lowering to CRDs.

Each kind is a pydantic model in a file of its own and the only source of its CRD: `easel_api.crdgen` lowers
the models to structural schemas with CEL rules, and `make crds` writes them. The operator, the worker and the
CLI all read and write objects through these models. Everything may import this package; it imports neither of
the other two, no SDK of Kubernetes or a cloud, and no torch.
"""

GROUP = "easel.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "easel"
