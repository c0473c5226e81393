# The segmenter for CPUs: a real Triton with the Python backend, and OpenVINO in it. Built and run by
# build-check. A site with GPUs takes segmenter-gpu.Dockerfile.
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends ca-certificates python3.11-venv \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/images/install.sh /opt/build/
COPY constraints-triton.txt /opt/build/
# Only the server's binaries are wanted from nvidia-pytriton, not its Python client.
RUN --mount=type=secret,id=pip_config --mount=type=secret,id=certificates \
    python3.11 -m venv /opt/venv \
    && /opt/build/install.sh --no-deps --requirement /opt/build/constraints-triton.txt \
        grpcio==1.85.1 typing_extensions==4.16.0 \
    && packages=/opt/venv/lib/python3.11/site-packages \
    && mkdir /opt/tritonserver \
    && cp -a $packages/pytriton/tritonserver/bin $packages/pytriton/tritonserver/backends /opt/tritonserver/ \
    && cp -a $packages/pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub \
        /opt/tritonserver/backends/python/ \
    && cp -a $packages/nvidia_pytriton.libs /opt/tritonserver/lib \
    && rm -rf $packages/pytriton $packages/nvidia_pytriton.libs \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes setuptools pip
WORKDIR /opt/organloop
COPY LICENSE ./
COPY models models
COPY services/__init__.py services/__init__.py
COPY services/inference services/inference
COPY deploy/__init__.py deploy/
COPY deploy/containers/__init__.py deploy/containers/segmenter.py deploy/containers/segmenter_alive.py deploy/containers/
COPY deploy/triton/__init__.py deploy/triton/command.py deploy/triton/
RUN /opt/venv/bin/python -m compileall -q models services deploy

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="organloop-segmenter" \
      org.opencontainers.image.description="Organloop: Triton with the Python backend and OpenVINO, for CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
# The backend's stub is linked against libpython3.11.so.1.0.
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends python3.11 libpython3.11 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /var/cache/debconf/* \
    && groupadd --gid 10001 organloop \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin organloop \
    && install --directory --owner 10001 --group 10001 /models /var/lib/organloop /var/lib/organloop/triton
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/tritonserver /opt/tritonserver
COPY --from=build /opt/organloop /opt/organloop
COPY deploy/images/sbom.py /tmp/sbom.py
RUN /opt/venv/bin/python /tmp/sbom.py organloop-segmenter "${VERSION}" /opt/organloop/sbom.cdx.json && rm /tmp/sbom.py
# The stub takes the first python3 on the path, and the code from the folder the server runs in.
ENV OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive \
    PATH=/opt/venv/bin:/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin \
    LD_LIBRARY_PATH=/opt/tritonserver/lib \
    GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /opt/organloop
USER 10001:10001
EXPOSE 8001
# It listens once the first releases are loaded or have failed to.
HEALTHCHECK --interval=15s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python3", "-m", "deploy.containers.segmenter_alive"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python3", "-m", "deploy.containers.segmenter"]
