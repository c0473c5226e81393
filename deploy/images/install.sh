#!/bin/sh
# pip in a build stage. The index and the certificates are those of the host that builds, if it gives them
# as the build secrets pip_config and certificates; no layer keeps them.
set -eu
[ ! -f /run/secrets/pip_config ] || export PIP_CONFIG_FILE=/run/secrets/pip_config
[ ! -f /run/secrets/certificates ] || export PIP_CERT=/run/secrets/certificates
exec /opt/venv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check \
    --root-user-action ignore "$@"
