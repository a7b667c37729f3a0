/**
 * What Pod Security's level "restricted" refuses in a pod.
 * @see https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
import { at } from './manifests.js';

const volumeTypes = ['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'image', 'persistentVolumeClaim', 'projected', 'secret'];

export function restrictedViolations(podSpec: unknown): readonly string[] {
  const containers = ['initContainers', 'containers'].flatMap((field) => list(podSpec, field));
  return [
    ...['hostNetwork', 'hostPID', 'hostIPC'].filter((field) => at(podSpec, field) === true),
    ...list(podSpec, 'volumes').flatMap((volume) => {
      const type = Object.keys(volume as object).find((key) => key !== 'name') ?? 'none';
      return volumeTypes.includes(type) ? [] : [`volume of type ${type}`];
    }),
    ...containers.flatMap((container) => {
      const name = String(at(container, 'name'));
      const effective = (field: string): unknown => at(container, 'securityContext', field) ?? at(podSpec, 'securityContext', field);
      return Object.entries({
        'runs as root': effective('runAsNonRoot') !== true || effective('runAsUser') === 0,
        'may gain privileges': at(container, 'securityContext', 'allowPrivilegeEscalation') !== false,
        'is privileged': at(container, 'securityContext', 'privileged') === true,
        'keeps capabilities': JSON.stringify(at(container, 'securityContext', 'capabilities', 'drop')) !== '["ALL"]',
        'adds capabilities': at(container, 'securityContext', 'capabilities', 'add') !== undefined,
        'has no seccomp profile': !['RuntimeDefault', 'Localhost'].includes(String(at(effective('seccompProfile'), 'type'))),
        'has a host port': list(container, 'ports').some((port) => at(port, 'hostPort') !== undefined),
      })
        .filter(([, violated]) => violated)
        .map(([what]) => `container ${name} ${what}`);
    }),
  ];
}

function list(value: unknown, field: string): readonly unknown[] {
  const found = at(value, field);
  return Array.isArray(found) ? (found as readonly unknown[]) : [];
}
