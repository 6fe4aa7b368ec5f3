package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/compile"
	"ward/holder/lifeline"
	"ward/holder/link"
	"ward/image"
)

// patience bounds every wait of these tests.
var patience = func() time.Duration {
	if os.Getenv(builtEnv) != "" {
		return 5 * time.Minute // an emulated processor
	}
	return 20 * time.Second
}()

// pace is how often the clients of these tests call. On an emulated processor, where
// a call takes that much longer, they would else leave nothing for whoever writes
// and reads the records of their calls, who falls behind more and more. Each turn takes a
// gate, too, which loads both processors of a small machine: WARD_KILLS_PACE, for
// example 100ms, leaves some of them, to measure what is back how soon where there is room.
var pace = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("WARD_KILLS_PACE")); err == nil && d > 0 {
		return d
	}
	if os.Getenv(builtEnv) != "" {
		return time.Second
	}
	return 10 * time.Millisecond
}()

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: domains, filters and cgroups")
	}
}

// builtEnv names a directory with these programs, where there is no Go to build them (vm/plan.go).
const builtEnv = "WARD_TEST_PROGRAMS"

// programs builds wardd, the name server and what runs in domains here, once, statically.
var programs = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(builtEnv); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "wardd-test")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "ward/cmd/wardd", "ward/cmd/ward-names", "ward/cmd/wardd/testdata/probe", "ward/cmd/wardd/testdata/hostile", "ward/cmd/wardd/testdata/family")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	if os.Getenv(waitEnv) != "" {
		waitUnprotected()
	}
	if role := os.Getenv(selfEnv); role != "" {
		if err := tryOnSelf(role); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	status := m.Run()
	if dir, err := programs(); err == nil && os.Geteuid() == 0 && os.Getenv(builtEnv) == "" {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// running is a system under test.
type running struct {
	t       *testing.T
	name    string
	dir     string // run directory
	bin     string
	life    *os.File
	cmd     *exec.Cmd
	reports chan lifeline.Report
	stderr  *bytes.Buffer
	since   time.Time
}

// testSlot is the slot of the tests' systems: each test process has its own, so
// that the user IDs of its domains, and with them RLIMIT_NPROC, are its own.
var testSlot = 3000 + testPID()%1000

// testPID is the number of this process, or of the one that started it apart.
func testPID() int {
	if pid, err := strconv.Atoi(os.Getenv(apartEnv)); err == nil {
		return pid
	}
	return os.Getpid()
}

// plainSystem is what most tests run.
var plainSystem = []string{"testdata/system/echo.proto", "testdata/system/policy.cedar"}

// compiled makes the image of a test system of these files, with the given domains.
func compiled(t *testing.T, bin, name string, files []string, domains string) *image.Image {
	t.Helper()
	fsys := fstest.MapFS{}
	var protos, policies []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fsys[filepath.Base(f)] = &fstest.MapFile{Data: b}
		if filepath.Ext(f) == ".proto" {
			protos = append(protos, filepath.Base(f))
		} else {
			policies = append(policies, filepath.Base(f))
		}
	}
	fsys["system.yaml"] = &fstest.MapFile{Data: []byte(fmt.Sprintf("ward: 1\nname: %s\ninterfaces: [%s]\npolicy: [%s]\naudit: all\ndomains:\n%s",
		name, strings.Join(protos, ", "), strings.Join(policies, ", "),
		strings.NewReplacer("PROBE", filepath.Join(bin, "probe"), "HOSTILE", filepath.Join(bin, "hostile")).Replace(domains)))}
	r, findings := compile.Dir(fsys)
	if r.Image == nil {
		t.Fatalf("the test system does not compile: %v", findings)
	}
	return r.Image
}

// up starts a plain system.
func up(t *testing.T, domains string, flags ...string) *running {
	t.Helper()
	return upOf(t, plainSystem, domains, flags...)
}

// upOf starts a system of these files.
func upOf(t *testing.T, files []string, domains string, flags ...string) *running {
	t.Helper()
	needsRoot(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	name := "wt" + strconv.Itoa(testPID()) + "-" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
	if len(name) > 40 {
		name = name[:40]
	}
	r := &running{t: t, name: name, bin: bin, dir: filepath.Join(t.TempDir(), name), reports: make(chan lifeline.Report, 8), stderr: new(bytes.Buffer)}
	// Domains need no way into the run directory, but users do to sockets in it.
	for d := filepath.Dir(r.dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	img := compiled(t, bin, name, files, strings.ReplaceAll(domains, "RUN", r.dir))
	sealed, err := link.Seal(image.Encode(img))
	if err != nil {
		t.Fatal(err)
	}
	defer sealed.Close()
	var theirs *os.File
	if r.life, theirs, err = lifeline.New(); err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	r.since = time.Now().Add(-time.Millisecond)
	r.cmd = exec.Command(filepath.Join(bin, "wardd"), append([]string{"--name=" + name, "--run-dir=" + r.dir,
		"--slot=" + strconv.Itoa(testSlot), "--names-program=" + filepath.Join(bin, "ward-names")}, flags...)...)
	r.cmd.ExtraFiles = []*os.File{sealed, theirs}
	r.cmd.Stderr = r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.reports)
		for {
			report, err := lifeline.Read(r.life)
			if err != nil {
				return
			}
			r.reports <- report
		}
	}()
	t.Cleanup(func() {
		r.life.Close()
		r.cmd.Wait()
		if t.Failed() {
			lines, _ := os.ReadFile(filepath.Join(r.dir, audit.File))
			t.Logf("audit:\n%s\nstderr:\n%s", tail(lines), r.stderr)
		}
	})
	return r
}

func tail(b []byte) []byte { return b[max(0, len(b)-6000):] }

// report waits for a report of a kind.
func (r *running) report(kind lifeline.Kind) lifeline.Report {
	r.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case got, ok := <-r.reports:
			if !ok {
				r.t.Fatalf("wardd ended without a report of kind %d: %s", kind, r.stderr)
			}
			if got.Kind == kind {
				return got
			}
			r.t.Logf("report: %+v", got)
		case <-timer.C:
			r.t.Fatalf("no report of kind %d", kind)
		}
	}
}

