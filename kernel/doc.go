// Package kernel is the only home of unsafe, raw system calls and BPF loading:
// the fabric (maps, programs and gates of a running system), and what makes a
// protection domain (mounts, namespaces, user IDs, cgroups, Landlock, seccomp).
//
// Invariants:
//   - it decides nothing: what may pass is in the image, who gets what is the
//     monitor's and the creator's business;
//   - unsafe stands in files whose names end in _unsafe.go, and in no other room;
//   - what the running kernel lacks is an error that names it (UnsupportedError),
//     never silently less protection.
//
// It may import abi, image and filter. Programs link its folders page and
// packet only; probe answers for `ward doctor`.
package kernel
