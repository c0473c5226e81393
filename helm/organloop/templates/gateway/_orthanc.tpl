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
{{/* HTTP answers this pod only: nginx beside it speaks TLS to all others. doors.lua says what each user may. */}}
HttpPort: 8042
RemoteAccessAllowed: false
AuthenticationEnabled: true
RegisteredUsers: {"${ARCHIVE_USER}": "${ARCHIVE_PASSWORD}", "${READER_USER}": "${READER_PASSWORD}"}
LuaScripts: [/etc/organloop/orthanc/doors.lua, /etc/organloop/orthanc/room.lua]
Organloop: {Worker: "${ARCHIVE_USER}", Names: ["127.0.0.1"]}
{{/* DIMSE answers known modalities only, each from its own address and with what it may. */}}
DicomAlwaysAllowEcho: false
DicomAlwaysAllowStore: false
DicomAlwaysAllowFind: false
DicomAlwaysAllowFindWorklist: false
DicomAlwaysAllowGet: false
DicomAlwaysAllowMove: false
DicomCheckCalledAet: true
DicomCheckModalityHost: true
DicomModalities:
{{- range $name, $one := $g.modalities }}
  {{ $name }}:
    AET: {{ $one.aet | quote }}
    Host: {{ $one.host | quote }}
    Port: {{ $one.port }}
    UseDicomTls: {{ $g.dimse.tls }}
    AllowEcho: true
    AllowStore: true
    AllowFind: {{ $one.mayQuery | default false }}
    AllowGet: {{ $one.mayQuery | default false }}
    AllowMove: {{ $one.mayQuery | default false }}
    AllowFindWorklist: false
    AllowStorageCommitment: {{ $one.mayCommit | default false }}
{{- else }} {}
{{- end }}
DicomTlsEnabled: {{ $g.dimse.tls }}
{{- if $g.dimse.tls }}
DicomTlsCertificate: /etc/organloop/tls/tls.crt
DicomTlsPrivateKey: /etc/organloop/tls/tls.key
DicomTlsTrustedCertificates: /etc/organloop/tls/ca.crt
DicomTlsRemoteCertificateRequired: true
{{- end }}
{{/* Nine tenths of its volume: full, it takes no more and says so. Nothing that is here makes room. */}}
MaximumStorageSize: {{ if $g.storage.limit }}{{ include "organloop.mebibytes" $g.storage.limit }}{{ else }}{{ div (mul (include "organloop.mebibytes" $g.storage.size) 9) 10 }}{{ end }}
MaximumStorageMode: Reject
{{/* As deploy/stack/orthanc/archive.json. */}}
DeflatedTransferSyntaxAccepted: false
OverwriteInstances: false
UnknownSopClassAccepted: true
DicomWeb: {Enable: true, Root: /dicom-web/, EnableWado: true, StudiesMetadata: Full, SeriesMetadata: Full}
{{- end }}
