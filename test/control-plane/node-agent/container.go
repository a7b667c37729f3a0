package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
)

const (
	firstBackoff = time.Second
	lastBackoff  = 30 * time.Second
	imagePoll    = 500 * time.Millisecond
)

// containerWorker runs one container of a pod, again and again as far as its policy goes.
type containerWorker struct {
	pod    *podWorker
	spec   *corev1.Container
	isInit bool
	// hasStarted is closed when the container has started for the first time, its startup probe passed.
	hasStarted chan struct{}
	devices    map[corev1.ResourceName][]int

	mutex   sync.Mutex
	status  corev1.ContainerStatus
	process *exec.Cmd
	// lost: it ran before this agent did, and may not run again.
	lost bool
}

func newContainerWorker(pod *podWorker, spec *corev1.Container, isInit bool) *containerWorker {
	started := false
	return &containerWorker{
		pod: pod, spec: spec, isInit: isInit, hasStarted: make(chan struct{}),
		status: corev1.ContainerStatus{
			Name: spec.Name, Image: spec.Image, Started: &started,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}},
		},
	}
}

func (c *containerWorker) isSidecar() bool {
	return c.isInit && c.spec.RestartPolicy != nil && *c.spec.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// adopt takes over the status of a container that a former agent ran. What was running then is gone.
func (c *containerWorker) adopt(former corev1.ContainerStatus) {
	started := false
	former.Ready, former.Started = false, &started
	if former.State.Running != nil {
		former.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: "ContainerStatusUnknown", Message: "The container could not be located when the pod was started again",
			StartedAt: former.State.Running.StartedAt, FinishedAt: metav1.Now(),
		}}
	}
	c.status = former
	c.lost = true
}

// supervise runs the container until it may not run again, and tells whether it succeeded.
func (c *containerWorker) supervise(policy corev1.RestartPolicy, end, stop <-chan struct{}) bool {
	backoff := firstBackoff
	if c.lost {
		if terminated := c.status.State.Terminated; !mayRestart(policy, terminated.ExitCode) {
			return terminated.ExitCode == 0
		}
		if !c.awaitRestart(0, end, stop) {
			return false
		}
	}
	for {
		exitCode, ran := c.runOnce(end, stop)
		if !ran {
			return false
		}
		if isClosed(end) || isClosed(stop) || !mayRestart(policy, exitCode) {
			return exitCode == 0
		}
		if !c.awaitRestart(backoff, end, stop) {
			return false
		}
		backoff = min(2*backoff, lastBackoff)
	}
}

func mayRestart(policy corev1.RestartPolicy, exitCode int32) bool {
	return policy == corev1.RestartPolicyAlways || policy == corev1.RestartPolicyOnFailure && exitCode != 0
}

func (c *containerWorker) awaitRestart(delay time.Duration, end, stop <-chan struct{}) bool {
	c.change(func(status *corev1.ContainerStatus) {
		status.LastTerminationState = status.State
		status.RestartCount++
		status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{
			Reason: "CrashLoopBackOff", Message: fmt.Sprintf("back-off %v restarting failed container=%s", delay, c.spec.Name),
		}}
	})
	return pause(delay, end, stop)
}

// runOnce starts the container and waits for its end. It has not run where the pod had to end before.
func (c *containerWorker) runOnce(end, stop <-chan struct{}) (exitCode int32, ran bool) {
	found, ok := c.awaitImage(end, stop)
	if !ok {
		return 0, false
	}
	spec, ok := c.awaitSpec(found, end, stop)
	if !ok {
		return 0, false
	}
	output, err := os.OpenFile(c.nextLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return c.failedToStart(err), true
	}
	defer output.Close()
	// What a former run left there is not this one's.
	if err := os.Truncate(c.terminationFile(), 0); err != nil {
		return c.failedToStart(err), true
	}
	process, err := c.pod.agent.mounts.start(*spec, c.pod.network.namespace, output)
	if err != nil {
		return c.failedToStart(err), true
	}
	started := metav1.Now()
	identity := "process://" + string(uuid.NewUUID())
	probes := c.startProbes()
	c.mutex.Lock()
	c.process = process
	c.mutex.Unlock()
	c.change(func(status *corev1.ContainerStatus) {
		status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: started}}
		status.ContainerID, status.ImageID = identity, "process://"+c.spec.Image
	})
	c.pod.agent.events.Event(c.pod.pod, corev1.EventTypeNormal, "Started", "Started container "+c.spec.Name)

	exited := make(chan struct{})
	var waited error
	go func() {
		waited = process.Wait()
		close(exited)
	}()
	select {
	case <-exited:
	case <-probes.unhealthy:
		c.terminate(process, exited, c.pod.gracePeriod())
	case <-end:
		c.terminate(process, exited, c.pod.graceLeft())
	case <-stop:
		c.terminate(process, exited, c.pod.gracePeriod())
	}
	probes.stop()
	c.mutex.Lock()
	c.process = nil
	c.mutex.Unlock()
	state := c.terminated(process, waited, started, identity)
	c.change(func(status *corev1.ContainerStatus) {
		no := false
		status.State = corev1.ContainerState{Terminated: state}
		status.Ready, status.Started = false, &no
	})
	return state.ExitCode, true
}

