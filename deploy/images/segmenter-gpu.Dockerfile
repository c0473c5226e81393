# The segmenter for NVIDIA GPUs, on NVIDIA's own Triton image with its ONNX Runtime and TensorRT backends.
# Not built or run where the others are: that image cannot be had there. A site builds it with its registry,
# best by digest. Wanted is a release of Triton whose TensorRT knows the GPU; engines are built on the node.
ARG BASE_IMAGE=nvcr.io/nvidia/tritonserver:25.10-py3

FROM ${BASE_IMAGE} AS build
USER root
COPY deploy/images/install.sh deploy/images/sbom.py /opt/build/
# For the Python model beside the server's own backends: no engine, which is Triton's here.
RUN --mount=type=secret,id=pip_config --mount=type=secret,id=certificates \
    python3 -m pip install --quiet --target /opt/build/virtualenv virtualenv \
    && PYTHONPATH=/opt/build/virtualenv python3 -m virtualenv --quiet /opt/venv \
    && /opt/build/install.sh 'numpy==1.26.4' 'scipy==1.17.1' 'grpcio==1.85.1' 'typing_extensions==4.16.0' \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes setuptools wheel pip
WORKDIR /opt/organloop
COPY LICENSE ./
COPY models models
COPY services/__init__.py services/files.py services/
COPY services/inference services/inference
COPY services/releases services/releases
COPY deploy/__init__.py deploy/
COPY deploy/containers/__init__.py deploy/containers/segmenter.py deploy/containers/segmenter_alive.py deploy/containers/
COPY deploy/triton deploy/triton
RUN /opt/venv/bin/python -m compileall -q models services deploy

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="organloop-segmenter-gpu" \
      org.opencontainers.image.description="Organloop: Triton with ONNX Runtime and TensorRT, for NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
USER root
# What the base brings to build with is not needed to serve.
RUN groupadd --gid 10001 organloop \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin organloop \
    && install --directory --owner 10001 --group 10001 /models /var/lib/organloop /var/lib/organloop/triton \
    && (python3 -m pip uninstall --quiet --yes pip 2>/dev/null || true) \
    && rm -f /usr/bin/pip /usr/bin/pip3 /usr/local/bin/pip /usr/local/bin/pip3 \
        /usr/bin/gcc* /usr/bin/g++* /usr/bin/cc /usr/bin/c++ /usr/bin/make
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/organloop /opt/organloop
COPY deploy/images/sbom.py /tmp/sbom.py
RUN /opt/venv/bin/python /tmp/sbom.py organloop-segmenter-gpu "${VERSION}" /opt/organloop/sbom.cdx.json && rm /tmp/sbom.py
# TF32 would round convolutions to ten bits of mantissa, beyond what a release was proven with.
ENV OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive \
    PATH=/opt/venv/bin:/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin \
    NVIDIA_TF32_OVERRIDE=0 \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/organloop
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-m", "deploy.containers.segmenter_alive"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python3", "-m", "deploy.containers.segmenter"]
