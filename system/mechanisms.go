package system

// KernelParameters, in `require`, asks for parameters of messages that are
// checked in the kernel, and so not for the level `library`.
const KernelParameters = "kernel-parameters"

// Mechanisms are what `require` may name: the mechanisms that `ward doctor`
// prints (a test of cmd/ward compares the two), and KernelParameters.
var Mechanisms = []string{
	KernelParameters,
	"filters on Unix sockets",
	"locked filters",
	"frozen shared maps",
	"BPF ring buffer",
	"BPF boot-time clock",
	"BPF JIT compiler",
	"cgroup of the sender",
	"SO_PEERGROUPS",
	"SO_PEERPIDFD",
	"SO_PASSRIGHTS",
	"Landlock",
	"Landlock scopes",
	"seccomp filters",
	"mount API",
	"ID-mapped mounts",
	"user namespaces",
	"pidfd",
	"cgroup v2",
	"memory and CPU controllers",
	"project quotas",
	"sealed memory",
	"secret memory",
}
