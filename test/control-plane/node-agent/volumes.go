package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// volumes makes a pod's volumes on this machine, once, when the pod starts. Files of ConfigMaps, Secrets and fields don't change later.
type volumes struct {
	agent  *agent
	pod    *corev1.Pod
	folder string
	// paths by the volume's name.
	paths map[string]string
}

func (v *volumes) make(ctx context.Context) error {
	for _, volume := range v.pod.Spec.Volumes {
		if _, made := v.paths[volume.Name]; made {
			continue
		}
		path, err := v.makeOne(ctx, volume)
		if err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", volume.Name, err)
		}
		v.paths[volume.Name] = path
	}
	return nil
}

func (v *volumes) makeOne(ctx context.Context, volume corev1.Volume) (string, error) {
	path := filepath.Join(v.folder, "volumes", volume.Name)
	source := volume.VolumeSource
	switch {
	case source.EmptyDir != nil:
		return path, v.makeEmptyDir(path, source.EmptyDir)
	case source.HostPath != nil:
		return source.HostPath.Path, prepareHostPath(source.HostPath)
	case source.PersistentVolumeClaim != nil:
		return v.claim(ctx, source.PersistentVolumeClaim)
	case source.Image != nil:
		found, ok := v.agent.image(source.Image.Reference)
		if !ok || found.Directory == "" {
			return "", fmt.Errorf("image %s: not found", source.Image.Reference)
		}
		return found.Directory, nil
	case source.ConfigMap != nil:
		projection := corev1.ConfigMapProjection{
			LocalObjectReference: source.ConfigMap.LocalObjectReference, Items: source.ConfigMap.Items, Optional: source.ConfigMap.Optional,
		}
		return path, v.makeProjected(ctx, path, source.ConfigMap.DefaultMode, corev1.VolumeProjection{ConfigMap: &projection})
	case source.Secret != nil:
		projection := corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: source.Secret.SecretName},
			Items:                source.Secret.Items, Optional: source.Secret.Optional,
		}
		return path, v.makeProjected(ctx, path, source.Secret.DefaultMode, corev1.VolumeProjection{Secret: &projection})
	case source.DownwardAPI != nil:
		projection := corev1.DownwardAPIProjection{Items: source.DownwardAPI.Items}
		return path, v.makeProjected(ctx, path, source.DownwardAPI.DefaultMode, corev1.VolumeProjection{DownwardAPI: &projection})
	case source.Projected != nil:
		return path, v.makeProjected(ctx, path, source.Projected.DefaultMode, source.Projected.Sources...)
	default:
		return "", errors.New("the node agent knows no volumes of this type")
	}
}

func (v *volumes) makeEmptyDir(path string, source *corev1.EmptyDirVolumeSource) error {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	return v.agent.mounts.do(func() error {
		if source.Medium == corev1.StorageMediumMemory {
			options := "mode=0777"
			if source.SizeLimit != nil {
				options += fmt.Sprintf(",size=%d", source.SizeLimit.Value())
			}
			if err := unix.Mount("volume", path, "tmpfs", 0, options); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, 0o777); err != nil {
			return err
		}
		return v.own(path, 0o777)
	})
}

func prepareHostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	info, err := os.Stat(source.Path)
	switch {
	case err == nil && (kind == corev1.HostPathDirectory || kind == corev1.HostPathDirectoryOrCreate) && !info.IsDir():
		return fmt.Errorf("hostPath type check failed: %s is not a directory", source.Path)
	case err == nil:
		return nil
	case kind == corev1.HostPathDirectoryOrCreate || kind == corev1.HostPathUnset:
		return os.MkdirAll(source.Path, 0o755)
	case kind == corev1.HostPathFileOrCreate:
		return os.WriteFile(source.Path, nil, 0o644)
	default:
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
}

