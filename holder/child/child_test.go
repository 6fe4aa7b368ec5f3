package child

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// killed and failed are statuses as wait4(2) gives them.
const (
	killed = syscall.WaitStatus(syscall.SIGKILL)
	failed = syscall.WaitStatus(3 << 8)
)

// started puts a child where it is right after its start.
func started(c *Child, ago time.Duration) { c.PID, c.since = 1, time.Now().Add(-ago) }

// Who ends by itself right after its start is started again at once at first, then
// later and later, at last not at all; who has lived for a while begins anew.
func TestFaults(t *testing.T) {
	for what, end := range map[string]func(*Child){
		"ends":         func(c *Child) { c.Ended(failed) },
		"crashes":      func(c *Child) { c.Ended(syscall.WaitStatus(syscall.SIGSEGV)) },
		"is not given": func(c *Child) { c.PID = 0; c.Fail(syscall.ETOOMANYREFS); c.Ended(killed) },
	} {
		t.Run(what, func(t *testing.T) {
			var c Child
			last := time.Duration(0)
			for n := 1; n <= Faults; n++ {
				started(&c, 0)
				end(&c)
				delay := c.Delay()
				if n <= spared && delay != 0 || n > spared && delay == 0 || delay < last || delay > delayMax || c.Lost() || c.Shaky() != (n == Faults/2) {
					t.Errorf("death %d: delay %v after %v, lost %v, shaky %v", n, delay, last, c.Lost(), c.Shaky())
				}
				last = delay
			}
			if last != delayMax || c.When() != "in 250ms" {
				t.Errorf("the last delay is %v, told as %s", last, c.When())
			}
			started(&c, 0)
			if end(&c); !c.Lost() || c.Deaths() != Faults+1 {
				t.Errorf("after %d deaths: lost %v", c.Deaths(), c.Lost())
			}
			started(&c, Steady)
			if how, _ := c.Ended(killed); c.Lost() || c.Delay() != 0 || c.When() != "at once" || !strings.Contains(how, "killed") {
				t.Errorf("after a steady life: lost %v, %s, %q", c.Lost(), c.When(), how)
			}
		})
	}
}

// Who is killed from outside is started again at once, far more often; and at last
// not any more either: it may be the kernel, which has no memory for it.
func TestManyKills(t *testing.T) {
	var c Child
	for n := 1; n <= Kills; n++ {
		started(&c, 0)
		if n%2 == 0 {
			c.PID = 0
			c.Fail(syscall.EPIPE) // killed while it was given what it needs
		}
		if how, _ := c.Ended(killed); how != "signal: killed" {
			t.Error(how)
		}
		delay := c.Delay()
		if n <= sparedKills && delay != 0 || n > sparedKills && (delay == 0 || delay > delayMax) || c.Lost() || c.Shaky() != (n == Kills/2) {
			t.Errorf("kill %d: delay %v, lost %v, shaky %v", n, delay, c.Lost(), c.Shaky())
		}
	}
	started(&c, 0)
	if c.Ended(killed); !c.Lost() {
		t.Error("it is never given up")
	}
}

// Kills between the faults of a process do not hide them: it is given up all the same.
func TestFaultsBetweenKills(t *testing.T) {
	var c Child
	for n := 1; n <= Faults+1; n++ {
		if c.Lost() {
			t.Errorf("it is given up after %d faults", n-1)
		}
		for _, status := range []syscall.WaitStatus{killed, failed} {
			started(&c, 0)
			c.Ended(status)
		}
		if (c.Delay() > 0) != (n > spared) {
			t.Errorf("after %d faults: %s", n, c.When())
		}
	}
	if !c.Lost() {
		t.Error("it is never given up")
	}
}

// Who was replaced begins anew: its successor is another program.
func TestReplacedBeginsAnew(t *testing.T) {
	var c Child
	for range Faults {
		started(&c, 0)
		c.Ended(failed)
	}
	started(&c, 0)
	c.replaced = true // as Replace does, without a process to kill here
	if how, replaced := c.Ended(killed); !replaced || how == "" || c.Delay() != 0 || c.Deaths() != 1 {
		t.Errorf("%q, replaced %v, %d deaths, %s", how, replaced, c.Deaths(), c.When())
	}
}

// Who ends because it could not be brought into service has not come back, however
// long it took; whoever else lives that long has, which is the control.
func TestUnservedHasNotComeBack(t *testing.T) {
	for status, lost := range map[syscall.WaitStatus]bool{Unserved << 8: true, failed: false} {
		var c Child
		for range Faults + 1 {
			started(&c, 10*Steady)
			c.Ended(status)
		}
		if c.Lost() != lost {
			t.Errorf("exit status %d after a long time, again and again: lost %v", status.ExitStatus(), c.Lost())
		}
	}
}
