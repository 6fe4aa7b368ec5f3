package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/monitor/admin"
)

// kills ends a process of wardd, or of a domain, and waits until it has.
func (r *running) kills(pid int) {
	r.t.Helper()
	if pid == 0 {
		r.t.Fatal("there is no such process")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "killed")
	defer f.Close()
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		r.t.Fatal(err)
	}
	r.gone([]*os.File{f})
}

// comesBack waits until another process has a role, and returns its PID.
func (r *running) comesBack(role string, was int) int {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if pid := r.processes()[role]; pid != 0 && pid != was {
			return pid
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("the %s does not come back", role)
		}
	}
}

// runs waits until a domain runs, and returns its PID.
func (r *running) runs(name string) int {
	r.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if d := r.domains()[name]; d.State == admin.Running && d.PID != 0 {
			return d.PID
		}
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("%s does not run", name)
		}
	}
}

// state of the domains, by name, once the monitor answers.
func (r *running) domains() map[string]admin.Domain {
	r.t.Helper()
	limit := time.Now().Add(patience)
	ctx, cancel := context.WithDeadline(context.Background(), limit)
	defer cancel()
	for {
		all, err := admin.PS(ctx, r.dir)
		if err == nil && len(all) > 0 {
			byName := map[string]admin.Domain{}
			for _, d := range all {
				byName[d.Name] = d
			}
			return byName
		}
		if time.Now().After(limit) {
			r.t.Fatalf("the monitor does not answer: %v", err)
		}
		<-time.After(time.Millisecond)
	}
}

// sameDomains checks that no domain was started again.
func (r *running) sameDomains(before map[string]admin.Domain, but ...string) {
	r.t.Helper()
	after := r.domains()
	for name, b := range before {
		a := after[name]
		if len(but) > 0 && name == but[0] {
			continue
		}
		if a.PID != b.PID || a.State != b.State || a.Restarts != b.Restarts || a.UID != b.UID || a.Cgroup != b.Cgroup {
			r.t.Errorf("%s was %+v and is %+v", name, b, a)
		}
	}
}

// granted waits for a new gate of the client after a time.
func (r *running) granted(since time.Time) audit.Record {
	r.t.Helper()
	return r.await(since, "a new gate of the client", func(rec *audit.Record) bool {
		return rec.Event == audit.EventGate && rec.From == "client" && rec.To == "server" && rec.Verdict == audit.Allow
	})
}

// ends stops the system in order and checks that nothing is left and that the
// audit is whole.
func (r *running) ends() {
	r.t.Helper()
	pidfds := r.pidfdsLeft()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if status := r.wait(); status != 0 {
		r.t.Errorf("exit status %d: %s", status, r.stderr)
	}
	r.gone(pidfds)
	r.leftovers()
	all := r.records()
	for i, rec := range all {
		if rec.Seq != uint64(i+1) {
			r.t.Fatalf("record %d has number %d", i+1, rec.Seq)
		}
		if rec.Event == audit.EventLost {
			r.t.Errorf("records were lost: %+v", rec)
		}
	}
	if len(all) == 0 || all[0].Event != audit.EventCompiled || all[len(all)-1].Event != audit.EventStopped {
		r.t.Error("the audit does not begin with the start and end with the end")
	}
}

// pidfdsLeft opens what runs of the system now.
func (r *running) pidfdsLeft() (files []*os.File) {
	pids := []int{r.cmd.Process.Pid}
	for _, pid := range r.processes() {
		pids = append(pids, pid)
	}
	for _, d := range r.domains() {
		if d.State == admin.Running {
			pids = append(pids, d.PID)
		}
	}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			r.t.Errorf("process %d: %v", pid, err)
			continue
		}
		f := os.NewFile(uintptr(fd), "process")
		r.t.Cleanup(func() { f.Close() })
		files = append(files, f)
	}
	return files
}

// TestMonitorKilled: with the monitor killed, calls on open gates go on and
// are judged; it comes back, finds the domains as they were, and goes on
// granting, to domains and to users outside.
func TestMonitorKilled(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before := r.domains()
	for range 3 {
		monitor := r.processes()["monitor"]
		at := time.Now()
		r.kills(monitor)
		r.await(at, "an allowed call after the monitor's end", isCall(audit.Allow, "hello"))
		r.await(at, "a denied call after the monitor's end", isCall(audit.Deny, "secret"))
		back := r.await(at, "the monitor's return", func(rec *audit.Record) bool {
			return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "monitor is back")
		})
		rec := r.granted(at)
		t.Logf("back after %v, a gate after %v", back.Time.Sub(at), rec.Time.Sub(at))
		r.granted(back.Time)
		if got := r.outside(nobody, "dial", filepath.Join(r.dir, "echo.sock"), "hello"); got != "said hello" {
			t.Errorf("a user outside: %q", got)
		}
		if got := r.outside(nobody, "dial", filepath.Join(r.dir, "echo.sock"), "secret"); !strings.Contains(got, "den") {
			t.Errorf("a user outside, of a secret: %q", got)
		}
		r.sameDomains(before)
	}
	r.ends()
}

