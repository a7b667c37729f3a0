package main

import (
	"context"
	"encoding/json"
	"log"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const heartbeatPeriod = time.Second

// register makes the Node, or finds the one of its former life.
func (a *agent) register(ctx context.Context, port int32) error {
	labels := map[string]string{
		corev1.LabelHostname: a.config.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
	}
	for key, value := range a.config.Labels {
		labels[key] = value
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.config.Name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: a.config.Taints},
	}
	_, err := a.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return a.writeNodeStatus(ctx, &corev1.NodeStatus{
		Capacity:    a.config.Capacity,
		Allocatable: a.config.Capacity,
		Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: a.config.Network.HostAddress},
			{Type: corev1.NodeHostName, Address: a.config.Name},
		},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
		NodeInfo: corev1.NodeSystemInfo{
			Architecture: runtime.GOARCH, OperatingSystem: "linux", KubeletVersion: kubernetesVersion, ContainerRuntimeVersion: "processes://1",
		},
	})
}

// heartbeat renews the Lease, which tells that the node lives, and what the node says of itself.
func (a *agent) heartbeat(ctx context.Context) {
	ticks := time.NewTicker(heartbeatPeriod)
	defer ticks.Stop()
	for {
		if err := a.renewLease(ctx); err != nil && ctx.Err() == nil {
			log.Printf("renew lease: %v", err)
		}
		if err := a.writeNodeStatus(ctx, &corev1.NodeStatus{}); err != nil && ctx.Err() == nil {
			log.Printf("node status: %v", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func (a *agent) renewLease(ctx context.Context) error {
	leases := a.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now, seconds := metav1.NowMicro(), int32(40)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &a.config.Name, LeaseDurationSeconds: &seconds, RenewTime: &now}
	patch, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return err
	}
	_, err = leases.Patch(ctx, a.config.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		_, err = leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: a.config.Name}, Spec: spec}, metav1.CreateOptions{})
	}
	return err
}

// writeNodeStatus patches status with the node's conditions, and with what else is in it.
func (a *agent) writeNodeStatus(ctx context.Context, status *corev1.NodeStatus) error {
	now := metav1.Now()
	for kind, value := range map[corev1.NodeConditionType]corev1.ConditionStatus{
		corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
		corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
	} {
		status.Conditions = append(status.Conditions, corev1.NodeCondition{
			Type: kind, Status: value, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletReady", Message: "the node agent runs",
		})
	}
	whole, err := json.Marshal(status)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(whole, &fields); err != nil {
		return err
	}
	if status.NodeInfo.KubeletVersion == "" {
		delete(fields, "nodeInfo")
		delete(fields, "daemonEndpoints")
	}
	patch, err := json.Marshal(map[string]any{"status": fields})
	if err != nil {
		return err
	}
	_, err = a.client.CoreV1().Nodes().Patch(ctx, a.config.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
