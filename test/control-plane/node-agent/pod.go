package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// termination is why and how a pod's containers are ended before their time.
type termination struct {
	grace time.Duration
	// reason and message of the pod's status, of an eviction or a deadline. The phase is then Failed.
	reason, message string
	// disruption is the reason of the condition DisruptionTarget, where it is the node that ends the pod.
	disruption string
	// keep leaves the pod's status as it is: the node shuts down.
	keep bool
}

// podWorker runs one pod from its start to its removal.
type podWorker struct {
	agent   *agent
	volumes *volumes
	network *podNetwork

	// pod is as it was when the worker began; nothing that matters to containers changes later.
	pod        *corev1.Pod
	containers []*containerWorker

	mutex sync.Mutex
	// latest is the pod as the API server had it last.
	latest  *corev1.Pod
	phase   corev1.PodPhase
	started metav1.Time
	ending  *termination
	// end is closed when the containers must end.
	end   chan struct{}
	dirty chan struct{}
}

func newPodWorker(agent *agent, pod *corev1.Pod) *podWorker {
	worker := &podWorker{
		agent: agent, pod: pod, latest: pod, phase: corev1.PodPending, started: metav1.Now(), end: make(chan struct{}), dirty: make(chan struct{}, 1),
		volumes: &volumes{
			agent: agent, pod: pod, paths: map[string]string{}, folder: filepath.Join(agent.config.Directory, "pods", string(pod.UID)),
		},
	}
	if pod.Status.StartTime != nil {
		worker.started = *pod.Status.StartTime
	}
	for i := range pod.Spec.InitContainers {
		worker.containers = append(worker.containers, newContainerWorker(worker, &pod.Spec.InitContainers[i], true))
	}
	for i := range pod.Spec.Containers {
		worker.containers = append(worker.containers, newContainerWorker(worker, &pod.Spec.Containers[i], false))
	}
	return worker
}

func (w *podWorker) update(pod *corev1.Pod) {
	w.mutex.Lock()
	w.latest = pod
	w.mutex.Unlock()
	if pod.DeletionTimestamp != nil {
		grace := time.Duration(0)
		if pod.DeletionGracePeriodSeconds != nil {
			grace = time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
		}
		w.stop(termination{grace: grace})
	}
}

// stop ends the pod; the first reason counts.
func (w *podWorker) stop(why termination) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.ending == nil {
		w.ending = &why
		close(w.end)
	}
}

// changed has the status written soon.
func (w *podWorker) changed() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

func (w *podWorker) run() {
	w.adoptFormerLife()
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-w.dirty:
				w.writeStatus()
			case <-over:
				return
			}
		}
	})
	w.changed()
	if seconds := w.pod.Spec.ActiveDeadlineSeconds; seconds != nil {
		deadline := time.AfterFunc(time.Until(w.started.Add(time.Duration(*seconds)*time.Second)), func() {
			w.stop(termination{
				grace: w.gracePeriod(), reason: "DeadlineExceeded", message: "Pod was active on the node longer than the specified deadline",
			})
		})
		defer deadline.Stop()
	}
	succeeded := w.runContainers()
	w.finish(succeeded)
	close(over)
	writer.Wait()

	w.mutex.Lock()
	keep := w.ending != nil && w.ending.keep
	w.mutex.Unlock()
	if !keep {
		w.writeStatus()
		w.awaitRemoval()
	}
	if err := w.release(); err != nil {
		w.logf("release: %v", err)
	}
}

// adoptFormerLife ends what ran before the agent was started again: a node that has lost power has lost its containers.
func (w *podWorker) adoptFormerLife() {
	statuses := append(append([]corev1.ContainerStatus{}, w.pod.Status.InitContainerStatuses...), w.pod.Status.ContainerStatuses...)
	for _, former := range statuses {
		for _, container := range w.containers {
			if container.spec.Name == former.Name && (former.State.Running != nil || former.State.Terminated != nil) {
				container.adopt(former)
			}
		}
	}
}

