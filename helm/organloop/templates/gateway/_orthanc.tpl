{{/* Orthanc's configuration; it replaces ${…} by its environment. */}}
{{- define "organloop.gateway.orthanc" -}}
{{- $g := .Values.gateway -}}
Name: Organloop gateway
DicomAet: {{ $g.aet | quote }}
DicomPort: 4242
StorageDirectory: /var/lib/orthanc/organloop
IndexDirectory: /var/lib/orthanc/organloop
Plugins: [/usr/share/orthanc/plugins/libOrthancDicomWeb.so]
StableAge: {{ $g.stableSeconds }}
SaveJobs: true
{{/* HTTP answers this pod only: nginx beside it speaks TLS to all others. */}}
HttpPort: 8042
RemoteAccessAllowed: false
AuthenticationEnabled: true
RegisteredUsers: {"${ARCHIVE_USER}": "${ARCHIVE_PASSWORD}"}
{{/* DIMSE answers known modalities only, each from its own address. */}}
DicomAlwaysAllowEcho: false
DicomAlwaysAllowStore: false
DicomCheckCalledAet: true
DicomCheckModalityHost: true
DicomModalities:
{{- range $name, $one := $g.modalities }}
  {{ $name }}:
    AET: {{ $one.aet | quote }}
    Host: {{ $one.host | quote }}
    Port: {{ $one.port }}
    UseDicomTls: {{ $g.dimse.tls }}
{{- else }} {}
{{- end }}
DicomTlsEnabled: {{ $g.dimse.tls }}
{{- if $g.dimse.tls }}
DicomTlsCertificate: /etc/organloop/tls/tls.crt
DicomTlsPrivateKey: /etc/organloop/tls/tls.key
DicomTlsTrustedCertificates: /etc/organloop/tls/ca.crt
DicomTlsRemoteCertificateRequired: true
{{- end }}
{{/* As deploy/stack/orthanc/archive.json. */}}
OverwriteInstances: false
UnknownSopClassAccepted: true
DicomWeb: {Enable: true, Root: /dicom-web/, EnableWado: true, StudiesMetadata: Full, SeriesMetadata: Full}
{{- end }}
