#!/usr/bin/env bash
# Debian packages the tests use. As root on Debian they are installed; elsewhere each is named with
# what is left out without it.
set -euo pipefail
PATH=$PATH:/usr/sbin
# what must be there | package | what needs it
parts=(
    "dciodvfy|dicom3tools|DICOM conformance of what we write"
    "dcmdump|dcmtk|reading our objects with another toolkit, sending by DIMSE"
    "/usr/lib/postgresql/*/bin/initdb|postgresql|records on a real PostgreSQL"
    "Orthanc|orthanc|a real archive"
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so|orthanc-dicomweb|a real archive over DICOMweb"
    "nginx|nginx-light|the viewer"
    "bindfs|bindfs|two workers on two mounts of one folder"
    "promtool|prometheus|alert rules on made-up series"
    "npm|npm|getting the viewer"
    "/etc/ssl/certs/ca-certificates.crt|ca-certificates|getting the viewer"
    "chromium|chromium|the viewer in a browser"
    "/usr/lib/*/faketime/libfaketimeMT.so.1|libfaketime|clocks that are wrong"
    "skopeo|skopeo|images without a registry, as files that Docker loads"
    "ip|iproute2|a network that hears who is called"
)
missing=()
for part in "${parts[@]}"; do
    wanted=${part%%|*}
    command -v "$wanted" >/dev/null || compgen -G "$wanted" >/dev/null || missing+=("${part#*|}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test: installing ${missing[*]%%|*}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]%%|*}" >/dev/null
    exit 0
fi
for part in "${missing[@]}"; do
    echo "test: no ${part%%|*} here (not root, or no apt-get): leaving out ${part#*|}"
done
