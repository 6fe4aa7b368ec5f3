package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ward/audit"
	"ward/holder/lifeline"
	"ward/kernel"
)

// TestAllKilled: all processes of wardd are killed together, the one that would have
// ended the domains included. Their gates let nothing pass; whoever is next, the next
// system of that name or somebody who looks after this one, ends the domains, and
// their cgroups are gone. The control: until then they run.
func TestAllKilled(t *testing.T) {
	for _, next := range []string{"system", "caller"} {
		t.Run(next, func(t *testing.T) {
			r := up(t, pair)
			r.report(lifeline.Ready)
			r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
			var domains, wardd []*os.File
			for _, d := range r.domains() {
				domains = append(domains, pidfdOf(t, d.PID))
			}
			client := pidfdOf(t, r.domains()["client"].PID)
			all := r.wholly()
			goesOn := r.stopsProcess(r.cmd.Process.Pid) // it would see the others end
			for _, pid := range all {
				wardd = append(wardd, pidfdOf(t, pid))
			}
			creatorGoesOn := r.stopsProcess(all["creator"]) // it would kill the domains
			for _, f := range append(wardd, pidfdOf(t, r.cmd.Process.Pid)) {
				if err := unix.PidfdSendSignal(int(f.Fd()), unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
					t.Fatal(err)
				}
			}
			r.gone(append(wardd, pidfdOf(t, r.cmd.Process.Pid))) // nobody waits for the holder, as with a process 1 that does not
			defer r.cmd.Wait()
			goesOn()
			creatorGoesOn()
			r.gone([]*os.File{client}) // its call is not answered: the gate is dead
			left := 0
			for _, f := range domains {
				if !hasEnded(f) {
					left++
				}
			}
			if left == 0 {
				t.Error("control: nothing is left of the system: the test shows nothing")
			}
			os.Remove(filepath.Join(r.dir, "monitor.sock"))
			os.Remove(filepath.Join(r.dir, "echo.sock"))
			if next == "system" {
				again := up(t, pair)
				again.report(lifeline.Ready)
				r.gone(domains)
				again.await(again.since, "an allowed call", isCall(audit.Allow, "hello"))
				again.stops()
			} else if err := kernel.EndOrphans(r.name); err != nil {
				t.Error(err)
			}
			for _, f := range domains {
				if !hasEnded(f) {
					t.Errorf("process %s of a domain is left", f.Name())
				}
			}
			r.leftovers()
		})
	}
}

// TestOrphansAreOfTheDead: what a holder has that lives is not ended by somebody who
// looks for what is left of a system of its name.
func TestOrphansAreOfTheDead(t *testing.T) {
	r := up(t, pair)
	r.report(lifeline.Ready)
	before := r.domains()
	if err := kernel.EndOrphans(r.name); err != nil {
		t.Fatal(err)
	}
	r.sameDomains(before)
	r.await(r.since, "an allowed call", isCall(audit.Allow, "hello"))
	r.ends()
}
