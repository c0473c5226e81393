{{- define "organloop.pages.pod" -}}
{{- $this := dict "root" . "component" "pages" -}}
metadata:
  annotations:
    checksum/settings: {{ include (print $.Template.BasePath "/settings.yaml") . | sha256sum }}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  {{- include "organloop.spread" $this | nindent 2 }}
  terminationGracePeriodSeconds: 30
  initContainers:
    # Of the store the pages may write one folder, which is to be there before it is mounted.
    - name: folder
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [mkdir, -p, /var/lib/organloop/people]
      resources: {{ toYaml .Values.pages.resources | nindent 8 }}
      volumeMounts:
        - {name: store, mountPath: /var/lib/organloop}
  containers:
    - name: pages
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python, -m, deploy.pages.server]
      args: [0.0.0.0, "8500", --behind-doors]
      {{- $secrets := list "database" "readers" "session" "serving" "prefect" "messages" -}}
      {{- if .Values.people.issuer }}{{ $secrets = append $secrets "provider" }}{{ end }}
      {{- include "organloop.environment" (dict "root" . "secrets" $secrets) | nindent 6 }}
      ports:
        - {name: http, containerPort: 8500}
      startupProbe:
        httpGet: &health {path: /healthz, port: http, httpHeaders: [{name: Host, value: 127.0.0.1}]}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: *health
        periodSeconds: 10
        timeoutSeconds: 5
      livenessProbe:
        httpGet: *health
        periodSeconds: 30
        timeoutSeconds: 5
        failureThreshold: 10
      lifecycle:
        preStop: {exec: {command: [sleep, "5"]}}
      resources: {{ toYaml .Values.pages.resources | nindent 8 }}
      volumeMounts:
        - {name: store, mountPath: /var/lib/organloop, readOnly: true}
        - {name: store, mountPath: /var/lib/organloop/people, subPath: people}  # key and local account
        - {name: tmp, mountPath: /tmp}
        {{- include "organloop.trust.mounts" $this | nindent 8 }}
  volumes:
    - name: store
      persistentVolumeClaim: {claimName: {{ .Values.store.existingClaim | default (printf "%s-store" (include "organloop.name" .)) }}}
    - {name: tmp, emptyDir: {sizeLimit: 256Mi}}
    {{- include "organloop.trust.volumes" $this | nindent 4 }}
{{- end }}
