{{- define "organloop.doors.pod" -}}
{{- $this := dict "root" . "component" "doors" -}}
{{- $archive := .Values.archive.dicomwebUrl | default (printf "%s/dicom-web" (trimSuffix "/" .Values.archive.orthancUrl)) -}}
{{- if .Values.gateway.enabled }}{{ $archive = printf "https://%s-gateway:8443/dicom-web" (include "organloop.name" .) }}{{ end -}}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  {{- include "organloop.spread" $this | nindent 2 }}
  terminationGracePeriodSeconds: 60
  containers:
    - name: doors
      image: {{ include "organloop.image" (dict "root" . "image" "gateway") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python3, -m, deploy.doors.open]
      env:
        - {name: DOORS_PAGES, value: "{{ include "organloop.name" . }}-pages:8500"}
        - {name: DOORS_PREFECT, value: "http://{{ include "organloop.name" . }}-prefect:4200"}
        - {name: DOORS_ARCHIVE, value: {{ $archive | quote }}}
        {{- if include "organloop.archiveSecret" $this }}
        - {name: DOORS_ARCHIVE_CA, value: /etc/organloop/trust/archive.crt}
        {{- end }}
        - {name: DOORS_TLS, value: /etc/organloop/tls}
        {{- range $door := list "pages" "viewer" "dashboard" }}
        - {name: ORGANLOOP_{{ upper $door }}_ADDRESS, value: {{ include "organloop.address" (dict "root" $ "door" $door) | quote }}}
        {{- end }}
        {{- include "organloop.secrets" (dict "root" . "secrets" (list "prefect" "readers")) | nindent 8 }}
      ports:
        - {name: pages, containerPort: 8500}
        - {name: viewer, containerPort: 3000}
        - {name: dashboard, containerPort: 4200}
      readinessProbe:  # one nginx opens all three
        httpGet: &door {path: /door, port: pages, scheme: HTTPS, httpHeaders: [{name: Host, value: 127.0.0.1}]}
        periodSeconds: 10
      livenessProbe:
        httpGet: *door
        periodSeconds: 20
      lifecycle:
        preStop: {exec: {command: [sleep, "5"]}}
      resources: {{ toYaml .Values.doors.resources | nindent 8 }}
      volumeMounts:
        - {name: tls, mountPath: /etc/organloop/tls, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    - name: tls
      secret: {secretName: {{ .Values.doors.tlsSecret }}, defaultMode: 0440}
    - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 64Mi}}  # nginx is told passwords there: on no disk
    {{- include "organloop.trust.volumes" $this | nindent 4 }}
{{- end }}
