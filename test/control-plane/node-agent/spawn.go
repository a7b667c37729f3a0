package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountSpec is one mount of a container, bound from a path of this machine.
type mountSpec struct {
	Source   string
	Target   string
	ReadOnly bool
}

// containerSpec is all that container_init.go is told.
type containerSpec struct {
	Scratch         string
	Hidden          string
	Hostname        string
	Hosts           string
	Resolver        string
	Mounts          []mountSpec
	ReadOnlyRoot    bool
	Reachable       []string
	Args            []string
	Env             []string
	WorkingDir      string
	UID, GID        int64
	Groups          []int64
	NoNewPrivileges bool
}

// mounts is a thread with a mount namespace of its own. Every container starts from it, so that what it mounts is seen by containers and
// nobody else, and is gone with this process; and containers are killed when it ends, which it never does before the process.
type mounts struct {
	work chan func()
}

func newMounts() (*mounts, error) {
	m := &mounts{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			ready <- fmt.Errorf("mount namespaces are needed: %w", err)
			return
		}
		ready <- unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		for work := range m.work {
			work()
		}
	}()
	return m, <-ready
}

// do runs work on the thread and waits for it.
func (m *mounts) do(work func() error) error {
	result := make(chan error)
	m.work <- func() { result <- work() }
	return <-result
}

// start begins a container in the pod's network and returns once its program runs. A startError says why it doesn't.
func (m *mounts) start(spec containerSpec, network *os.File, output *os.File) (*exec.Cmd, error) {
	description, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	specReader, specWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	failureReader, failureWriter, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer failureReader.Close()
	command := exec.Command("/proc/self/exe", "container")
	command.Env = []string{}
	command.Stdout, command.Stderr = output, output
	command.ExtraFiles = []*os.File{specReader, failureWriter}
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
		Setsid:     true,
	}
	err = m.do(func() error {
		own, err := currentNetwork()
		if err != nil {
			return err
		}
		defer own.Close()
		if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		err = command.Start()
		return errors.Join(err, unix.Setns(int(own.Fd()), unix.CLONE_NEWNET))
	})
	specReader.Close()
	failureWriter.Close()
	if err != nil {
		specWriter.Close()
		return nil, err
	}
	_, writeErr := specWriter.Write(description)
	specWriter.Close()
	// The container closes it by becoming its program.
	failure, readErr := io.ReadAll(failureReader)
	if len(failure) == 0 && writeErr == nil && readErr == nil {
		return command, nil
	}
	_ = command.Process.Kill()
	_ = command.Wait()
	if len(failure) > 0 {
		return nil, startError(bytes.TrimSpace(failure))
	}
	return nil, errors.Join(writeErr, readErr)
}

// startError is why a container's program can't be run, in its own words.
type startError string

func (e startError) Error() string { return string(e) }
