{{/* What things are called, and what Services, policies and people find them by. */}}

{{/* The beginning of every name: of two installations in one release, each has its own. */}}
{{- define "organloop.name" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{/* What workloads find their pods by. It can never be changed: Kubernetes refuses it. */}}
{{- define "organloop.kept" -}}
app.kubernetes.io/instance: {{ include "organloop.name" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What Services and policies find pods by: with the chart's name, since an umbrella's other pods share the instance. */}}
{{- define "organloop.selector" -}}
{{ include "organloop.kept" . }}
app.kubernetes.io/name: organloop
{{- end }}

{{- define "organloop.labels" -}}
{{ include "organloop.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- with .root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The annotations that a site gives a workload itself; its pods have theirs from `organloop.dressed`. */}}
{{- define "organloop.workload" -}}
{{- with (include "organloop.block" . | fromYaml).workloadAnnotations }}
annotations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* An image of ours: `"image" "worker"`. By digest where one is given. */}}
{{- define "organloop.image" -}}
{{- $images := .root.Values.images -}}
{{- $digest := index $images.digests .image -}}
{{- $name := printf "%s/organloop-%s" $images.registry .image -}}
{{- if $digest }}{{ $name }}@{{ $digest }}{{ else }}{{ $name }}:{{ $images.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Where people open a door: `"door" "pages"`. Browsers leave out the port of https. */}}
{{- define "organloop.address" -}}
{{- $port := index .root.Values.doors.ports .door | int -}}
https://{{ .root.Values.doors.host }}{{ if ne $port 443 }}:{{ $port }}{{ end }}
{{- end }}

{{/* In network policies: the pods of one component. */}}
{{- define "organloop.peer" -}}
podSelector:
  matchLabels: {{ include "organloop.selector" . | nindent 4 }}
{{- end }}