// TestCreatorKilled: the domains go on; the creator that comes back knows them,
// starts the name server again when that ends, and tells how a domain ended.
func TestCreatorKilled(t *testing.T) {
	r := up(t, pair+"  other: { program: PROBE, args: [idle] }\n")
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before := r.domains()
	creator := r.processes()["creator"]
	at := time.Now()
	r.kills(creator)
	r.await(at, "an allowed call after the creator's end", isCall(audit.Allow, "hello"))
	r.comesBack("creator", creator)
	r.sameDomains(before)
	// A domain that the old creator started ends: the holder, whose child it is, says how.
	r.kills(before["other"].PID)
	ended := r.await(at, "the end of a domain", func(rec *audit.Record) bool { return rec.Event == audit.EventEnded && rec.Domain == "other" })
	if *ended.Status != 128+int(syscall.SIGKILL) {
		t.Errorf("its status is %d", *ended.Status)
	}
	// One that is started again.
	r.kills(before["names"].PID)
	r.await(at, "the name server again", func(rec *audit.Record) bool { return rec.Event == audit.EventStarted && rec.Domain == "names" })
	r.granted(time.Now())
	r.sameDomains(map[string]admin.Domain{"server": before["server"], "client": before["client"]})
	r.ends()
}

// TestNamesKilled: the name server is started again, and finds again what was
// published; calls go on meanwhile.
func TestNamesKilled(t *testing.T) {
	r := up(t, pair+"  late: { program: PROBE, args: [greet] }\n")
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before := r.domains()
	for range 3 {
		at := time.Now()
		r.kills(r.domains()["names"].PID)
		r.await(at, "the publication", func(rec *audit.Record) bool {
			return rec.Event == audit.EventPublished && rec.From == "server" && rec.Interface == "test.v1.Echo"
		})
		r.await(at, "an allowed call", isCall(audit.Allow, "hello"))
	}
	r.sameDomains(before, "names")
	r.ends()
}

// TestAuditKilled: no record is lost, and none is written twice, though the
// audit writer is killed again and again while records come: of all that domains
// say there is one record each.
func TestAuditKilled(t *testing.T) {
	const number = 3
	r := upOf(t, peersCall, peerDomains(number))
	r.report(lifeline.Ready)
	every := func(since time.Time) {
		calling := map[string]bool{}
		r.await(since, "an allowed call of each domain", func(rec *audit.Record) bool {
			if rec.Event == audit.EventCall && rec.Verdict == audit.Allow && isPeer(rec.To) {
				calling[rec.From] = true
			}
			return len(calling) == number
		})
	}
	every(r.since)
	before := r.domains()
	for range 10 {
		writer := r.processes()["audit"]
		at := time.Now()
		r.kills(writer)
		r.comesBack("audit", writer)
		every(at)
	}
	r.sameDomains(before)
	r.ends()
	r.exact()
}

// TestUpgrade: the processes of wardd, but for the holder, are replaced by the
// program that was installed meanwhile; domains and gates go on.
func TestUpgrade(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	before, was := r.domains(), r.processes()
	path := filepath.Join(r.bin, "wardd")
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	installed, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	if err := admin.Upgrade(context.Background(), r.dir); err != nil {
		t.Fatal(err)
	}
	for role, pid := range was {
		now := r.comesBack(role, pid)
		runs, err := os.Stat("/proc/" + strconv.Itoa(now) + "/exe")
		if err != nil || !os.SameFile(runs, installed) {
			t.Errorf("the %s does not run what was installed: %v", role, err)
		}
		r.await(at, "the upgrade of the "+role, func(rec *audit.Record) bool {
			return rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "upgraded: the "+role+" is replaced")
		})
	}
	r.granted(at)
	r.await(at, "a denied call", isCall(audit.Deny, "secret"))
	r.sameDomains(before)
	for _, rec := range r.records() {
		if rec.Event == audit.EventNotice && strings.Contains(rec.Detail, "has ended") {
			t.Errorf("the upgrade looks like a crash: %s", rec.Detail)
		}
	}
	r.ends()
}
