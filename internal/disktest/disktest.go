package disktest

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"ward/kernel"
)

// A Kind is a way to make a file system and to mount it.
type Kind struct {
	Name    string
	fs      string
	make    []string // options of mkfs
	size    int64    // bytes; the smallest, if there is one
	options string   // of mount
}

const mib = 1 << 20

// Those that bound what projects hold, those that only count it, and those that know none.
var (
	Ext4          = Kind{"ext4", "ext4", []string{"-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"}, 64 * mib, "prjquota"}
	Ext4Counting  = Kind{"ext4 without the option", "ext4", Ext4.make, 64 * mib, ""}
	Ext4Without   = Kind{"ext4 without the feature", "ext4", []string{"-q", "-F", "-O", "^quota,^project"}, 64 * mib, ""}
	XFS           = Kind{"XFS", "xfs", []string{"-q", "-f"}, 320 * mib, "prjquota"}
	XFSCounting   = Kind{"XFS without enforcement", "xfs", XFS.make, 320 * mib, "pqnoenforce"}
	XFSWithout    = Kind{"XFS without the option", "xfs", XFS.make, 320 * mib, ""}
	guest         = "/plan.json" // that the guest has (vm/internal/plan)
	adminPrograms = []string{"", "/usr/sbin/", "/sbin/"}
)

// Mount makes a file system, mounts it, and returns where. It takes root.
func Mount(t *testing.T, kind Kind) string {
	t.Helper()
	mkfs := program(t, kind)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755)) // domains have users of their own
	}
	file, point := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, kind.size)) // it is sparse
	if out, err := exec.Command(mkfs, append(slices.Clone(kind.make), file)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", mkfs, err, out)
	}
	must(t, os.Mkdir(point, 0o755))
	device := loop(t, file)
	err := unix.Mount(device, point, kind.fs, 0, kind.options)
	if _, isGuest := os.Stat(guest); err == unix.EINVAL && isGuest != nil {
		t.Skipf("needs project quotas of %s in the kernel (CONFIG_QFMT_V2, CONFIG_XFS_QUOTA), which the guest of make vm-test has: mount with %q: %v", kind.fs, kind.options, err)
	}
	if err != nil {
		t.Fatalf("mount %s with %q: %v", kind.fs, kind.options, err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(point, unix.MNT_DETACH)) })
	return point
}

// program returns what makes a file system.
func program(t *testing.T, kind Kind) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts a file system")
	}
	if err := kernel.CanBoundDisk(); err != nil {
		t.Skipf("needs project quotas in the kernel (CONFIG_QUOTACTL), which the guest of make vm-test has: %v", err)
	}
	name := "mkfs." + kind.fs
	for _, dir := range adminPrograms {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	t.Skipf("needs %s, to make a file system with project quotas", name)
	return ""
}

// loop makes a file a block device, until nobody has that open or mounted.
func loop(t *testing.T, file string) string {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("needs loop devices: %v", err)
	}
	defer control.Close()
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	must(t, err)
	defer backing.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		must(t, err)
		name := "/dev/loop" + strconv.Itoa(n)
		device, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		err = unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}})
		if err == unix.EBUSY { // somebody was faster
			device.Close()
			continue
		}
		t.Cleanup(func() { device.Close() }) // without a mount it would go at once
		must(t, err)
		return name
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
