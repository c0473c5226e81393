{{- define "organloop.gateway.pod" -}}
{{- $this := dict "root" . "component" "gateway" -}}
metadata:
  annotations:
    checksum/configuration: {{ include (print $.Template.BasePath "/gateway/configuration.yaml") . | sha256sum }}
spec:
  {{- include "organloop.pod" $this | nindent 2 }}
  {{- with .Values.gateway.nodeSelector }}
  nodeSelector: {{ toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: 120  # Orthanc ends what it is receiving; who sends, sends again
  containers:
    - name: orthanc
      image: {{ include "organloop.image" (dict "root" . "image" "gateway") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [Orthanc, /etc/organloop/orthanc]
      env:
        - name: ARCHIVE_USER
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "archive-user") }}}
        - name: ARCHIVE_PASSWORD
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "archive-password") }}}
        - name: READER_USER  # a secret without the two keys gives readers no way in, and stops nothing
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "reader-user" "optional" true) }}}
        - name: READER_PASSWORD
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "reader-password" "optional" true) }}}
      ports:
        - {name: dimse, containerPort: 4242}
      startupProbe:
        tcpSocket: {port: dimse}
        periodSeconds: 5
        failureThreshold: 60
      livenessProbe:
        tcpSocket: {port: dimse}
        periodSeconds: 20
        failureThreshold: 6
      lifecycle:
        preStop: {exec: {command: [sleep, "5"]}}
      resources: {{ toYaml .Values.gateway.resources | nindent 8 }}
      volumeMounts:
        - {name: studies, mountPath: /var/lib/orthanc/organloop, subPath: studies}
        - {name: orthanc, mountPath: /etc/organloop/orthanc, readOnly: true}
        - {name: tls, mountPath: /etc/organloop/tls, readOnly: true}
        - {name: tmp, mountPath: /tmp}
    - name: nginx
      image: {{ include "organloop.image" (dict "root" . "image" "gateway") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [nginx, -e, stderr, -c, /etc/organloop/nginx/nginx.conf]
      ports:
        - {name: https, containerPort: 8443}
      readinessProbe:  # Orthanc answers through TLS
        httpGet: {path: /ready, port: https, scheme: HTTPS}
        periodSeconds: 10
        timeoutSeconds: 5
      livenessProbe:
        tcpSocket: {port: https}
        periodSeconds: 20
      lifecycle:
        preStop: {exec: {command: [sleep, "5"]}}
      resources: {{ toYaml .Values.gateway.nginx.resources | nindent 8 }}
      volumeMounts:
        - {name: nginx, mountPath: /etc/organloop/nginx, readOnly: true}
        - {name: tls, mountPath: /etc/organloop/tls, readOnly: true}
        - {name: nginx-tmp, mountPath: /tmp}
{{- if .Values.gateway.forwardTo }}
    - name: forwarder  # what came by DICOMweb, our results and readers' corrections, goes on to the PACS
      image: {{ include "organloop.image" (dict "root" . "image" "worker") }}
      {{- include "organloop.container" $this | nindent 6 }}
      command: [python, -m, deploy.containers.forwarder]
      args:
        - --to={{ .Values.gateway.forwardTo }}
        - --cursor=/var/lib/organloop-forwarder/cursor.json
      env:
        - name: ORGANLOOP_ORTHANC_URL
          value: http://127.0.0.1:8042
        - name: ORGANLOOP_ARCHIVE_USER
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "archive-user") }}}
        - name: ORGANLOOP_ARCHIVE_PASSWORD
          valueFrom: {secretKeyRef: {{ include "organloop.secret" (dict "root" . "for" "archive-password") }}}
        - name: ORGANLOOP_LOG_FORMAT
          value: json
        - name: ORGANLOOP_ARCHIVE_DEADLINE_SECONDS
          value: {{ .Values.settings.archiveDeadlineSeconds | quote }}
      livenessProbe:  # it has looked at the feed lately
        exec: {command: [python, -m, deploy.containers.forwarder_alive]}
        periodSeconds: 60
        timeoutSeconds: 10
      resources: {{ toYaml .Values.gateway.forwarder.resources | nindent 8 }}
      volumeMounts:
        - {name: studies, mountPath: /var/lib/organloop-forwarder, subPath: forwarder}
        - {name: forwarder-tmp, mountPath: /tmp}
{{- end }}
  volumes:
    - name: orthanc
      configMap:
        name: {{ include "organloop.name" . }}-gateway
        items:
          - {key: orthanc.json, path: orthanc.json}
          - {key: doors.lua, path: doors.lua}
          - {key: room.lua, path: room.lua}
    - name: nginx
      configMap:
        name: {{ include "organloop.name" . }}-gateway
        items:
          - {key: nginx.conf, path: nginx.conf}
          - {key: requests.conf, path: requests.conf}
          - {key: archive.conf, path: archive.conf}
    - name: tls
      secret: {secretName: {{ .Values.gateway.tlsSecret }}, defaultMode: 0440}
    - {name: tmp, emptyDir: {sizeLimit: 1Gi}}
    - {name: nginx-tmp, emptyDir: {sizeLimit: 64Mi}}
    - {name: forwarder-tmp, emptyDir: {sizeLimit: 256Mi}}
{{- end }}
