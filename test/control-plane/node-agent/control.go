package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveControl takes a test's orders, on a Unix socket.
func (a *agent) serveControl(path string) error {
	// One of a former life.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	orders := http.NewServeMux()
	orders.HandleFunc("POST /freeze", func(http.ResponseWriter, *http.Request) { a.connection.freeze() })
	orders.HandleFunc("POST /thaw", func(http.ResponseWriter, *http.Request) { a.connection.thaw() })
	orders.HandleFunc("PUT /images", answer(a.replaceImages))
	orders.HandleFunc("GET /processes", answer(a.listProcesses))
	orders.HandleFunc("POST /evict", answer(a.evict))
	go func() { log.Print(http.Serve(listener, orders)) }()
	return nil
}

func answer(order func(*http.Request) (any, error)) http.HandlerFunc {
	return func(writer http.ResponseWriter, request *http.Request) {
		result, err := order(request)
		if err == nil {
			err = json.NewEncoder(writer).Encode(result)
		}
		if err != nil {
			http.Error(writer, err.Error(), http.StatusBadRequest)
		}
	}
}

func (a *agent) replaceImages(request *http.Request) (any, error) {
	var images map[string]image
	if err := json.NewDecoder(request.Body).Decode(&images); err != nil {
		return nil, err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.images = images
	return nil, nil
}

func (a *agent) evict(request *http.Request) (any, error) {
	worker, err := a.worker(request.FormValue("namespace"), request.FormValue("name"))
	if err != nil {
		return nil, err
	}
	worker.stop(termination{
		grace: time.Second, reason: "Evicted", message: "The node was low on resource: memory.", disruption: "TerminationByKubelet",
	})
	return nil, nil
}

// process is one of a container's, by its number on this machine.
type process struct {
	PID       int      `json:"pid"`
	Container string   `json:"container"`
	Args      []string `json:"args"`
}

func (a *agent) listProcesses(request *http.Request) (any, error) {
	worker, err := a.worker(request.FormValue("namespace"), request.FormValue("name"))
	if err != nil {
		return nil, err
	}
	processes := []process{}
	for _, container := range worker.containers {
		first, err := container.pid()
		if err != nil {
			continue
		}
		inside, err := processesIn(first)
		if err != nil {
			return nil, err
		}
		for _, pid := range inside {
			if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(args) > 0 {
				split := strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
				processes = append(processes, process{PID: pid, Container: container.spec.Name, Args: split})
			}
		}
	}
	return processes, nil
}

// processesIn lists those in the process namespace of its first, which comes first: numbers start again when they are used up.
func processesIn(first int) ([]int, error) {
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return nil, err
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		return nil, err
	}
	pids := []int{first}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == namespace {
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			if err != nil {
				return nil, err
			}
			if pid != first {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids[1:])
	return pids, nil
}
