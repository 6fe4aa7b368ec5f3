package nginxbench

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"ward/kernel"
)

func TestMain(m *testing.M) {
	Creator()
	os.Exit(m.Run())
}

// What is measured is confined as domains are, by wardd's filter and by its
// own, and the nginx without Ward by none.
func TestConfined(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it starts domains")
	}
	if _, err := os.Stat(Program); err != nil {
		t.Skip("needs nginx:", err)
	}
	o := Options{UID: 0x7ff00000, Layers: true}
	o.defaults()
	b := &bench{o: o, files: opened, site: oneFile(16)}
	defer func() {
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.start(); err != nil {
		t.Fatal(err)
	}
	for i, s := range b.servers {
		want := "0"
		if i > 0 && layers[i-1].without&kernel.WithSeccomp == 0 {
			want = "2"
		}
		if got := statusOf(t, s.pid, "Seccomp_filters"); got != want {
			t.Errorf("server %d, %s: %s filters, want %s", i, s.name, got, want)
		}
	}
}

// statusOf returns a value of /proc/PID/status.
func statusOf(t *testing.T, pid int, key string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, key)
	return ""
}
