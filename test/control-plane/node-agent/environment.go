package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// environment gives a container's variables: those of the image, then of envFrom, then of env, each replacing those before.
func (a *agent) environment(ctx context.Context, pod *corev1.Pod, container corev1.Container, from image, address string) (map[string]string, error) {
	variables := map[string]string{
		"PATH":                    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME":                    "/root",
		"HOSTNAME":                hostname(pod),
		"KUBERNETES_SERVICE_HOST": kubernetesService,
		"KUBERNETES_SERVICE_PORT": "443",
	}
	maps.Copy(variables, from.Env)
	for _, source := range container.EnvFrom {
		data, err := a.dataOf(ctx, pod.Namespace, source)
		if err != nil {
			return nil, err
		}
		for key, value := range data {
			variables[source.Prefix+key] = value
		}
	}
	for _, variable := range container.Env {
		value, present, err := a.variable(ctx, pod, container, variable, variables, address)
		if err != nil {
			return nil, err
		}
		if present {
			variables[variable.Name] = value
		}
	}
	return variables, nil
}

func (a *agent) dataOf(ctx context.Context, namespace string, source corev1.EnvFromSource) (map[string]string, error) {
	if source.ConfigMapRef != nil {
		found, err := a.client.CoreV1().ConfigMaps(namespace).Get(ctx, source.ConfigMapRef.Name, metav1.GetOptions{})
		if isOptional(err, source.ConfigMapRef.Optional) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		return found.Data, nil
	}
	found, err := a.client.CoreV1().Secrets(namespace).Get(ctx, source.SecretRef.Name, metav1.GetOptions{})
	if isOptional(err, source.SecretRef.Optional) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	data := map[string]string{}
	for key, value := range found.Data {
		data[key] = string(value)
	}
	return data, nil
}

func (a *agent) variable(
	ctx context.Context, pod *corev1.Pod, container corev1.Container, variable corev1.EnvVar, before map[string]string, address string,
) (value string, present bool, err error) {
	from := variable.ValueFrom
	switch {
	case from == nil:
		return expand(variable.Value, before), true, nil
	case from.FieldRef != nil:
		value, err = fieldValue(pod, from.FieldRef.FieldPath, address, a.config.Network.HostAddress)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = resourceValue(a.config.Capacity, container, from.ResourceFieldRef)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		reference := from.ConfigMapKeyRef
		found, err := a.client.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", false, err
		}
		return chosenKey(found.Data, reference.Name, reference.Key, reference.Optional, "configmap", err)
	case from.SecretKeyRef != nil:
		reference := from.SecretKeyRef
		found, err := a.client.CoreV1().Secrets(pod.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return "", false, err
		}
		return chosenKey(found.Data, reference.Name, reference.Key, reference.Optional, "secret", err)
	default:
		return "", false, fmt.Errorf("variable %s: the node agent knows no source of this type", variable.Name)
	}
}

func chosenKey[T string | []byte](data map[string]T, name, key string, optional *bool, kind string, missing error) (string, bool, error) {
	value, found := data[key]
	switch {
	case found:
		return string(value), true, nil
	case optional != nil && *optional:
		return "", false, nil
	case missing != nil:
		return "", false, missing
	default:
		return "", false, fmt.Errorf("couldn't find key %s in %s %s", key, kind, name)
	}
}

// fieldValue resolves what the downward API offers; address and node's address are known only while the pod runs.
func fieldValue(pod *corev1.Pod, path, address, nodeAddress string) (string, error) {
	for prefix, from := range map[string]map[string]string{"metadata.labels['": pod.Labels, "metadata.annotations['": pod.Annotations} {
		if key, found := strings.CutPrefix(path, prefix); found {
			return from[strings.TrimSuffix(key, "']")], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return quoted(pod.Labels), nil
	case "metadata.annotations":
		return quoted(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return address, nil
	case "status.hostIP", "status.hostIPs":
		return nodeAddress, nil
	default:
		return "", fmt.Errorf("unsupported field %s", path)
	}
}

func quoted(pairs map[string]string) string {
	lines := []string{}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		lines = append(lines, key+"="+strconv.Quote(pairs[key]))
	}
	return strings.Join(lines, "\n")
}

// resourceValue is a container's request or limit in units of the divisor, rounded up; without a limit what the node has.
func resourceValue(capacity corev1.ResourceList, container corev1.Container, selector *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(selector.Resource, ".")
	list := container.Resources.Requests
	if kind == "limits" {
		list = container.Resources.Limits
	}
	quantity, found := list[corev1.ResourceName(name)]
	if !found && kind == "limits" {
		quantity = capacity[corev1.ResourceName(name)]
	}
	divisor := selector.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	return strconv.FormatInt((quantity.MilliValue()+divisor.MilliValue()-1)/divisor.MilliValue(), 10), nil
}

// expand replaces $(NAME) by what is known, keeps it where it isn't, and makes $$ a single one.
func expand(text string, variables map[string]string) string {
	var result strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			result.WriteByte(text[i])
			continue
		}
		if text[i+1] == '$' {
			result.WriteByte('$')
			i++
			continue
		}
		end := strings.IndexByte(text[i:], ')')
		if text[i+1] != '(' || end < 0 {
			result.WriteByte('$')
			continue
		}
		if value, found := variables[text[i+2:i+end]]; found {
			result.WriteString(value)
		} else {
			result.WriteString(text[i : i+end+1])
		}
		i += end
	}
	return result.String()
}

// hostname is what the pod's containers see: spec.hostname, else its name, cut to what a host name may have.
func hostname(pod *corev1.Pod) string {
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}
