# The worker: runs the flows, and from the same image the Prefect server. It has no torch.
# The base is any Debian 12, best by digest: --build-arg BASE_IMAGE=debian@sha256:…
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends ca-certificates python3.11-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/organloop
COPY deploy/images/install.sh deploy/images/sbom.py /opt/build/
# What changes seldom first: empty packages stand for the code until all it needs is installed.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN for package in models services flows deploy; do mkdir $package && touch $package/__init__.py; done
RUN --mount=type=secret,id=pip_config --mount=type=secret,id=certificates \
    python3.11 -m venv /opt/venv \
    && /opt/build/install.sh --constraint constraints.txt --editable '.[cluster]' \
    && /opt/build/install.sh --constraint constraints.txt --no-deps openvino \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes setuptools pip
COPY models models
COPY services services
COPY flows flows
COPY deploy deploy
RUN /opt/venv/bin/python -m compileall -q models services flows deploy

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="organloop-worker" \
      org.opencontainers.image.description="Organloop: the flows, the Prefect server, the command organloop" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends ca-certificates python3.11 postgresql-client \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /var/cache/debconf/* \
    && groupadd --gid 10001 organloop \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin organloop \
    && install --directory --owner 10001 --group 10001 /var/lib/organloop /var/lib/organloop/triton \
        /var/lib/organloop-work /var/lib/organloop-witness /var/lib/organloop-backup \
        /var/lib/organloop-forwarder /var/lib/prefect
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/organloop /opt/organloop
COPY deploy/images/sbom.py /tmp/sbom.py
RUN /opt/venv/bin/python /tmp/sbom.py organloop-worker "${VERSION}" /opt/organloop/sbom.cdx.json && rm /tmp/sbom.py
ENV OPENBLAS_NUM_THREADS=1 OMP_WAIT_POLICY=passive \
    PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORGANLOOP_HOME=/var/lib/organloop \
    PREFECT_HOME=/tmp/prefect \
    PREFECT_UI_STATIC_DIRECTORY=/tmp/prefect-ui \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1 \
    MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /opt/organloop
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "deploy.containers.health", "http://127.0.0.1:8080/health"]
# SIGTERM: takes no more runs, and waits for those under way.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "deploy.runs.pool_worker", "--watch", "--queue", "watch", "--queue", "stat", "--queue", "default", \
     "--at-once", "3"]
