{{- define "sdxl-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 47 | trimSuffix "-" -}}
{{- end }}

{{/* At most 47 characters, so that what is appended stays within 63. A Service is named so: no dots, and a letter first. */}}
{{- define "sdxl-operator.fullname" -}}
{{- $fullname := .Values.fullnameOverride -}}
{{- if not $fullname -}}
{{- $name := include "sdxl-operator.name" . -}}
{{- $fullname = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $fullname = $fullname | replace "." "-" | trunc 47 | trimSuffix "-" -}}
{{- if not (regexMatch "^[a-z]" $fullname) -}}
{{- fail (printf "objects can't be named %q, since names of Services begin with a letter: set fullnameOverride" $fullname) -}}
{{- end -}}
{{- $fullname -}}
{{- end }}

{{- define "sdxl-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sdxl-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Of every object. */}}
{{- define "sdxl-operator.labels" -}}
{{- include "sdxl-operator.labelsWith" (list . dict) -}}
{{- end }}

{{/* The same and further ones: a list of the context and a map. */}}
{{- define "sdxl-operator.labelsWith" -}}
{{- $context := index . 0 -}}
{{- $labels := dict
  "app.kubernetes.io/version" $context.Chart.AppVersion
  "app.kubernetes.io/managed-by" $context.Release.Service
  "helm.sh/chart" (printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_") -}}
{{- $selector := include "sdxl-operator.selectorLabels" $context | fromYaml -}}
{{- $further := mergeOverwrite (deepCopy ($context.Values.commonLabels | default dict)) (deepCopy (index . 1 | default dict)) -}}
{{- range $name, $value := $further -}}
{{- if hasKey $selector $name -}}
{{- fail (printf "%s: %s can't be set: it is how selectors find the operator's pods" $name $value) -}}
{{- end -}}
{{- end -}}
{{- mergeOverwrite $labels $further $selector | toYaml -}}
{{- end }}

{{- define "sdxl-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sdxl-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.create is false: serviceAccount.name must say which account to use" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "sdxl-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sdxl-operator.tokenKeySecretName" -}}
{{- default (printf "%s-token-key" (include "sdxl-operator.fullname" .)) .Values.tokenKey.existingSecret -}}
{{- end }}
