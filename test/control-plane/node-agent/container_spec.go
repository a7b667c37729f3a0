package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	maxMessageBytes  = 4096
	maxFallbackBytes = 2048
	maxFallbackLines = 80
)

// describe works out how the container is to run. What it finds wrong may be right later: a Secret that does not exist yet.
func (c *containerWorker) describe(ctx context.Context, from image) (*containerSpec, error) {
	pod := c.pod.pod
	if c.devices == nil {
		c.devices = c.pod.agent.allocate(*c.spec)
	}
	variables, err := c.pod.agent.environment(ctx, pod, *c.spec, from, c.pod.address())
	if err != nil {
		return nil, err
	}
	maps.Copy(variables, visibleDevices(c.devices))
	args, err := c.arguments(from, variables)
	if err != nil {
		return nil, err
	}
	spec := &containerSpec{
		Hidden:   filepath.Dir(filepath.Dir(c.pod.agent.config.Directory)),
		Scratch:  filepath.Join(c.pod.volumes.folder, "scratch", c.spec.Name),
		Hostname: hostname(pod),
		Hosts:    c.hosts(),
		Resolver: c.resolver(),
		Args:     args, WorkingDir: c.spec.WorkingDir,
		Reachable: reachable(from, args),
	}
	if spec.WorkingDir == "" {
		spec.WorkingDir = from.WorkingDir
	}
	if spec.WorkingDir == "" {
		spec.WorkingDir = "/"
	}
	for _, key := range slices.Sorted(maps.Keys(variables)) {
		spec.Env = append(spec.Env, key+"="+variables[key])
	}
	if err := c.secure(spec, from); err != nil {
		return nil, err
	}
	if err := c.mount(spec, variables); err != nil {
		return nil, err
	}
	keepVisible(spec, from.WorkingDir)
	return spec, errors.Join(os.MkdirAll(spec.Scratch, 0o755), os.MkdirAll(c.logFolder(), 0o755))
}

func (c *containerWorker) arguments(from image, variables map[string]string) ([]string, error) {
	command, args := from.Entrypoint, from.Cmd
	if len(c.spec.Command) > 0 {
		command, args = c.spec.Command, nil
	}
	if len(c.spec.Args) > 0 {
		args = c.spec.Args
	}
	all := []string{}
	for _, argument := range append(slices.Clone(command), args...) {
		all = append(all, expand(argument, variables))
	}
	if len(all) == 0 {
		return nil, errors.New("no command specified")
	}
	return all, nil
}

// secure settles who the container runs as.
func (c *containerWorker) secure(spec *containerSpec, from image) error {
	spec.UID = from.User
	nonRoot := false
	if pod := c.pod.pod.Spec.SecurityContext; pod != nil {
		spec.Groups = append(spec.Groups, pod.SupplementalGroups...)
		if pod.FSGroup != nil {
			spec.Groups = append(spec.Groups, *pod.FSGroup)
		}
		override(&spec.UID, pod.RunAsUser)
		override(&spec.GID, pod.RunAsGroup)
		override(&nonRoot, pod.RunAsNonRoot)
	}
	if own := c.spec.SecurityContext; own != nil {
		override(&spec.UID, own.RunAsUser)
		override(&spec.GID, own.RunAsGroup)
		override(&nonRoot, own.RunAsNonRoot)
		override(&spec.ReadOnlyRoot, own.ReadOnlyRootFilesystem)
		spec.NoNewPrivileges = own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation
	}
	if nonRoot && spec.UID == 0 {
		return fmt.Errorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", c.pod.pod.Name, c.spec.Name)
	}
	return nil
}

func override[T any](value *T, with *T) {
	if with != nil {
		*value = *with
	}
}

