#!/bin/bash
# What build-check runs inside each image, as its user: self_test.sh IMAGE
set -euo pipefail
image=$1

fail() { echo "self-test of $image: $*" >&2; exit 1; }

[ "$(id -u):$(id -g)" = 10001:10001 ] || fail "runs as $(id -u):$(id -g), not 10001:10001"
[ -z "$(find / -xdev -perm /6000 -type f -newer /etc/debian_version -path '/opt/*' 2>/dev/null)" ] || fail "setuid files in /opt"
for tool in pip pip3 gcc cc g++ make npm; do
    if command -v $tool >/dev/null; then fail "$tool is in it"; fi
done
[ -s /opt/organloop/sbom.cdx.json ] || fail "no bill of materials"
if touch /opt/organloop/written 2>/dev/null; then fail "its user may write the program"; fi

without() {
    for package in "$@"; do
        python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$package') is not None)" \
            || fail "$package is in it"
    done
}

case $image in
worker | trainer)
    organloop --help >/dev/null
    touch /var/lib/organloop/triton/written /var/lib/prefect/written || fail "its user may not write its folders"
    prefect version >/dev/null
    organloop phantom --out /tmp/phantom --json >/dev/null
    organloop check /tmp/phantom >/dev/null
    without pip setuptools openvino_telemetry
    python - <<'PYTHON'
import importlib
for room in ("calibration", "corrections", "nightly", "promotion", "segmentation", "training", "tuning"):
    importlib.import_module(f"flows.{room}.flow")
for module in ("deploy.cli.main", "deploy.runs.deployments", "deploy.runs.pool_worker", "flows.arrivals.loop"):
    importlib.import_module(module)
PYTHON
    ;;&
worker)
    without torch monai onnx einops
    pg_dump --version >/dev/null || fail "no pg_dump: nothing can be backed up"
    ;;
trainer)
    python - <<'PYTHON'
import deploy.runs.deployments, models.network.export, torch
assert torch.__version__.startswith("2.13.0"), torch.__version__
assert torch.nn.Conv3d(1, 1, 3)(torch.zeros(1, 1, 4, 4, 4)).shape[2:] == (2, 2, 2)
PYTHON
    ;;
segmenter)
    without pip setuptools pytriton torch openvino_telemetry
    python3 -c "import grpc, deploy.containers.segmenter_alive, deploy.containers.segmenter" || fail "no health check"
    python3 -c "import numpy, openvino, models.inference.windows, services.inference.engine as e
assert numpy.__version__ < '2', numpy.__version__"
    rc=0
    tritonserver --help >/tmp/help 2>&1 || rc=$?
    grep -q model-control-mode /tmp/help || fail "tritonserver does not run ($rc): $(tail -3 /tmp/help)"
    missing=$(ldd /opt/tritonserver/bin/tritonserver /opt/tritonserver/backends/python/triton_python_backend_stub \
        /opt/tritonserver/backends/python/*.so | grep 'not found' || true)
    [ -z "$missing" ] || fail "libraries are missing: $missing"
    ;;
gateway)
    Orthanc --version >/tmp/version && grep -q Orthanc /tmp/version || fail "Orthanc does not run"
    version=$(grep -o '[0-9]\+\.[0-9]\+\.[0-9]\+' /tmp/version | head -n 1)
    [ "$(printf '%s\n' 1.11.3 "$version" | sort -V | head -n 1)" = 1.11.3 ] \
        || fail "Orthanc $version would delete studies where its disk is full: 1.11.3 is the first that would not"
    [ -f /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || fail "no DICOMweb"
    nginx -v >/tmp/version 2>&1 || fail "nginx does not run"
    grep -q /dicom-web /usr/share/ohif/app-config.js || fail "OHIF is not configured"
    [ -f /usr/share/ohif/index.html ] || fail "no OHIF"
    grep -q 'sourceByte >> sourceBitIndex & 1' /usr/share/ohif/app.bundle.*.js || fail "OHIF is not mended: make viewer"
    python3 -c "import deploy.doors.open" || fail "no doors"
    touch /var/lib/orthanc/organloop/written || fail "its user may not write the archive's folder"
    ;;
*)
    fail "unknown image"
    ;;
esac
echo "self-test of $image: passed" >&2