// await waits for a record that is not older than since.
func (r *running) await(since time.Time, what string, match func(*audit.Record) bool) audit.Record {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for rec, err := range audit.Follow(ctx, filepath.Join(r.dir, audit.File), audit.Filter{Since: since}) {
		if err != nil {
			r.t.Fatal(err)
		}
		if match(&rec) {
			return rec
		}
	}
	r.t.Fatalf("the audit log does not show: %s", what)
	return audit.Record{}
}

// records are all of the run.
func (r *running) records() []audit.Record {
	r.t.Helper()
	var all []audit.Record
	for rec, err := range audit.Read(filepath.Join(r.dir, audit.File), audit.Filter{Since: r.since}) {
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, rec)
	}
	return all
}

// wait waits for wardd's end and returns its exit status.
func (r *running) wait() int {
	r.t.Helper()
	err := r.cmd.Wait()
	if exit, ok := err.(*exec.ExitError); err != nil && !ok {
		r.t.Fatal(exit)
	}
	return r.cmd.ProcessState.ExitCode()
}

// processes finds the processes of wardd itself, by the last argument's role.
func (r *running) processes() map[string]int {
	r.t.Helper()
	found := map[string]int{}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", r.cmd.Process.Pid, r.cmd.Process.Pid))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, field := range strings.Fields(string(children)) {
		line, err := os.ReadFile("/proc/" + field + "/cmdline")
		if err != nil {
			continue
		}
		args := strings.Split(string(line), "\x00")
		if len(args) < 2 || args[0] != "wardd" {
			continue
		}
		// What a creator that was killed had just cloned is the holder's child now, and has its command line.
		if pid, err := strconv.Atoi(field); err == nil {
			if session, err := unix.Getsid(pid); err == nil && session == pid {
				found[args[1]] = pid
			}
		}
	}
	return found
}

// pidfds opens all processes of the system: of wardd, and the domains.
func (r *running) pidfds() []*os.File {
	r.t.Helper()
	pids := []int{r.cmd.Process.Pid}
	for _, pid := range r.processes() {
		pids = append(pids, pid)
	}
	for _, rec := range r.records() {
		if rec.Event == audit.EventStarted && rec.PID != 0 {
			pids = append(pids, int(rec.PID))
		}
	}
	var files []*os.File
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			r.t.Fatalf("process %d: %v", pid, err)
		}
		files = append(files, os.NewFile(uintptr(fd), strconv.Itoa(pid)))
	}
	r.t.Cleanup(func() {
		for _, f := range files {
			f.Close()
		}
	})
	return files
}

// gone waits until all processes have ended.
func (r *running) gone(pidfds []*os.File) {
	r.t.Helper()
	for _, f := range pidfds {
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds, int(patience.Milliseconds()))
			if err == unix.EINTR {
				continue
			}
			if n == 0 || err != nil {
				r.t.Errorf("process %s is still there (%v)", f.Name(), err)
			}
			break
		}
	}
}