// keepVisible mounts the image's folder once more where a volume covers the folder that holds it, as /tmp does where the project lies there.
func keepVisible(spec *containerSpec, folder string) {
	folder = filepath.Clean(folder)
	for _, mount := range spec.Mounts {
		if within, err := filepath.Rel(mount.Target, folder); err == nil && within != "." && filepath.IsLocal(within) {
			spec.Mounts = append(spec.Mounts, mountSpec{Source: folder, Target: folder, ReadOnly: true})
			return
		}
	}
}

func (c *containerWorker) mount(spec *containerSpec, variables map[string]string) error {
	for _, mount := range c.spec.VolumeMounts {
		source, found := c.pod.volumes.paths[mount.Name]
		if !found {
			return fmt.Errorf("volume %s not found", mount.Name)
		}
		subPath := mount.SubPath
		if mount.SubPathExpr != "" {
			subPath = expand(mount.SubPathExpr, variables)
		}
		if subPath != "" {
			source = filepath.Join(source, subPath)
			// On the thread that sees the pod's volumes.
			if err := c.pod.agent.mounts.do(func() error {
				if _, err := os.Stat(source); err == nil {
					return nil
				}
				return os.MkdirAll(source, 0o777)
			}); err != nil {
				return err
			}
		}
		spec.Mounts = append(spec.Mounts, mountSpec{Source: source, Target: mount.MountPath, ReadOnly: mount.ReadOnly})
	}
	file := c.terminationFile()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return err
	}
	path := c.spec.TerminationMessagePath
	if path == "" {
		path = corev1.TerminationMessagePathDefault
	}
	spec.Mounts = append(spec.Mounts, mountSpec{Source: file, Target: path})
	return os.Chmod(file, 0o666)
}

func (c *containerWorker) terminationFile() string {
	return filepath.Join(c.pod.volumes.folder, "termination", c.spec.Name)
}

// terminationMessage is what the container left as such, or the end of its log where that is asked for.
func (c *containerWorker) terminationMessage(failed bool) string {
	message, err := os.ReadFile(c.terminationFile())
	if err != nil {
		return err.Error()
	}
	if len(message) == 0 && failed && c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		log, err := os.ReadFile(c.nextLog())
		if err != nil {
			return err.Error()
		}
		lines := bytes.SplitAfter(log, []byte("\n"))
		message = bytes.Join(lines[max(0, len(lines)-maxFallbackLines):], nil)
		return string(message[max(0, len(message)-maxFallbackBytes):])
	}
	return string(message[:min(len(message), maxMessageBytes)])
}

func (c *containerWorker) hosts() string {
	pod := c.pod.pod
	names := hostname(pod)
	if pod.Spec.Subdomain != "" {
		names = fmt.Sprintf("%s.%s.%s.svc.%s\t%s", hostname(pod), pod.Spec.Subdomain, pod.Namespace, clusterDomain, hostname(pod))
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" + c.pod.address() + "\t" + names + "\n"
	for _, alias := range pod.Spec.HostAliases {
		hosts += alias.IP + "\t" + strings.Join(alias.Hostnames, "\t") + "\n"
	}
	return hosts
}

func (c *containerWorker) resolver() string {
	namespace := c.pod.pod.Namespace
	return fmt.Sprintf("nameserver %s\nsearch %s.svc.%s svc.%s %s\noptions ndots:5\n",
		c.pod.agent.config.Network.Gateway, namespace, clusterDomain, clusterDomain, clusterDomain)
}

// reachable lists what of this machine the image stands for, so that users other than root get there.
func reachable(from image, args []string) []string {
	paths := []string{}
	if from.WorkingDir != "" {
		paths = append(paths, from.WorkingDir)
	}
	for _, argument := range append([]string{args[0]}, from.Entrypoint...) {
		if program, err := exec.LookPath(argument); err == nil && !filepath.IsAbs(argument) {
			argument = program
		}
		if real, err := filepath.EvalSymlinks(argument); err == nil && filepath.IsAbs(argument) {
			paths = append(paths, filepath.Dir(argument), filepath.Dir(real))
		}
	}
	return paths
}