// terminate asks the container to end: its preStop hook, SIGTERM, and SIGKILL once the grace period is over.
func (c *containerWorker) terminate(process *exec.Cmd, exited <-chan struct{}, grace time.Duration) {
	c.pod.agent.events.Event(c.pod.pod, corev1.EventTypeNormal, "Killing", "Stopping container "+c.spec.Name)
	deadline := time.Now().Add(grace)
	if c.spec.Lifecycle != nil && c.spec.Lifecycle.PreStop != nil && grace > 0 {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		if err := c.runHook(ctx, c.spec.Lifecycle.PreStop); err != nil {
			c.pod.agent.events.Event(c.pod.pod, corev1.EventTypeWarning, "FailedPreStopHook", err.Error())
		}
		cancel()
	}
	_ = process.Process.Signal(unix.SIGTERM)
	select {
	case <-exited:
	case <-time.After(time.Until(deadline)):
		_ = process.Process.Kill()
		<-exited
	}
}

func (c *containerWorker) terminated(
	process *exec.Cmd, waited error, started metav1.Time, identity string,
) *corev1.ContainerStateTerminated {
	state := &corev1.ContainerStateTerminated{
		StartedAt: started, FinishedAt: metav1.Now(), ContainerID: identity, Reason: "Completed",
	}
	status, ok := process.ProcessState.Sys().(interface {
		Signaled() bool
		Signal() unix.Signal
		ExitStatus() int
	})
	switch {
	case !ok:
		state.ExitCode, state.Message = 255, fmt.Sprint(waited)
	case status.Signaled():
		state.ExitCode = 128 + int32(status.Signal())
	default:
		state.ExitCode = int32(status.ExitStatus())
	}
	if state.ExitCode != 0 {
		state.Reason = "Error"
	}
	if message := c.terminationMessage(state.ExitCode != 0); message != "" {
		state.Message = message
	}
	return state
}

// failedToStart is the end of a container whose program can't be run, as container runtimes tell it.
func (c *containerWorker) failedToStart(err error) int32 {
	c.pod.logf("container %s: %v", c.spec.Name, err)
	c.pod.agent.events.Event(c.pod.pod, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	now := metav1.Now()
	c.change(func(status *corev1.ContainerStatus) {
		status.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: 128, Reason: "StartError", Message: err.Error(), StartedAt: now, FinishedAt: now,
		}}
	})
	return 128
}

func (c *containerWorker) awaitImage(end, stop <-chan struct{}) (image, bool) {
	for attempt := 0; ; attempt++ {
		if found, ok := c.pod.agent.image(c.spec.Image); ok {
			return found, true
		}
		reason, message := "ErrImagePull", "failed to pull image "+strconv.Quote(c.spec.Image)+": not found"
		if c.spec.ImagePullPolicy == corev1.PullNever {
			reason, message = "ErrImageNeverPull", "Container image "+strconv.Quote(c.spec.Image)+" is not present with pull policy of Never"
		} else if attempt > 0 {
			reason, message = "ImagePullBackOff", "Back-off pulling image "+strconv.Quote(c.spec.Image)
		}
		if attempt == 0 {
			c.pod.agent.events.Event(c.pod.pod, corev1.EventTypeWarning, "Failed", message)
		}
		c.wait(reason, message)
		if !pause(imagePoll, end, stop) {
			return image{}, false
		}
	}
}

func (c *containerWorker) awaitSpec(from image, end, stop <-chan struct{}) (*containerSpec, bool) {
	said := ""
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		spec, err := c.describe(ctx, from)
		cancel()
		if err == nil {
			return spec, true
		}
		if said != err.Error() {
			said = err.Error()
			c.pod.agent.events.Event(c.pod.pod, corev1.EventTypeWarning, "Failed", "Error: "+said)
		}
		c.wait("CreateContainerConfigError", said)
		if !pause(imagePoll, end, stop) {
			return nil, false
		}
	}
}

func (c *containerWorker) awaitStarted(end <-chan struct{}) bool {
	select {
	case <-c.hasStarted:
		return true
	case <-end:
		return false
	}
}

func (c *containerWorker) succeeded() bool {
	status := c.current()
	return status.State.Terminated != nil && status.State.Terminated.ExitCode == 0
}

func (c *containerWorker) wait(reason, message string) {
	c.change(func(status *corev1.ContainerStatus) {
		status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	})
}

func (c *containerWorker) change(edit func(status *corev1.ContainerStatus)) {
	c.mutex.Lock()
	edit(&c.status)
	c.mutex.Unlock()
	c.pod.changed()
}

func (c *containerWorker) current() corev1.ContainerStatus {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return *c.status.DeepCopy()
}

// pid is that of the container's first process on this machine.
func (c *containerWorker) pid() (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.process == nil {
		return 0, errors.New("container " + c.spec.Name + " is not running")
	}
	return c.process.Process.Pid, nil
}

func (c *containerWorker) releaseDevices() {
	c.pod.agent.free(c.devices)
	c.devices = nil
}

func (c *containerWorker) logFolder() string {
	name := fmt.Sprintf("%s_%s_%s", c.pod.pod.Namespace, c.pod.pod.Name, c.pod.pod.UID)
	return filepath.Join(c.pod.agent.config.Directory, "logs", name, c.spec.Name)
}

func (c *containerWorker) nextLog() string {
	return filepath.Join(c.logFolder(), strconv.Itoa(int(c.current().RestartCount))+".log")
}

func isClosed(channel <-chan struct{}) bool {
	select {
	case <-channel:
		return true
	default:
		return false
	}
}

// pause waits, and tells whether nothing ended it before.
func pause(delay time.Duration, end, stop <-chan struct{}) bool {
	select {
	case <-time.After(delay):
		return !isClosed(end) && !isClosed(stop)
	case <-end:
		return false
	case <-stop:
		return false
	}
}
