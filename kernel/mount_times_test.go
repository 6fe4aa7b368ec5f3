package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ward/image"
)

// What a domain may only read keeps no times of access, and what it may write
// those that it keeps on the host; a host's mount below comes along.
func TestTimesOfAccess(t *testing.T) {
	needHost(t)
	dir, err := os.MkdirTemp("/var/tmp", "ward-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	read, write := filepath.Join(dir, "read"), filepath.Join(dir, "write")
	for _, d := range []string{read, write} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := shell(nil, "cat /proc/self/mountinfo")
	s.Binds = []Bind{{Path: read, Access: image.Read}, {Path: write, Access: image.Read | image.Write}}
	out, _ := run(t, s)
	options := map[string][]string{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		options[f[4]] = strings.Split(f[5], ",")
	}
	for path, want := range map[string][]string{read: {"ro", "noatime"}, write: {"rw"}, "/usr": {"ro", "noatime"}} {
		for _, o := range want {
			if !slices.Contains(options[path], o) {
				t.Errorf("%s: %q, want %s", path, options[path], o)
			}
		}
	}
	if slices.Contains(options[write], "noatime") != slices.Contains(hostOptions(t, write), "noatime") {
		t.Errorf("%s: %q", write, options[write])
	}
	// The host's own mount is as it was.
	if got := hostOptions(t, "/usr"); slices.Contains(got, "noatime") && !slices.Contains(hostOptions(t, dir), "noatime") {
		t.Errorf("the host's mount of /usr: %q", got)
	}
}

// hostOptions are those of the mount that a path of the host is on.
func hostOptions(t *testing.T, path string) (options []string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	best := -1
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if at := strings.TrimSuffix(f[4], "/"); len(at) >= best && (path == at || strings.HasPrefix(path, at+"/")) {
			best, options = len(at), strings.Split(f[5], ",")
		}
	}
	return options
}
