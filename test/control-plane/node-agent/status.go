package main

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// writeStatus tells the API server how the pod is. Conditions of others, such as DisruptionTarget of an eviction, stay.
func (w *podWorker) writeStatus() {
	status, pod := w.status(), w.pod
	patch, err := statusPatch(pod, status)
	if err != nil {
		w.logf("status: %v", err)
		return
	}
	w.agent.persist("status of "+pod.Namespace+"/"+pod.Name, func(ctx context.Context) error {
		_, err := w.agent.client.CoreV1().Pods(pod.Namespace).Patch(
			ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if apierrors.IsInvalid(err) {
			w.logf("status: %v", err)
			return nil
		}
		return err
	})
}

// statusPatch leaves the conditions of others as they are. Addresses are replaced: a pod has new ones after its node has booted.
func statusPatch(pod *corev1.Pod, status corev1.PodStatus) ([]byte, error) {
	whole, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(whole, &fields); err != nil {
		return nil, err
	}
	for _, name := range []string{"podIPs", "hostIPs"} {
		if addresses, found := fields[name].([]any); found {
			fields[name] = append(addresses, map[string]any{"$patch": "replace"})
		}
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": fields})
}

func (w *podWorker) status() corev1.PodStatus {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	status := corev1.PodStatus{Phase: w.phase, StartTime: &w.started, ObservedGeneration: w.latest.Generation}
	status.HostIP = w.agent.config.Network.HostAddress
	status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	if w.network != nil {
		status.PodIP = w.network.address
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	initialized, ready := true, true
	for _, container := range w.containers {
		current := container.current()
		if container.isInit {
			switch {
			case container.isSidecar():
				initialized = initialized && isClosed(container.hasStarted)
			default:
				current.Ready = current.State.Terminated != nil && current.State.Terminated.ExitCode == 0
				initialized = initialized && current.Ready
			}
			status.InitContainerStatuses = append(status.InitContainerStatuses, current)
			ready = ready && (current.Ready || !container.isSidecar())
			continue
		}
		ready = ready && current.Ready
		status.ContainerStatuses = append(status.ContainerStatuses, current)
	}
	reason := ""
	switch w.phase {
	case corev1.PodSucceeded:
		ready, reason = false, "PodCompleted"
	case corev1.PodFailed:
		ready, reason = false, "PodFailed"
	default:
		if !ready {
			reason = "ContainersNotReady"
		}
	}
	initializedReason := ""
	if !initialized {
		initializedReason = "ContainersNotInitialized"
	}
	status.Conditions = []corev1.PodCondition{
		w.condition(corev1.PodReadyToStartContainers, w.network != nil, ""),
		w.condition(corev1.PodInitialized, initialized, initializedReason),
		w.condition(corev1.ContainersReady, ready, reason),
		w.condition(corev1.PodReady, ready && w.gatesPass(), reason),
	}
	if w.ending != nil && w.ending.reason != "" {
		status.Reason, status.Message = w.ending.reason, w.ending.message
		if w.ending.disruption != "" {
			disrupted := w.condition(corev1.DisruptionTarget, true, w.ending.disruption)
			disrupted.Message = w.ending.message
			status.Conditions = append(status.Conditions, disrupted)
		}
	}
	return status
}

// condition keeps the time of its last transition where nothing changes.
func (w *podWorker) condition(kind corev1.PodConditionType, holds bool, reason string) corev1.PodCondition {
	condition := corev1.PodCondition{
		Type: kind, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.Now(), ObservedGeneration: w.latest.Generation,
	}
	if holds {
		condition.Status = corev1.ConditionTrue
	}
	for _, former := range w.latest.Status.Conditions {
		if former.Type == kind && former.Status == condition.Status {
			condition.LastTransitionTime = former.LastTransitionTime
		}
	}
	return condition
}

func (w *podWorker) gatesPass() bool {
	for _, gate := range w.pod.Spec.ReadinessGates {
		passed := false
		for _, condition := range w.latest.Status.Conditions {
			passed = passed || condition.Type == gate.ConditionType && condition.Status == corev1.ConditionTrue
		}
		if !passed {
			return false
		}
	}
	return true
}
