{{/* What every pod is, and what a site adds to it: `dict "root" $ "component" "worker" "pod" "organloop.worker.pod"`. */}}

{{/*
A pod's template with the site's block on it. Every pod is made here, the tuning job's too, so that none is
forgotten. What the block adds comes after what the chart says; of one name there is one.
*/}}
{{- define "organloop.dressed" -}}
{{- $root := .root -}}
{{- $pod := include .pod (hasPrefix "organloop.test." .pod | ternary . $root) | fromYaml -}}
{{- if $pod.Error }}{{ fail (printf "%s: %s" .pod $pod.Error) }}{{ end -}}
{{- $block := include "organloop.block" . | fromYaml -}}
{{- $metadata := $pod.metadata | default dict -}}
{{- $labels := include "organloop.selector" . | fromYaml -}}
{{- $_ := set $metadata "labels" (merge $labels $root.Values.labels ($block.labels | default dict)) -}}
{{- with merge ($metadata.annotations | default dict) ($block.annotations | default dict) }}{{ $_ := set $metadata "annotations" . }}{{ end -}}
{{- $spec := $pod.spec -}}
{{- range $name := list "affinity" "priorityClassName" "runtimeClassName" "nodeSelector" "dnsConfig" "dnsPolicy" "hostUsers" "schedulerName" "topologySpreadConstraints" "tolerations" "hostAliases" }}
{{- if hasKey $block $name }}{{ $_ := set $spec $name (index $block $name) }}{{ end -}}
{{- end -}}
{{- range $name, $value := $block.securityContext }}{{ $_ := set $spec.securityContext $name $value }}{{ end -}}
{{- with $block.volumes }}{{ $_ := set $spec "volumes" (concat ($spec.volumes | default list) .) }}{{ end -}}
{{- range $container := concat ($spec.initContainers | default list) $spec.containers }}
{{- range $name, $value := $block.containerSecurityContext }}{{ $_ := set $container.securityContext $name $value }}{{ end -}}
{{- range $variable := $block.env | default list }}
{{- range $container.env | default list }}
{{- if eq .name $variable.name }}{{ fail (printf "pods names the variable %s for %s, which the chart sets itself: take it out, and use the value of the chart" .name $.component) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $name := list "env" "envFrom" "volumeMounts" }}
{{- with index $block $name }}{{ $_ := set $container $name (concat (index $container $name | default list) .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and (include "organloop.onStore" (dict "spec" $spec)) (not (has "ReadWriteMany" $root.Values.store.accessModes)) }}
{{- /* A disk of one node: who comes later goes where the first one is. */ -}}
{{- $mark := dict "organloop/store" (include "organloop.name" $root) -}}
{{- $_ := set $metadata "labels" (merge (deepCopy $mark) $metadata.labels) -}}
{{- $beside := dict "labelSelector" (dict "matchLabels" $mark) "topologyKey" "kubernetes.io/hostname" -}}
{{- $affinity := $spec.affinity | default dict -}}
{{- $pods := $affinity.podAffinity | default dict -}}
{{- $name := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $_ := set $pods $name (append (index $pods $name | default list) $beside) -}}
{{- $_ := set $spec "affinity" (merge (dict "podAffinity" $pods) $affinity) -}}
{{- end -}}
{{ toYaml (dict "metadata" $metadata "spec" $spec) }}
{{- end }}

{{/*
What values say of the pods of a component: for all, and on top for these. Lists are joined but spread
constraints; of a map each name is replaced. Not by `merge`, which takes false and 0 for nothing said.
*/}}
{{- define "organloop.block" -}}
{{- $said := deepCopy (.root.Values.pods.all | default dict) -}}
{{- range $name, $value := index .root.Values.pods (.component | camelcase | untitle) -}}
{{- if kindIs "map" $value }}
{{- $inner := index $said $name | default dict -}}
{{- range $key, $one := $value }}{{ $_ := set $inner $key $one }}{{ end -}}
{{- $_ := set $said $name $inner -}}
{{- else if and (kindIs "slice" $value) (ne $name "topologySpreadConstraints") }}
{{- $_ := set $said $name (concat (index $said $name | default list) $value) -}}
{{- else }}
{{- $_ := set $said $name $value -}}
{{- end -}}
{{- end -}}
{{ toYaml $said }}
{{- end }}

{{/* Not empty if a pod works on the store. */}}
{{- define "organloop.onStore" -}}
{{- range .spec.volumes }}{{ if and (eq .name "store") .persistentVolumeClaim }}true{{ end }}{{ end }}
{{- end }}

{{/* The head of every pod. What runs asks nothing of Kubernetes, is no root and gets no root's powers. */}}
{{- define "organloop.pod" -}}
serviceAccountName: {{ include "organloop.account" (dict "root" .root "account" "all") }}
automountServiceAccountToken: false
{{ include "organloop.podSecurity" (dict "root" .root "user" (.user | default 10001)) }}
{{- end }}

{{/* The account that pods run as: `all`, or the `launcher`'s, which may ask for jobs. */}}
{{- define "organloop.account" -}}
{{- $name := include "organloop.name" .root -}}
{{ (index .root.Values.serviceAccounts .account).name | default (eq .account "all" | ternary $name (printf "%s-%s" $name .account)) }}
{{- end }}

{{- define "organloop.podSecurity" -}}
# Variables that Kubernetes makes of Services would be taken for settings: ORGANLOOP_PREFECT_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
{{- if eq .root.Values.users "fixed" }}
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
{{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "organloop.container" -}}
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Not all on one node. */}}
{{- define "organloop.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "organloop.selector" . | nindent 8 }}
{{- end }}

{{/* Brings records and repository to this version under an advisory lock, before anything else starts. */}}
{{- define "organloop.prepare" -}}
- name: {{ .name | default "prepare" }}
  image: {{ include "organloop.image" (dict "root" .root "image" "trainer") }}
  {{- include "organloop.container" . | nindent 2 }}
  command: [organloop, prepare{{ if .root.Values.release.starter }}, --starter{{ end }}{{ with .option }}, {{ . }}{{ end }}]
  {{- include "organloop.environment" (dict "root" .root "secrets" (.root.Values.database.roles | ternary (list "database-owner") (list "database"))) | nindent 2 }}
  resources: {{ toYaml .root.Values.prepare.resources | nindent 4 }}
  volumeMounts: {{ include "organloop.mounts" . | nindent 4 }}
{{- end }}
