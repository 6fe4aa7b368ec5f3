package kernel

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel reads and writes is as large as it takes it for.
func TestDiskLayouts(t *testing.T) {
	for what, sizes := range map[string][2]uintptr{
		"struct if_dqblk": {unsafe.Sizeof(quotaLimits{}), 72},
		"struct fsxattr":  {unsafe.Sizeof(attributes{}), 28},
		"its project":     {unsafe.Offsetof(attributes{}.project), 12},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s: %d bytes instead of %d", what, sizes[0], sizes[1])
		}
	}
	if n := unsafe.Sizeof(quotaStatus{}); n < 160 { // struct fs_quota_statv
		t.Errorf("struct fs_quota_statv: %d bytes", n)
	}
}

// Of quotas the creator, and nothing that it starts, sets and reads those of projects.
func TestMakerQuotas(t *testing.T) {
	prog, err := CompileSeccomp(MakerCalls)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what    string
		command uint64
		allowed bool
	}{
		{"set the limits of a project", quotaSet, true},
		{"read them", quotaGet, true},
		{"whether they are enforced", quotaState, true},
		{"set those of a user", 0x800008 << 8, false},
		{"switch quotas of projects off", 0x800003<<8 | projects, false},
		{"the same, of XFS", 0x5802<<8 | projects, false},
		{"set them, of XFS", 0x5804<<8 | projects, false},
	} {
		if got := judge(t, prog, seccompArch, unix.SYS_QUOTACTL_FD, 3, c.command) == seccompAllow; got != c.allowed {
			t.Errorf("%s: allowed is %v", c.what, got)
		}
		for name, table := range map[string]*CallTable{"gate": GateCalls, "host": HostCalls, "monitor": MonitorCalls, "audit": AuditCalls} {
			prog, err := CompileSeccomp(table)
			if err != nil {
				t.Fatal(err)
			}
			if judge(t, prog, seccompArch, unix.SYS_QUOTACTL_FD, 3, c.command) == seccompAllow {
				t.Errorf("%s: %s is allowed", name, c.what)
			}
		}
	}
	if judge(t, prog, seccompArch, unix.SYS_QUOTACTL, quotaSet, 0) == seccompAllow {
		t.Error("quotactl by the name of a device is allowed")
	}
}

// dquot is a notice as the kernel makes it (fs/quota/netlink.c, quota_send_warning).
func dquot(kind uint32, id uint64, what uint32) []byte {
	order := binary.NativeEndian
	b := make([]byte, unix.SizeofNlMsghdr)
	order.PutUint16(b[4:], dquotFamily)
	b = append(b, dquotWarning, 1, 0, 0)
	u32 := func(name uint16, v uint32) {
		b = order.AppendUint32(order.AppendUint16(order.AppendUint16(b, 8), name), v)
	}
	u64 := func(name uint16, v uint64) {
		b = order.AppendUint64(order.AppendUint16(order.AppendUint16(b, 12), name), v)
	}
	u32(dquotType, kind)
	u64(dquotID, id)
	u32(dquotWhat, what)
	u32(4, 7) // device
	u32(5, 0)
	u64(6, 1000) // who
	order.PutUint32(b, uint32(len(b)))
	return b
}

// filtered runs a classic filter on b, as the kernel would.
func filtered(t *testing.T, prog []unix.SockFilter, b []byte) bool {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		switch i := prog[pc]; i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if int(i.K)+4 > len(b) {
				return false
			}
			a = binary.BigEndian.Uint32(b[i.K:])
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == i.K {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return i.K > 0
		default:
			t.Fatalf("instruction %+v", i)
		}
	}
	t.Fatal("the filter has no end")
	return false
}

func TestDiskNotices(t *testing.T) {
	const project = 1<<30 + 5
	good := dquot(projects, project, dquotTooLarge)
	longer := dquot(projects, project, dquotTooLarge)
	binary.NativeEndian.PutUint32(longer, uint32(len(longer)+1))
	other := dquot(projects, project, dquotTooLarge)
	binary.NativeEndian.PutUint16(other[4:], dquotFamily+1)
	empty := dquot(projects, project, dquotTooLarge)
	binary.NativeEndian.PutUint16(empty[unix.SizeofNlMsghdr+4:], 0)
	for _, c := range []struct {
		what     string
		b        []byte
		passes   bool // the filter
		is, ours bool
	}{
		{"too many bytes", good, true, true, true},
		{"too many files", dquot(projects, project, dquotTooMany), true, true, true},
		{"a soft limit", dquot(projects, project, 6), true, false, false},
		{"below the limit again", dquot(projects, project, 9), true, false, false},
		{"of another project", dquot(projects, project+1, dquotTooLarge), false, true, false},
		{"of a user", dquot(0, project, dquotTooLarge), false, false, false},
		{"a number of 64 bits", dquot(projects, project|1<<32, dquotTooLarge), true, false, false},
		{"of another family", other, true, false, false},
		{"longer than it is", longer, true, false, false},
		{"an attribute of no length", empty, true, false, false},
	} {
		if got := filtered(t, dquotFilter(project), c.b); got != c.passes {
			t.Errorf("%s: the filter says %v", c.what, got)
		}
		p, is := parseDquot(c.b)
		if is != c.is || (is && p == project) != c.ours {
			t.Errorf("%s: project %d, %v", c.what, p, is)
		}
	}
	for n := range good {
		if p, is := parseDquot(good[:n]); is {
			t.Errorf("the first %d bytes: project %d", n, p)
		}
	}
}
