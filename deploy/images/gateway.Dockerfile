# The gateway: Orthanc with DICOMweb, nginx, and OHIF's pages. Which of the two programs runs, and with what
# configuration, is said where it is started: there is no entrypoint. OHIF comes from the host, by `make viewer`.
# Debian 13, unlike the other images: Debian 12's Orthanc is of 2022, and full it would delete studies.
ARG BASE_IMAGE=docker.io/library/debian:trixie-slim

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
# Orthanc is under the GPL 3 and its plugin DICOMweb under the AGPL 3, OHIF under MIT, nginx under BSD.
LABEL org.opencontainers.image.title="organloop-gateway" \
      org.opencontainers.image.description="Organloop: Orthanc with DICOMweb, nginx and OHIF" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-3.0-or-later AND AGPL-3.0-or-later AND MIT AND BSD-2-Clause" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
# The packages may try to start themselves; here is nothing to start them.
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
        ca-certificates curl nginx-light orthanc orthanc-dicomweb python3.13-minimal libpython3.13-stdlib \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /var/cache/debconf/* /etc/orthanc/credentials.json \
    && groupadd --gid 10001 organloop \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin organloop \
    && install --directory --owner 10001 --group 10001 --mode 755 /var/lib/orthanc /var/lib/orthanc/organloop \
    && install --directory /etc/organloop/orthanc /etc/organloop/nginx \
    && ln --symbolic /usr/bin/python3.13 /usr/local/bin/python3
COPY deploy/viewer/node_modules/@ohif/app/LICENSE deploy/viewer/node_modules/@ohif/app/package.json /usr/share/doc/ohif/
COPY deploy/viewer/node_modules/@ohif/app/dist /usr/share/ohif
COPY deploy/viewer/app-config.js /usr/share/ohif/app-config.js
COPY deploy/doors /opt/organloop/deploy/doors
COPY deploy/stack/orthanc /opt/organloop/deploy/stack/orthanc
COPY deploy/images/sbom.py /tmp/sbom.py
RUN python3.13 /tmp/sbom.py organloop-gateway "${VERSION}" /opt/organloop/sbom.cdx.json \
        --npm /usr/share/doc/ohif/package.json \
    && rm /tmp/sbom.py
# TCP_NODELAY is DCMTK's: without it each image that is sent waits 40 ms for the kernel's acknowledgement.
ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp LANG=C.UTF-8 TCP_NODELAY=1 \
    PYTHONPATH=/opt/organloop PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 3000 4200 4242 8042 8443 8500
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["curl", "--silent", "--show-error", "--noproxy", "*", "--output", "/dev/null", "http://127.0.0.1:8042/system"]
STOPSIGNAL SIGTERM
CMD ["Orthanc", "/etc/organloop/orthanc"]
