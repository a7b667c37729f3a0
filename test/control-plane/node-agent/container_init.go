package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

const (
	specFile    = 3
	failureFile = 4
)

// runContainerInit is the first process of a container, in its new namespaces. It builds the container's file system, gives up what it
// must not keep, and becomes the container's program. What goes wrong is written to the failure file.
func runContainerInit() {
	runtime.LockOSThread()
	unix.CloseOnExec(failureFile)
	failure := os.NewFile(failureFile, "failure")
	if err := becomeContainer(); err != nil {
		fmt.Fprint(failure, err)
		os.Exit(128)
	}
}

func becomeContainer() error {
	input := os.NewFile(specFile, "spec")
	var spec containerSpec
	if err := json.NewDecoder(input).Decode(&spec); err != nil {
		return err
	}
	input.Close()
	if err := buildRoot(spec); err != nil {
		return fmt.Errorf("file system: %w", err)
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return err
	}
	if err := os.MkdirAll(spec.WorkingDir, 0o755); err != nil && !errors.Is(err, unix.EROFS) {
		return err
	}
	if err := os.Chdir(spec.WorkingDir); err != nil {
		return err
	}
	for _, variable := range spec.Env {
		if path, found := strings.CutPrefix(variable, "PATH="); found {
			os.Setenv("PATH", path)
		}
	}
	if err := giveUpPrivileges(spec); err != nil {
		return err
	}
	program, err := exec.LookPath(spec.Args[0])
	if err != nil {
		return err
	}
	if err := syscall.Exec(program, spec.Args, spec.Env); err != nil {
		return fmt.Errorf("exec %s: %w", program, err)
	}
	return nil
}

func giveUpPrivileges(spec containerSpec) error {
	groups := make([]int, 0, len(spec.Groups))
	for _, group := range spec.Groups {
		groups = append(groups, int(group))
	}
	if err := syscall.Setgroups(groups); err != nil {
		return err
	}
	if err := syscall.Setgid(int(spec.GID)); err != nil {
		return err
	}
	if err := syscall.Setuid(int(spec.UID)); err != nil {
		return err
	}
	if spec.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	// A change of user clears it.
	return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// buildRoot makes this machine's files the container's, below a layer that takes what the container writes, and moves there.
func buildRoot(spec containerSpec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	others, err := otherMounts(spec.Hidden)
	if err != nil {
		return err
	}
	if err := unix.Mount("scratch", spec.Scratch, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	root, upper, work := filepath.Join(spec.Scratch, "root"), filepath.Join(spec.Scratch, "upper"), filepath.Join(spec.Scratch, "work")
	for _, folder := range []string{root, upper, work} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, layers); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	for _, other := range others {
		if err := bind(other, filepath.Join(root, other), false); err != nil {
			return err
		}
	}
	if err := makeReachable(root, spec.Reachable); err != nil {
		return err
	}
	if err := mountSystem(root); err != nil {
		return err
	}
	if err := writeNames(root, spec); err != nil {
		return err
	}
	// Outer mounts first.
	sort.SliceStable(spec.Mounts, func(i, j int) bool { return len(spec.Mounts[i].Target) < len(spec.Mounts[j].Target) })
	for _, mount := range spec.Mounts {
		// Links on the way, such as /var/run, lead within the container.
		target, err := securejoin.SecureJoin(root, mount.Target)
		if err != nil {
			return err
		}
		if err := bind(mount.Source, target, mount.ReadOnly); err != nil {
			return fmt.Errorf("mount %s: %w", mount.Target, err)
		}
	}
	if spec.ReadOnlyRoot {
		if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("read-only root: %w", err)
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	// The old root comes to lie over the new one, from where it is taken away.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Chdir("/")
}

// otherMounts lists the file systems mounted below /, but for those a container has its own of, and those of nodes.
func otherMounts(hidden string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var others []string
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		path := strings.ReplaceAll(fields[4], `\040`, " ")
		own := path == "/"
		for _, system := range []string{"/proc", "/sys", "/dev", hidden} {
			own = own || path == system || strings.HasPrefix(path, system+"/")
		}
		if _, err := os.Stat(path); !own && err == nil {
			others = append(others, path)
		}
	}
	sort.Strings(others)
	return others, nil
}

// bind mounts source at target, which is made where it doesn't exist.
func bind(source, target string, readOnly bool) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		if info.IsDir() {
			err = os.MkdirAll(target, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
			err = os.WriteFile(target, nil, 0o644)
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if readOnly {
		return unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	}
	return nil
}

// makeReachable lets every user through to the image's programs, as in an image; this machine may keep them in somebody's home.
func makeReachable(root string, paths []string) error {
	for _, path := range paths {
		for ; path != "/" && path != "."; path = filepath.Dir(path) {
			inside := filepath.Join(root, path)
			info, err := os.Stat(inside)
			if err != nil || !info.IsDir() || info.Mode().Perm()&0o5 == 0o5 {
				continue
			}
			if err := os.Chmod(inside, info.Mode().Perm()|0o55); err != nil {
				return err
			}
		}
	}
	return nil
}

// mountSystem gives the container its own /proc and /dev, with this machine's devices.
func mountSystem(root string) error {
	proc, sys, dev := filepath.Join(root, "proc"), filepath.Join(root, "sys"), filepath.Join(root, "dev")
	if err := unix.Mount("proc", proc, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	if err := bind("/sys", sys, false); err != nil {
		return err
	}
	if err := unix.Mount("dev", dev, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return err
	}
	devices, err := filepath.Glob("/dev/nvidia*")
	if err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "dri", "infiniband"} {
		devices = append(devices, "/dev/"+name)
	}
	for _, device := range devices {
		if _, err := os.Stat(device); err == nil {
			if err := bind(device, filepath.Join(root, device), false); err != nil {
				return err
			}
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	for name, data := range map[string]string{"pts": "newinstance,ptmxmode=0666,mode=0620", "shm": "mode=1777,size=64m"} {
		if err := os.Mkdir(filepath.Join(dev, name), 0o755); err != nil {
			return err
		}
		kind := map[string]string{"pts": "devpts", "shm": "tmpfs"}[name]
		if err := unix.Mount(name, filepath.Join(dev, name), kind, unix.MS_NOSUID, data); err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	return nil
}

func writeNames(root string, spec containerSpec) error {
	for name, text := range map[string]string{
		"hostname":    spec.Hostname + "\n",
		"hosts":       spec.Hosts,
		"resolv.conf": spec.Resolver,
	} {
		file := filepath.Join(root, "etc", name)
		// This machine's may be a link to somewhere.
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
