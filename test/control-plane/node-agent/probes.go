package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probes ask one run of a container how it is: first whether it has started, then whether it lives and is ready.
type probes struct {
	container *containerWorker
	// unhealthy is closed when the container must be restarted.
	unhealthy chan struct{}
	once      sync.Once
	stop      context.CancelFunc
}

func (c *containerWorker) startProbes() *probes {
	ctx, cancel := context.WithCancel(context.Background())
	p := &probes{container: c, unhealthy: make(chan struct{}), stop: cancel}
	go func() {
		if c.spec.StartupProbe != nil && !p.awaitStartup(ctx) {
			return
		}
		yes := true
		c.change(func(status *corev1.ContainerStatus) {
			status.Started = &yes
			status.Ready = c.spec.ReadinessProbe == nil
		})
		if !isClosed(c.hasStarted) {
			close(c.hasStarted)
		}
		if c.spec.LivenessProbe != nil {
			go p.watch(ctx, "Liveness", c.spec.LivenessProbe, true, func(healthy bool) {
				if !healthy {
					p.fail()
				}
			})
		}
		if c.spec.ReadinessProbe != nil {
			go p.watch(ctx, "Readiness", c.spec.ReadinessProbe, false, func(ready bool) {
				c.change(func(status *corev1.ContainerStatus) { status.Ready = ready && ctx.Err() == nil })
			})
		}
	}()
	return p
}

func (p *probes) fail() {
	p.once.Do(func() { close(p.unhealthy) })
}

func (p *probes) awaitStartup(ctx context.Context) bool {
	startup, cancel := context.WithCancel(ctx)
	defer cancel()
	passed := false
	p.watch(startup, "Startup", p.container.spec.StartupProbe, true, func(started bool) {
		passed = started
		if !started {
			p.fail()
		}
		cancel()
	})
	return passed
}

// watch probes until ctx ends and reports each change, from `initially` on, once its threshold is reached. A startup probe reports its first
// success too.
func (p *probes) watch(ctx context.Context, kind string, probe *corev1.Probe, initially bool, report func(healthy bool)) {
	healthy, failures, successes := initially, int32(0), int32(0)
	if kind == "Startup" {
		healthy = false
	}
	for delay := time.Duration(probe.InitialDelaySeconds) * time.Second; sleep(ctx, delay); delay = time.Duration(max(probe.PeriodSeconds, 1)) * time.Second {
		limited, cancel := context.WithTimeout(ctx, time.Duration(max(probe.TimeoutSeconds, 1))*time.Second)
		err := p.container.ask(limited, &probe.ProbeHandler)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			failures, successes = failures+1, 0
			p.container.pod.agent.events.Event(p.container.pod.pod, corev1.EventTypeWarning, "Unhealthy", kind+" probe failed: "+err.Error())
			if failures >= max(probe.FailureThreshold, 1) && (healthy || kind == "Startup") {
				healthy = false
				report(false)
			}
		} else {
			failures, successes = 0, successes+1
			if successes >= max(probe.SuccessThreshold, 1) && !healthy {
				healthy = true
				report(true)
			}
		}
	}
}

func sleep(ctx context.Context, delay time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(delay):
		return true
	}
}

func (c *containerWorker) ask(ctx context.Context, handler *corev1.ProbeHandler) error {
	switch {
	case handler.Exec != nil:
		return c.exec(ctx, handler.Exec.Command)
	case handler.HTTPGet != nil:
		return c.get(ctx, handler.HTTPGet)
	case handler.TCPSocket != nil:
		address, err := c.endpoint(handler.TCPSocket.Host, handler.TCPSocket.Port)
		if err != nil {
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	case handler.GRPC != nil:
		return c.askGRPC(ctx, handler.GRPC)
	default:
		return errors.New("no such probe")
	}
}

// exec runs a command within the container.
func (c *containerWorker) exec(ctx context.Context, args []string) error {
	pid, err := c.pid()
	if err != nil {
		return err
	}
	entry := []string{"--target=" + strconv.Itoa(pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--"}
	output, err := exec.CommandContext(ctx, "nsenter", append(entry, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

func (c *containerWorker) get(ctx context.Context, action *corev1.HTTPGetAction) error {
	address, err := c.endpoint(action.Host, action.Port)
	if err != nil {
		return err
	}
	scheme := "http"
	if action.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+address+"/"+trimSlash(action.Path), nil)
	if err != nil {
		return err
	}
	for _, header := range action.HTTPHeaders {
		request.Header.Add(header.Name, header.Value)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", answer.StatusCode)
	}
	return nil
}

func (c *containerWorker) askGRPC(ctx context.Context, action *corev1.GRPCAction) error {
	address := net.JoinHostPort(c.pod.address(), strconv.Itoa(int(action.Port)))
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	request := &grpc_health_v1.HealthCheckRequest{}
	if action.Service != nil {
		request.Service = *action.Service
	}
	answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, request)
	if err != nil {
		return err
	}
	if answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", answer.Status)
	}
	return nil
}

func (c *containerWorker) runHook(ctx context.Context, hook *corev1.LifecycleHandler) error {
	switch {
	case hook.Exec != nil:
		return c.exec(ctx, hook.Exec.Command)
	case hook.HTTPGet != nil:
		return c.get(ctx, hook.HTTPGet)
	case hook.Sleep != nil:
		sleep(ctx, time.Duration(hook.Sleep.Seconds)*time.Second)
		return nil
	default:
		return errors.New("no such hook")
	}
}

func (c *containerWorker) endpoint(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = c.pod.address()
	}
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, named := range c.spec.Ports {
			if named.Name == port.StrVal {
				number = int(named.ContainerPort)
			}
		}
	}
	if number == 0 {
		return "", fmt.Errorf("container %s has no port %s", c.spec.Name, port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

func trimSlash(path string) string {
	if len(path) > 0 && path[0] == '/' {
		return path[1:]
	}
	return path
}