// runContainers takes the pod through its life and tells whether it succeeded.
func (w *podWorker) runContainers() bool {
	if !w.prepare() {
		return false
	}
	policy := w.pod.Spec.RestartPolicy
	var sidecars, mains sync.WaitGroup
	stopSidecars := make(chan struct{})
	defer sidecars.Wait()
	defer close(stopSidecars)
	for _, container := range w.containers {
		if !container.isInit {
			continue
		}
		if container.isSidecar() {
			sidecars.Go(func() { container.supervise(corev1.RestartPolicyAlways, w.end, stopSidecars) })
			if !container.awaitStarted(w.end) {
				return false
			}
			continue
		}
		initPolicy := policy
		if policy == corev1.RestartPolicyAlways {
			initPolicy = corev1.RestartPolicyOnFailure
		}
		if !container.supervise(initPolicy, w.end, nil) {
			return false
		}
	}
	w.setPhase(corev1.PodRunning)
	for _, container := range w.containers {
		if !container.isInit {
			mains.Go(func() { container.supervise(policy, w.end, nil) })
		}
	}
	mains.Wait()
	for _, container := range w.containers {
		if !container.isInit && !container.succeeded() {
			return false
		}
	}
	return true
}

// prepare makes network and volumes, trying again until there is what they need.
func (w *podWorker) prepare() bool {
	return w.retry("FailedCreatePodSandBox", func() error {
		network, err := w.agent.networks.open()
		if err != nil {
			return err
		}
		w.mutex.Lock()
		w.network = network
		w.mutex.Unlock()
		w.changed()
		return nil
	}) && w.retry("FailedMount", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return w.volumes.make(ctx)
	})
}

func (w *podWorker) retry(reason string, work func() error) bool {
	said := ""
	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		select {
		case <-w.end:
			return false
		default:
		}
		err := work()
		if err == nil {
			return true
		}
		if err.Error() != said {
			said = err.Error()
			w.logf("%s: %s", reason, said)
			w.agent.events.Event(w.pod, corev1.EventTypeWarning, reason, said)
		}
		select {
		case <-w.end:
			return false
		case <-time.After(delay):
		}
	}
}

func (w *podWorker) setPhase(phase corev1.PodPhase) {
	w.mutex.Lock()
	w.phase = phase
	w.mutex.Unlock()
	w.changed()
}

// finish gives the pod its last phase. Containers that never ran count as failed, those of an evicted pod too.
// Devices are free by then: a pod that has ended is no obstacle to the scheduler.
func (w *podWorker) finish(succeeded bool) {
	for _, container := range w.containers {
		container.releaseDevices()
	}
	phase := corev1.PodFailed
	w.mutex.Lock()
	if succeeded && (w.ending == nil || w.ending.reason == "") {
		phase = corev1.PodSucceeded
	}
	w.mutex.Unlock()
	w.setPhase(phase)
}

// awaitRemoval waits until the pod is deleted, and confirms that nothing of it runs.
func (w *podWorker) awaitRemoval() {
	for {
		w.mutex.Lock()
		pod := w.latest
		w.mutex.Unlock()
		if pod.DeletionTimestamp != nil {
			w.agent.remove(pod)
			return
		}
		if w.agent.isForgotten(pod) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *podWorker) release() error {
	w.mutex.Lock()
	network := w.network
	w.mutex.Unlock()
	if network != nil {
		w.agent.networks.close(network)
	}
	return w.volumes.release()
}

func (w *podWorker) gracePeriod() time.Duration {
	if seconds := w.pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		return time.Duration(*seconds) * time.Second
	}
	return 30 * time.Second
}

// graceLeft is how long the containers have that must end now.
func (w *podWorker) graceLeft() time.Duration {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.ending == nil {
		return w.gracePeriod()
	}
	return w.ending.grace
}

func (w *podWorker) address() string {
	if w.network == nil {
		return ""
	}
	return w.network.address
}

func (w *podWorker) findContainer(name string) (*containerWorker, error) {
	for _, container := range w.containers {
		if container.spec.Name == name {
			return container, nil
		}
	}
	return nil, errors.New("container not found: " + name)
}

func (w *podWorker) logf(format string, values ...any) {
	log.Printf("%s/%s: %s", w.pod.Namespace, w.pod.Name, fmt.Sprintf(format, values...))
}
