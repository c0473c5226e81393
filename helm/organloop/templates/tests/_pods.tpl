{{/* A part answers under its name: `"part" "triton" "url" "http://…"`. */}}
{{- define "organloop.test.part.pod" -}}
{{- $this := dict "root" .root "component" "test" -}}
metadata:
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: ask
      image: {{ include "organloop.image" (dict "root" .root "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python, -m, deploy.containers.health, {{ .url | quote }}]
{{- if eq .part "gateway" }}
      env:
        - {name: SSL_CERT_FILE, value: /etc/organloop/trust/archive.crt}
{{- end }}
      resources: {{ toYaml .root.Values.tests.resources | nindent 8 }}
      volumeMounts:
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    {{- include "organloop.trust.volumes" $this | nindent 4 }}
{{- end }}

{{/* The doors under the name people type, with the certificate they get; behind the first, the pages. */}}
{{- define "organloop.test.doors.pod" -}}
{{- $this := dict "root" .root "component" "test" -}}
metadata:
  annotations: {helm.sh/hook: test, helm.sh/hook-delete-policy: "before-hook-creation,hook-succeeded"}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  restartPolicy: Never
  containers:
    - name: ask
      image: {{ include "organloop.image" (dict "root" .root "image" "gateway") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [curl, --silent, --show-error, --fail, --fail-early, --max-time, "10", --noproxy, "*"]
      args:
        - --connect-to
        - "::{{ include "organloop.name" .root }}-doors:"
        - --cacert
        - /etc/organloop/doors/tls.crt
        - {{ include "organloop.address" (dict "root" .root "door" "pages") }}/healthz
        - {{ include "organloop.address" (dict "root" .root "door" "viewer") }}/door
        - {{ include "organloop.address" (dict "root" .root "door" "dashboard") }}/door
      resources: {{ toYaml .root.Values.tests.resources | nindent 8 }}
      volumeMounts:
        - {name: doors, mountPath: /etc/organloop/doors, readOnly: true}
  volumes:
    - name: doors
      projected:
        sources:
          - secret:
              name: {{ .root.Values.doors.tlsSecret }}
              items: [{key: tls.crt, path: tls.crt}]  # never the key
{{- end }}