// claim is the folder of a bound claim's volume, which must be one of this machine.
func (v *volumes) claim(ctx context.Context, source *corev1.PersistentVolumeClaimVolumeSource) (string, error) {
	claim, err := v.agent.client.CoreV1().PersistentVolumeClaims(v.pod.Namespace).Get(ctx, source.ClaimName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	if claim.Status.Phase != corev1.ClaimBound {
		return "", fmt.Errorf("claim %s is %s", claim.Name, claim.Status.Phase)
	}
	volume, err := v.agent.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	switch {
	case volume.Spec.HostPath != nil:
		return volume.Spec.HostPath.Path, prepareHostPath(volume.Spec.HostPath)
	case volume.Spec.Local != nil:
		if err := os.MkdirAll(volume.Spec.Local.Path, 0o755); err != nil {
			return "", err
		}
		return volume.Spec.Local.Path, v.own(volume.Spec.Local.Path, 0o770)
	default:
		return "", fmt.Errorf("volume %s is neither hostPath nor local", volume.Name)
	}
}

// makeProjected writes files as the kubelet does: the modes asked for, and for the group of fsGroup where there is one.
func (v *volumes) makeProjected(ctx context.Context, path string, defaultMode *int32, sources ...corev1.VolumeProjection) error {
	files := map[string]projectedFile{}
	mode := int32(0o644)
	if defaultMode != nil {
		mode = *defaultMode
	}
	for _, source := range sources {
		if err := v.project(ctx, files, mode, source); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for name, file := range files {
		target := filepath.Join(path, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(target, file.content, 0o600); err != nil {
			return err
		}
		permissions := os.FileMode(file.mode)
		if v.group() != nil {
			permissions |= (permissions >> 3) & 0o040
			permissions |= (permissions & 0o400) >> 3
		}
		if err := os.Chmod(target, permissions); err != nil {
			return err
		}
		if err := v.own(target, 0); err != nil {
			return err
		}
	}
	return nil
}

type projectedFile struct {
	content []byte
	mode    int32
}

func (v *volumes) project(ctx context.Context, files map[string]projectedFile, mode int32, source corev1.VolumeProjection) error {
	core := v.agent.client.CoreV1()
	switch {
	case source.ConfigMap != nil:
		found, err := core.ConfigMaps(v.pod.Namespace).Get(ctx, source.ConfigMap.Name, metav1.GetOptions{})
		if isOptional(err, source.ConfigMap.Optional) {
			return nil
		} else if err != nil {
			return err
		}
		data := map[string][]byte{}
		for key, value := range found.Data {
			data[key] = []byte(value)
		}
		for key, value := range found.BinaryData {
			data[key] = value
		}
		return projectKeys(files, mode, data, source.ConfigMap.Items, source.ConfigMap.Optional, "configmap")
	case source.Secret != nil:
		found, err := core.Secrets(v.pod.Namespace).Get(ctx, source.Secret.Name, metav1.GetOptions{})
		if isOptional(err, source.Secret.Optional) {
			return nil
		} else if err != nil {
			return err
		}
		return projectKeys(files, mode, found.Data, source.Secret.Items, source.Secret.Optional, "secret")
	case source.DownwardAPI != nil:
		for _, item := range source.DownwardAPI.Items {
			value, err := v.downward(item)
			if err != nil {
				return err
			}
			files[item.Path] = projectedFile{[]byte(value), chosenMode(item.Mode, mode)}
		}
		return nil
	case source.ServiceAccountToken != nil:
		token, err := v.token(ctx, source.ServiceAccountToken)
		if err != nil {
			return err
		}
		files[source.ServiceAccountToken.Path] = projectedFile{[]byte(token), mode}
		return nil
	default:
		return errors.New("the node agent knows no projection of this type")
	}
}

func projectKeys(
	files map[string]projectedFile, mode int32, data map[string][]byte, items []corev1.KeyToPath, optional *bool, kind string,
) error {
	if len(items) == 0 {
		for key, value := range data {
			files[key] = projectedFile{value, mode}
		}
	}
	for _, item := range items {
		value, found := data[item.Key]
		if !found && (optional == nil || !*optional) {
			return fmt.Errorf("%s references non-existent config key: %s", kind, item.Key)
		} else if found {
			files[item.Path] = projectedFile{value, chosenMode(item.Mode, mode)}
		}
	}
	return nil
}

func (v *volumes) downward(item corev1.DownwardAPIVolumeFile) (string, error) {
	if item.FieldRef != nil {
		return fieldValue(v.pod, item.FieldRef.FieldPath, "", "")
	}
	for _, container := range v.pod.Spec.Containers {
		if container.Name == item.ResourceFieldRef.ContainerName {
			return resourceValue(v.agent.config.Capacity, container, item.ResourceFieldRef)
		}
	}
	return "", fmt.Errorf("container %s not found", item.ResourceFieldRef.ContainerName)
}

func (v *volumes) token(ctx context.Context, source *corev1.ServiceAccountTokenProjection) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: source.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: v.pod.Name, UID: types.UID(v.pod.UID)},
	}}
	if source.Audience != "" {
		request.Spec.Audiences = []string{source.Audience}
	}
	accounts := v.agent.client.CoreV1().ServiceAccounts(v.pod.Namespace)
	answer, err := accounts.CreateToken(ctx, v.pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

func (v *volumes) group() *int64 {
	if v.pod.Spec.SecurityContext == nil {
		return nil
	}
	return v.pod.Spec.SecurityContext.FSGroup
}

// own gives a path to the pod's fsGroup; a mode of 0 leaves its permissions alone.
func (v *volumes) own(path string, mode os.FileMode) error {
	group := v.group()
	if group == nil {
		return nil
	}
	if err := os.Chown(path, -1, int(*group)); err != nil || mode == 0 {
		return err
	}
	return os.Chmod(path, mode|os.ModeSetgid)
}

func (v *volumes) release() error {
	return errors.Join(v.agent.mounts.do(func() error {
		for _, volume := range v.pod.Spec.Volumes {
			if volume.EmptyDir != nil && volume.EmptyDir.Medium == corev1.StorageMediumMemory && v.paths[volume.Name] != "" {
				if err := unix.Unmount(v.paths[volume.Name], unix.MNT_DETACH); err != nil {
					return err
				}
			}
		}
		return nil
	}), os.RemoveAll(v.folder))
}

func isOptional(err error, optional *bool) bool {
	return apierrors.IsNotFound(err) && optional != nil && *optional
}

func chosenMode(own *int32, fallback int32) int32 {
	if own != nil {
		return *own
	}
	return fallback
}
