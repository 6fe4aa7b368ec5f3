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

// Who dies right after its start is started again at once at first, then later
// and later, at last not at all; who has lived for a while begins anew.
func TestDeaths(t *testing.T) {
	var c Child
	last := time.Duration(0)
	for n := 1; n <= Deaths; n++ {
		started(&c, 0)
		if how, replaced := c.Ended(failed); how != "exit status 3" || replaced || c.PID != 0 {
			t.Fatalf("%q, %v, process %d", how, replaced, c.PID)
		}
		delay := c.Delay()
		if n <= spared && delay != 0 || delay < last || delay > delayMax || c.Lost() || c.Shaky() != (n == Deaths/2) {
			t.Errorf("death %d: delay %v after %v, lost %v, shaky %v", n, delay, last, c.Lost(), c.Shaky())
		}
		last = delay
	}
	if last != delayMax {
		t.Errorf("the last delay is %v", last)
	}
	started(&c, 0)
	if c.Ended(failed); !c.Lost() {
		t.Error("it is never given up")
	}
	started(&c, Steady)
	if how, _ := c.Ended(killed); c.Lost() || c.Delay() != 0 || !strings.Contains(how, "killed") {
		t.Errorf("after a steady life: lost %v, delay %v, %q", c.Lost(), c.Delay(), how)
	}
}
