{{/* What is mounted where. */}}

{{/* Where such a process writes, and what it trusts. */}}
{{- define "organloop.mounts" -}}
- {name: store, mountPath: /var/lib/organloop}
- {name: tmp, mountPath: /tmp}
{{ include "organloop.trust.mounts" . }}
{{- end }}

{{- define "organloop.volumes" -}}
- name: store
  persistentVolumeClaim: {claimName: {{ .root.Values.store.existingClaim | default (printf "%s-store" (include "organloop.name" .root)) }}}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{ include "organloop.trust.volumes" . }}
{{- end }}

{{/* Where studies lie while they are worked on: the pod's own, never the store, which other nodes see. */}}
{{- define "organloop.work.mounts" -}}
- {name: work, mountPath: /var/lib/organloop-work}
{{- end }}

{{- define "organloop.work.volumes" -}}
- name: work
  emptyDir: {sizeLimit: {{ .root.Values.work.size }}}
{{- end }}

{{/* The certificates that archive, database, witness and provider are checked against; never a key. */}}
{{- define "organloop.trust.mounts" -}}
- {name: trust, mountPath: /etc/organloop/trust, readOnly: true}
{{- end }}

{{- define "organloop.trust.volumes" -}}
- name: trust
  projected:
    sources:
{{- with include "organloop.archiveSecret" . }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: archive.crt}]
{{- end }}
{{- with .root.Values.database.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: database.crt}]
{{- end }}
{{- with .root.Values.witness.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: witness.crt}]
{{- end }}
{{- with .root.Values.people.caSecret }}
      - secret:
          name: {{ . }}
          items: [{key: ca.crt, path: provider.crt}]
{{- end }}
{{- $v := .root.Values }}
{{- if not (or (include "organloop.archiveSecret" .) $v.database.caSecret $v.witness.caSecret $v.people.caSecret) }} []{{ end }}
{{- end }}

{{/* The secret whose ca.crt the archive's TLS is checked against; empty: the system's certificates. */}}
{{- define "organloop.archiveSecret" -}}
{{- if .root.Values.gateway.enabled }}{{ .root.Values.gateway.tlsSecret }}{{ else }}{{ .root.Values.archive.caSecret }}{{ end }}
{{- end }}

{{/* Sizes. */}}

{{/* A size in MiB, of one as the schema allows it: 500Mi, 20Gi, 2Ti. */}}
{{- define "organloop.mebibytes" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- mul $number (get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) (regexFind "[A-Z]i$" .)) -}}
{{- end }}

{{/* What one run of a worker has of its memory, MiB; 640 are taken at rest. */}}
{{- define "organloop.studyMemoryMib" -}}
{{- $limit := include "organloop.mebibytes" .Values.worker.resources.limits.memory | int64 -}}
{{- div (sub $limit 640) (int64 .Values.worker.runsAtOnce) -}}
{{- end }}
