# The two images of Easel.
#
#   operator   the control plane and the job worker: small, no torch
#   runtime    Triton and the engine; what a ModelDeployment's pods run
#
#   docker buildx build --target operator -t <registry>/easel/operator:<version> .
#   docker buildx build --target runtime  -t <registry>/easel/runtime:<version> .
#
# Pin the bases by digest for a release (--build-arg TRITON_IMAGE=…@sha256:…). An index behind credentials:
# --secret id=pip,src=pip.conf, which stays out of the layers.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.09-py3

FROM scratch AS code
COPY LICENSE /licenses/LICENSE
COPY crds/easel_api /opt/easel/app/easel_api
COPY operator/easel_operator /opt/easel/app/easel_operator
COPY inference/easel_inference /opt/easel/app/easel_inference

FROM ${PYTHON_IMAGE} AS operator
# Without pip of its own: the base's pip installs into the environment, which then holds what runs and nothing else.
RUN --mount=type=bind,source=requirements/operator.txt,target=/tmp/requirements.txt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/easel \
    && python3 -m pip --python /opt/easel/bin/python install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.txt
COPY --from=code / /
# The user has a name, since runtimes otherwise give it group 0.
RUN /opt/easel/bin/python -m compileall -q /opt/easel/app \
    && echo 'easel:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'easel:x:65532:' >> /etc/group
# All that is ever written goes to /tmp, so the root file system may be read-only.
ENV PATH=/opt/easel/bin:$PATH PYTHONPATH=/opt/easel/app PYTHONUNBUFFERED=1 HOME=/tmp
# By number: Kubernetes checks runAsNonRoot without looking into the image.
USER 65532:65532
WORKDIR /tmp
CMD ["python", "-m", "easel_operator"]
ARG VERSION=0.1.0 REVISION=unknown
LABEL org.opencontainers.image.title="easel-operator" \
      org.opencontainers.image.description="Easel's control plane and job worker" \
      org.opencontainers.image.url="https://easel.dev" \
      org.opencontainers.image.vendor="The Easel authors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM ${TRITON_IMAGE} AS runtime
# torch and CUDA are gigabytes that change once in a release: a layer of their own, below the code.
RUN --mount=type=bind,source=requirements/engine.txt,target=/tmp/requirements.txt \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/easel \
    && python3 -m pip --python /opt/easel/bin/python install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.txt
COPY --from=code / /
# Triton's Python stub looks into the environment's site-packages, whatever PYTHONPATH says.
RUN /opt/easel/bin/python -m compileall -q /opt/easel/app \
    && echo 'easel:x:65532:65532::/tmp:/usr/sbin/nologin' >> /etc/passwd && echo 'easel:x:65532:' >> /etc/group \
    && echo /opt/easel/app > "$(/opt/easel/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/easel.pth"
ENV PATH=/opt/easel/bin:/opt/tritonserver/bin:$PATH PYTHONPATH=/opt/easel/app PYTHONUNBUFFERED=1 HOME=/tmp
USER 65532:65532
WORKDIR /tmp
# Triton's image starts with a script that prints a banner and needs a shell; ours starts the launcher, which starts Triton.
ENTRYPOINT []
CMD ["python", "-m", "easel_inference.serving"]
# gRPC, metrics, probes.
EXPOSE 8001 8002 8080
ARG VERSION=0.1.0 REVISION=unknown
LABEL org.opencontainers.image.title="easel-runtime" \
      org.opencontainers.image.description="Triton with Easel's diffusion engine" \
      org.opencontainers.image.url="https://easel.dev" \
      org.opencontainers.image.vendor="The Easel authors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
