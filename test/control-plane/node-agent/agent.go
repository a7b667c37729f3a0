package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
)

// agent is the node: one worker for each of its pods.
type agent struct {
	config     *config
	client     kubernetes.Interface
	connection *connection
	mounts     *mounts
	networks   *podNetworks
	events     record.EventRecorder

	mutex   sync.Mutex
	images  map[string]image
	workers map[types.UID]*podWorker
	// devices in use, by resource and number.
	devices map[corev1.ResourceName]map[int]bool
	running sync.WaitGroup
}

func newAgent(config *config) (*agent, error) {
	rest, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	if err != nil {
		return nil, err
	}
	link := newConnection()
	rest.Dial = link.dial
	rest.QPS, rest.Burst = -1, -1
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, err
	}
	mounts, err := newMounts()
	if err != nil {
		return nil, err
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	return &agent{
		config: config, client: client, connection: link, mounts: mounts,
		networks: &podNetworks{config: config.Network, used: map[string]bool{}},
		events:   broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: config.Name}),
		images:   config.Images,
		workers:  map[types.UID]*podWorker{},
		devices:  map[corev1.ResourceName]map[int]bool{},
	}, nil
}

// run is the node's life. When it ends, its containers are asked to end too.
func (a *agent) run(ctx context.Context) error {
	kubelet, err := net.Listen("tcp", net.JoinHostPort(a.config.Network.HostAddress, "0"))
	if err != nil {
		return err
	}
	if err := a.serveKubelet(kubelet); err != nil {
		return err
	}
	if err := a.serveControl(filepath.Join(a.config.Directory, "control.sock")); err != nil {
		return err
	}
	if err := a.register(ctx, int32(kubelet.Addr().(*net.TCPAddr).Port)); err != nil {
		return err
	}
	go a.heartbeat(ctx)

	ofNode := informers.WithTweakListOptions(func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.config.Name).String()
	})
	factory := informers.NewSharedInformerFactoryWithOptions(a.client, 0, ofNode)
	pods := factory.Core().V1().Pods().Informer()
	if _, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { a.sync(object.(*corev1.Pod)) },
		UpdateFunc: func(_, object any) { a.sync(object.(*corev1.Pod)) },
		DeleteFunc: func(object any) {
			if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = tombstone.Obj
			}
			a.forget(object.(*corev1.Pod))
		},
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	a.mutex.Lock()
	for _, worker := range a.workers {
		worker.stop(termination{grace: time.Second, keep: true})
	}
	a.mutex.Unlock()
	a.running.Wait()
	return nil
}

// sync starts a pod's worker, or tells it of the pod's change.
func (a *agent) sync(pod *corev1.Pod) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if worker, found := a.workers[pod.UID]; found {
		worker.update(pod)
		return
	}
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		if pod.DeletionTimestamp != nil {
			go a.remove(pod)
		}
		return
	}
	worker := newPodWorker(a, pod)
	a.workers[pod.UID] = worker
	a.running.Add(1)
	go func() {
		defer a.running.Done()
		worker.run()
	}()
	worker.update(pod)
}

// forget ends the containers of a pod that was removed by force.
func (a *agent) forget(pod *corev1.Pod) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if worker, found := a.workers[pod.UID]; found {
		worker.stop(termination{grace: time.Second})
		delete(a.workers, pod.UID)
	}
}

// remove tells the API server that nothing of a deleted pod runs any more.
func (a *agent) remove(pod *corev1.Pod) {
	grace := int64(0)
	uid := pod.UID
	options := metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &uid}}
	a.persist("remove "+pod.Namespace+"/"+pod.Name, func(ctx context.Context) error {
		return a.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, options)
	})
}

// isForgotten tells that the pod is no longer known, as it was removed by force.
func (a *agent) isForgotten(pod *corev1.Pod) bool {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.workers[pod.UID] == nil
}

func (a *agent) image(reference string) (image, bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return findImage(a.images, reference)
}

func (a *agent) worker(namespace, name string) (*podWorker, error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, worker := range a.workers {
		if worker.pod.Namespace == namespace && worker.pod.Name == name {
			return worker, nil
		}
	}
	return nil, fmt.Errorf("no pod %s/%s runs on %s", namespace, name, a.config.Name)
}

// allocate takes numbered devices of the extended resources a container asks for.
func (a *agent) allocate(container corev1.Container) map[corev1.ResourceName][]int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	taken := map[corev1.ResourceName][]int{}
	for name, quantity := range container.Resources.Limits {
		if total := a.config.Capacity[name]; isExtended(name) {
			if a.devices[name] == nil {
				a.devices[name] = map[int]bool{}
			}
			for device := 0; device < int(total.Value()) && len(taken[name]) < int(quantity.Value()); device++ {
				if !a.devices[name][device] {
					a.devices[name][device] = true
					taken[name] = append(taken[name], device)
				}
			}
		}
	}
	return taken
}

func (a *agent) free(taken map[corev1.ResourceName][]int) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for name, devices := range taken {
		for _, device := range devices {
			delete(a.devices[name], device)
		}
	}
}

func isExtended(name corev1.ResourceName) bool {
	return slices.Contains([]byte(name), '/')
}

// visibleDevices is what the device plugin of the resource would add to a container's environment.
func visibleDevices(taken map[corev1.ResourceName][]int) map[string]string {
	for _, name := range slices.Sorted(maps.Keys(taken)) {
		if devices := taken[name]; name == "nvidia.com/gpu" {
			list := ""
			for _, device := range devices {
				if list != "" {
					list += ","
				}
				list += strconv.Itoa(device)
			}
			return map[string]string{"NVIDIA_VISIBLE_DEVICES": list}
		}
	}
	return nil
}

// connection is the node's way to the API server, which a test can cut.
type connection struct {
	mutex  sync.Mutex
	open   map[net.Conn]bool
	frozen chan struct{}
}

func newConnection() *connection {
	return &connection{open: map[net.Conn]bool{}}
}

// dial waits while the node is frozen, as packets that get lost make it wait.
func (c *connection) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mutex.Lock()
	frozen := c.frozen
	c.mutex.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	opened, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.frozen != nil {
		opened.Close()
		return nil, errors.New("the node is frozen")
	}
	c.open[opened] = true
	return &trackedConn{opened, c}, nil
}

func (c *connection) freeze() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.frozen == nil {
		c.frozen = make(chan struct{})
	}
	for opened := range c.open {
		opened.Close()
	}
	clear(c.open)
}

func (c *connection) thaw() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.frozen != nil {
		close(c.frozen)
		c.frozen = nil
	}
}

type trackedConn struct {
	net.Conn
	connection *connection
}

func (t *trackedConn) Close() error {
	t.connection.mutex.Lock()
	delete(t.connection.open, t.Conn)
	t.connection.mutex.Unlock()
	return t.Conn.Close()
}

// persist retries a write to the API server until it is done or of no use any more.
func (a *agent) persist(what string, write func(ctx context.Context) error) {
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := write(ctx)
		cancel()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		log.Printf("%s: %v; trying again", what, err)
		time.Sleep(delay)
	}
}