// leftovers checks that nothing of the system is left outside its run
// directory, and no socket in it.
func (r *running) leftovers() {
	r.t.Helper()
	filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSocket != 0 {
			r.t.Errorf("socket left: %s", path)
		}
		return nil
	})
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if left, _ := filepath.Glob(filepath.Join(root, "ward-"+r.name+".*")); len(left) > 0 {
			r.t.Errorf("cgroup left: %v", left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(mounts, []byte(r.name)) {
		r.t.Errorf("mount left (%v)", err)
	}
}

const pair = `
  server: { program: PROBE, args: [server], exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}] }
  client: { program: PROBE, args: [client], needs: [server] }
`

func isCall(verdict, text string) func(*audit.Record) bool {
	return func(rec *audit.Record) bool {
		return rec.Event == audit.EventCall && rec.From == "client" && rec.Verdict == verdict && rec.Params["text"] == text
	}
}

// TestStop: calls pass and are judged, the audit log says who decided, SIGTERM
// ends everything in order, and nothing is left.
func TestStop(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	allowed := r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	if allowed.Policy != "say what is not secret" || allowed.To != "server" || allowed.Method != "test.v1.Echo/Say" {
		t.Errorf("record of an allowed call: %+v", allowed)
	}
	if denied := r.await(r.since, "a denied call", isCall(audit.Deny, "secret")); denied.Reason != "default deny" || denied.Policy != "" {
		t.Errorf("record of a denied call: %+v", denied)
	}
	pidfds := r.pidfds()
	if len(pidfds) != 7 {
		t.Errorf("%d processes, want 4 of wardd and 3 domains", len(pidfds))
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := r.report(lifeline.Stopped); got.Status != 0 {
		t.Errorf("end status %d", got.Status)
	}
	if status := r.wait(); status != 0 {
		t.Errorf("exit status %d: %s", status, r.stderr)
	}
	r.gone(pidfds)
	r.leftovers()
	r.checkAudit()
}

// checkAudit checks what every whole audit file must have.
func (r *running) checkAudit() {
	r.t.Helper()
	all := r.records()
	ended := 0
	for i, rec := range all {
		if rec.Seq != uint64(i+1) {
			r.t.Fatalf("record %d has number %d", i+1, rec.Seq)
		}
		if rec.Event == audit.EventLost {
			r.t.Errorf("records were lost: %+v", rec)
		}
		if rec.Event == audit.EventEnded {
			ended++
		}
	}
	if all[0].Event != audit.EventCompiled || all[len(all)-1].Event != audit.EventStopped {
		r.t.Errorf("the audit begins with %s and ends with %s", all[0].Event, all[len(all)-1].Event)
	}
	if ended != 3 {
		r.t.Errorf("%d domains ended, want 3", ended)
	}
}

// TestLifeLine: when whoever started the system goes, it stops.
func TestLifeLine(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	pidfds := r.pidfds()
	raw, err := r.life.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_WR) })
	r.report(lifeline.Stopped)
	if status := r.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	r.gone(pidfds)
	r.leftovers()
}

// TestHolderKilled: nothing runs on without the holder.
func TestHolderKilled(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	pidfds := r.pidfds()
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.gone(pidfds)
	os.Remove(filepath.Join(r.dir, "monitor.sock"))
	os.Remove(filepath.Join(r.dir, "echo.sock"))
	r.leftovers() // but for the sockets, which nobody is left to remove
}

// TestUntilDone: the system ends with its last `once` domain, and its status
// is theirs.
func TestUntilDone(t *testing.T) {
	for name, want := range map[string]int{"good": 0, "bad": 1} {
		t.Run(name, func(t *testing.T) {
			args := map[string]string{"good": "[once]", "bad": "[once, broken]"}[name]
			r := up(t, `
  server: { program: PROBE, args: [server], exports: [{interface: test.v1.Echo, socket: RUN/echo.sock}] }
  client: { program: PROBE, args: `+args+`, once: true }
`, "--until-done")
			if got := r.report(lifeline.Stopped); int(got.Status) != want {
				t.Errorf("end status %d, want %d", got.Status, want)
			}
			if status := r.wait(); status != want {
				t.Errorf("exit status %d, want %d", status, want)
			}
			r.leftovers()
		})
	}
}

// TestMalformed: a domain that sends what is no message is killed; the others go on.
func TestMalformed(t *testing.T) {
	r := up(t, pair+`  hostile: { program: PROBE, args: [malformed] }
`)
	r.report(lifeline.Ready)
	ended := r.await(r.since, "the end of the hostile domain", func(rec *audit.Record) bool {
		return rec.Event == audit.EventEnded && rec.Domain == "hostile"
	})
	if *ended.Status != 128+int(syscall.SIGKILL) {
		t.Errorf("status %d", *ended.Status)
	}
	r.await(ended.Time, "an allowed call after that", isCall(audit.Allow, "hello"))
}

// TestSealed: an image that somebody could still change is refused.
func TestSealed(t *testing.T) {
	needsRoot(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	open, err := os.CreateTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	ours, theirs, err := lifeline.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	cmd := exec.Command(filepath.Join(bin, "wardd"), "--name=unsealed", "--run-dir="+filepath.Join(t.TempDir(), "unsealed"))
	cmd.ExtraFiles = []*os.File{open, theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	got, err := lifeline.Read(ours)
	if err != nil || got.Kind != lifeline.Fatal || !strings.Contains(got.Text, "not a sealed memfd") {
		t.Errorf("told: %+v, %v", got, err)
	}
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit status %d", cmd.ProcessState.ExitCode())
	}
}

// TestUnprivileged: without root, one clear sentence and exit status 2.
func TestUnprivileged(t *testing.T) {
	needsRoot(t)
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "wardd"), "--name=x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !bytes.HasPrefix(out, []byte("wardd: root is needed")) || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("exit status %d: %q", cmd.ProcessState.ExitCode(), out)
	}
}
