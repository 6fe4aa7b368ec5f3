package system

import (
	"slices"
	"strings"
)

// quotaShape is what bounds a domain. The defaults stand in image.Limits.
var quotaShape = objectOf("Bounds of what the domain uses; what is left out has a default (docs/quotas.md).",
	key{"processes", false, number("Processes and threads.", 1, 1<<22)},
	key{"memory", false, size("Memory, in bytes, /tmp and what the kernel holds for the domain included.", 1<<20, 1<<50)},
	key{"cpu_weight", false, number("CPU weight, as cgroup v2's cpu.weight: the part of the domain, with all that come from it, where others want the processor too. 100 is usual.", 1, 10000)},
	key{"cpu", false, number("Hard limit of CPU time, in percent of one processor. Without it there is none.", 1, 100*1024)},
	key{"files", false, number("Open descriptors of one process.", 16, 1<<20)},
	key{"file_size", false, size("Largest file that it may write, in bytes.", 4096, 1<<50)},
	key{"disk", false, size("All that it may hold on the disk, in bytes: in the files and directories of the host that it may write (`files` with `w`). Without it there is no limit.", 64<<10, 1<<50)},
	key{"gates", false, number("Ends of gates.", 1, 1<<16)},
	key{"messages", false, number("Requests a second that it may send, over all its gates; as many may come at once.", 1, 1_000_000)})

// disk refuses a quota of disk that bounds nothing.
func (b *builder) disk(d *Domain, v *value) {
	writes := func(f File) bool { return strings.Contains(f.Mode.Value, "w") }
	switch {
	case v == nil:
	case d.Template:
		b.out.Errorf(v.pos, "leave `disk` out, and state it for the domain that makes the children", "domain %q is a template: its children write where their parent may, and what they write counts as the parent's", d.Name.Value)
	case !slices.ContainsFunc(d.Files, writes):
		b.out.Errorf(v.pos, "list in `files` what it may write, or leave `disk` out; /tmp is bounded by `tmp`", "domain %q has a quota of disk, and may write no file of the host", d.Name.Value)
	}
}
