package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unitOf reads the unit for services, for a system and with these words replaced:
// its settings, by name.
func unitOf(t *testing.T, system string, words ...string) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../../contrib/systemd/ward@.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(strings.NewReplacer(append(words, "%i", system)...).Replace(string(b))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] += value + "\n"
		}
	}
	return settings
}

const unitSystem = `ward: 1
name: NAME
policy: [policy.cedar]
domains:
  worker: {build: ./worker}
  last: {build: ./worker, needs: [worker]}
`

const unitProgram = `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("manager:", os.Getenv("NOTIFY_SOCKET"))
	<-c
}
`

// TestUnitRuns: the commands of the unit, started as a service manager does, with
// hardly any environment: the manager is told that the system is ready when all of
// it is started and can be reloaded, and not before; that it stops; and the end is a
// good one. Domains are not told of the manager.
func TestUnitRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts domains")
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs go: the unit builds a system")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", bin+"/", "ward/cmd/ward", "ward/cmd/wardd", "ward/cmd/ward-names")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name := fmt.Sprintf("tu%d", os.Getpid())
	t.Cleanup(func() { os.RemoveAll(filepath.Join("/run/ward", name)) })
	system := filepath.Join(dir, "etc", name)
	for path, text := range map[string]string{"system.yaml": strings.ReplaceAll(unitSystem, "NAME", name), "policy.cedar": "", "go.mod": "module worker\n\ngo 1.21\n", "worker/main.go": unitProgram} {
		path = filepath.Join(system, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	unit := unitOf(t, name, "/usr/bin/", bin+"/", "/etc/ward/", filepath.Join(dir, "etc")+"/", "/var/cache", filepath.Join(dir, "cache"))
	if unit["Type"] != "notify\n" {
		t.Fatalf("the type of the service is %q", unit["Type"])
	}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	env := append(strings.Split(strings.TrimSpace(unit["Environment"]), "\n"), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:"+filepath.Dir(goCommand))
	command := func(setting string) *exec.Cmd {
		words := strings.Fields(unit[setting])
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env, cmd.Dir = append([]string{"NOTIFY_SOCKET=" + filepath.Join(dir, "notify")}, env...), "/"
		return cmd
	}
	told := func() string {
		t.Helper()
		b := make([]byte, 4096)
		socket.SetReadDeadline(time.Now().Add(upPatience))
		n, _, err := socket.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	// A service has no home, where Go would have what programs depend on.
	depends := exec.Command(goCommand, "env", "GOMODCACHE")
	depends.Env = env
	if out, err := depends.Output(); err != nil || len(bytes.TrimSpace(out)) == 0 {
		t.Errorf("there is no place for what programs depend on: %v", err)
	}
	up := command("ExecStart")
	var out bytes.Buffer
	up.Stdout, up.Stderr = &out, &out
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		up.Process.Kill()
		up.Wait()
		if t.Failed() {
			t.Logf("%s", &out)
		}
	})
	if got := told(); !strings.HasPrefix(got, "READY=1\n") {
		t.Errorf("the manager is told %q", got)
	}
	ps, err := exec.Command(filepath.Join(bin, "ward"), "ps", "--system", name, "--json").CombinedOutput()
	if err != nil || bytes.Count(ps, []byte(`"state":"running"`)) != 2 {
		t.Errorf("when it is ready: %v\n%s", err, ps)
	}
	policy := `@id("no children") forbid (principal, action == ward::Action::"spawn", resource);` + "\n"
	if err := os.WriteFile(filepath.Join(system, "policy.cedar"), []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := command("ExecReload").CombinedOutput(); err != nil {
		t.Errorf("reload: %v\n%s", err, out)
	}
	if err := up.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := told(); got != "STOPPING=1" {
		t.Errorf("the manager is told %q", got)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	log, err := os.ReadFile(filepath.Join("/run/ward", name, "log", "worker"))
	if err != nil || !bytes.Contains(log, []byte("manager: \n")) {
		t.Errorf("a domain says %q (%v)", log, err)
	}
}
