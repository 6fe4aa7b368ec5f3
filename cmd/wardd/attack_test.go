package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/audit"
	"ward/gate"
	"ward/holder/lifeline"
	"ward/kernel/probe"
)

// Attacks on a whole system, by domains that speak the wire by hand and do
// what the test tells them (testdata/hostile). docs/attacks.md lists them all.

// attackSystem is the plain one with mallory, who may say hello to the server
// and use an interface of trent, who is hostile, too.
var attackSystem = []string{"testdata/system/echo.proto", "testdata/attack/attack.proto", "testdata/attack/policy.cedar"}

const attackers = pair + `
  mallory: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/mallory.sock}] }
  trent: { program: HOSTILE, exports: [{interface: test.v1.Hostile, socket: RUN/trent.sock}, test.v1.Sink] }
`

// Ordinals of test.v1.Sink.
const (
	take uint32 = iota
	tell
)

// An attacker is a hostile domain, as the test reaches it.
type attacker struct {
	t    *testing.T
	name string
	c    *gate.Client
}

func upAttack(t *testing.T) (r *running, mallory, trent *attacker) {
	t.Helper()
	r = upOf(t, attackSystem, attackers)
	r.report(lifeline.Ready)
	return r, r.attacker("mallory"), r.attacker("trent")
}

func (r *running) attacker(name string) *attacker {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := gate.DialSocket(ctx, filepath.Join(r.dir, name+".sock"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return &attacker{r.t, name, c}
}

// try gives an order, and returns the outcome.
func (a *attacker) try(order ...any) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reply, err := a.c.Invoke(ctx, "Do", text(strings.TrimSpace(fmt.Sprintln(order...))), nil)
	if err != nil {
		a.t.Fatalf("%s, %v: %v", a.name, order, err)
	}
	_, _, n := protowire.ConsumeTag(reply)
	s, _ := protowire.ConsumeString(reply[max(n, 0):])
	return s
}

// done gives an order that must take effect, and returns what it brought.
func (a *attacker) done(order ...any) string {
	a.t.Helper()
	got := a.try(order...)
	rest, ok := strings.CutPrefix(got, "done")
	if !ok {
		a.t.Fatalf("%s, %v: %s", a.name, order, got)
	}
	return strings.TrimSpace(rest)
}

// refused gives an order that must be refused for a reason.
func (a *attacker) refused(why string, order ...any) {
	a.t.Helper()
	if got := a.try(order...); !strings.HasPrefix(got, "refused") || !strings.Contains(got, why) {
		a.t.Errorf("%s, %v: %q, want refused: %s", a.name, order, got, why)
	}
}

// open opens a gate, and returns its number and descriptor in the domain.
func (a *attacker) open(iface, server string) (end, fd int) {
	a.t.Helper()
	if _, err := fmt.Sscan(a.done("open", iface, server), &end, &fd); err != nil {
		a.t.Fatal(err)
	}
	return end, fd
}

func text(s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), s)
}

// packet is a message, as orders take it.
func packet(h abi.Header, body []byte) string {
	h.Length = uint32(len(body))
	b := make([]byte, abi.HeaderSize)
	h.Put(b)
	return hex.EncodeToString(append(b, body...))
}

// plainly runs an order outside, as root.
func (r *running) plainly(order ...any) string {
	r.t.Helper()
	return r.hostile(0, order...).end()
}

// victim is a process outside Ward that is there to be attacked.
func (r *running) victim(order ...any) int {
	r.t.Helper()
	return r.hostile(0, order...).ready().cmd.Process.Pid
}

// A lone is the hostile program as a process outside Ward.
type lone struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Closer
	out *bufio.Reader
}

// hostile starts the hostile program outside Ward, as a user.
func (r *running) hostile(uid uint32, order ...any) *lone {
	r.t.Helper()
	cmd := exec.Command(filepath.Join(r.bin, "hostile"), append([]string{"once"}, strings.Fields(fmt.Sprintln(order...))...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	in, err := cmd.StdinPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	l := &lone{r.t, cmd, in, bufio.NewReader(out)}
	r.t.Cleanup(func() { l.in.Close(); l.cmd.Wait() })
	return l
}

// ready waits until it has begun.
func (l *lone) ready() *lone {
	l.t.Helper()
	if line, err := l.out.ReadString('\n'); err != nil || line != "ready\n" {
		l.t.Fatalf("%v says %q, %v", l.cmd.Args, line, err)
	}
	return l
}

// end ends it and returns the outcome.
func (l *lone) end() string {
	l.t.Helper()
	l.in.Close()
	out, err := io.ReadAll(l.out)
	if err != nil {
		l.t.Fatal(err)
	}
	l.cmd.Wait()
	return strings.TrimSpace(string(out))
}

// domainPID is the process of a domain.
func (r *running) domainPID(name string) int {
	r.t.Helper()
	return int(r.await(r.since, "the start of "+name, func(rec *audit.Record) bool {
		return rec.Event == audit.EventStarted && rec.Domain == name
	}).PID)
}

// TestAttackWardd: reaching into each process of wardd, the name server and
// another domain: from a domain, which does not even see them, and as the same
// user without a capability, whom wardd shuts out. The controls: the same
// against a process that does not guard itself, and with root's capabilities.
func TestAttackWardd(t *testing.T) {
	r, mallory, _ := upAttack(t)
	targets := r.processes()
	targets["holder"] = r.cmd.Process.Pid
	targets["name server"], targets["sibling"] = r.domainPID("names"), r.domainPID("client")
	if len(targets) != 6 {
		t.Fatalf("processes: %v", targets)
	}
	plain, guarded := r.victim("powerless", "idle"), r.victim("powerless", "undumpable", "idle")
	for _, verb := range []string{"ptrace", "vmread", "procmem", "procfd", "pidfdgetfd"} {
		if got := r.plainly("powerless", verb, plain); !strings.HasPrefix(got, "done") {
			t.Errorf("control: %s of a process that does not guard itself: %q", verb, got)
		}
		if got := r.plainly("powerless", verb, guarded); !strings.HasPrefix(got, "refused") {
			t.Errorf("%s of a process with PR_SET_DUMPABLE 0: %q", verb, got)
		}
		for name, pid := range targets {
			mallory.refused("", verb, pid)
			if got := r.plainly("powerless", verb, pid); !strings.HasPrefix(got, "refused") {
				t.Errorf("%s of the %s, without capabilities: %q", verb, name, got)
			}
			if got := r.plainly(verb, pid); !strings.HasPrefix(got, "done") {
				t.Errorf("control: %s of the %s, with all capabilities: %q", verb, name, got)
			}
		}
	}
	for name, pid := range targets {
		for _, verb := range []string{"signal", "signalthread"} {
			mallory.refused("", verb, pid)
			if got := r.plainly(verb, pid); !strings.HasPrefix(got, "done") {
				t.Errorf("control: %s to the %s, by root: %q", verb, name, got)
			}
		}
	}
	// Nobody was hurt.
	r.await(time.Now(), "an allowed call after the attacks", isCall(audit.Allow, "hello"))
}

// steal copies a descriptor out of a domain, as only root can.
func (r *running) steal(name string, fd int) int {
	r.t.Helper()
	p, err := unix.PidfdOpen(r.domainPID(name), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer unix.Close(p)
	got, err := unix.PidfdGetfd(p, fd, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { unix.Close(got) })
	return got
}

func newPair(t *testing.T) [2]int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds
}

// TestAttackLeakedGate: a gate's descriptor in other hands, root's even: the
// message of who does not belong to the domain is dropped, the filter stays,
// and the domain itself, the control, goes on.
func TestAttackLeakedGate(t *testing.T) {
	r, mallory, _ := upAttack(t)
	end, fd := mallory.open("test.v1.Echo", "server")
	leaked := r.steal("mallory", fd)
	hello := func(slot uint16) string {
		return packet(abi.Header{Kind: abi.KindCall, Slot: slot, Gen: 1}, text("hello"))
	}
	mallory.done("send", end, hello(0))
	for _, option := range []int{unix.SO_DETACH_FILTER, unix.SO_LOCK_FILTER} {
		if err := unix.SetsockoptInt(leaked, unix.SOL_SOCKET, option, 0); err != unix.EPERM {
			t.Errorf("option %d as root: %v, want EPERM", option, err)
		}
	}
	for _, order := range []string{"detach", "sendbuffer", "smuggle"} {
		mallory.refused("operation not permitted", order, end)
	}
	mallory.refused("operation not permitted", "bind", end, "@mine")
	mallory.refused("operation not permitted", "writepage")
	mallory.done("readpage") // the control

	raw, _ := hex.DecodeString(hello(1))
	if err := unix.Send(leaked, raw, unix.MSG_NOSIGNAL); err != nil {
		t.Fatal(err)
	}
	calls := 0
	rec := r.await(r.since, "what became of the stranger's message", func(rec *audit.Record) bool {
		if rec.Event == audit.EventCall && rec.From == "mallory" {
			calls++
		}
		return calls == 2
	})
	if !sendersAreBound() {
		// Linux 6.1 does not tell filters who sends: CAVEATS.md and `ward doctor` say so.
		if rec.Verdict != audit.Allow {
			t.Errorf("a stranger's message, on a kernel that cannot tell: %+v", rec)
		}
		return
	}
	if rec.Reason != abi.ReasonSender.String() {
		t.Errorf("a stranger's message: %+v", rec)
	}
	// The slot that it named is free.
	mallory.done("send", end, hello(1))
}

// sendersAreBound reports whether the kernel tells filters the sender's cgroup.
func sendersAreBound() bool {
	return slices.ContainsFunc(probe.All(), func(r probe.Result) bool {
		return r.Name == "cgroup of the sender" && r.Answer == probe.Yes
	})
}

// TestAttackGateNamespace: names bound or probed through a gate are those of
// the monitor's network namespace, in which there is nothing. The controls do
// the same with a socket pair made here.
func TestAttackGateNamespace(t *testing.T) {
	r, mallory, _ := upAttack(t)
	_, fd := mallory.open("test.v1.Echo", "server")
	gateEnd, control, plain := r.steal("mallory", fd), r.steal("mallory", abi.ControlFD), newPair(t)[0]
	name := func(what string) *unix.SockaddrUnix { return &unix.SockaddrUnix{Name: "@" + r.name + what} }
	listening, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		t.Cleanup(func() { unix.Close(listening) })
		if err = unix.Bind(listening, name("there")); err == nil {
			err = unix.Listen(listening, 1)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	// squat reports whether a name that fd took is taken here.
	squat := func(fd int, what string) bool {
		if err := unix.Bind(fd, name(what)); err != nil {
			t.Fatalf("bind: %v", err)
		}
		mine, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(mine)
		return unix.Bind(mine, name(what)) == unix.EADDRINUSE
	}
	// probe reports whether fd can tell that a name is taken: a connected
	// socket is refused in different ways.
	probe := func(fd int) bool {
		return unix.Connect(fd, name("there")) != unix.Connect(fd, name("not there"))
	}
	if !probe(plain) || !squat(plain, "control") {
		t.Error("control: a socket pair of this namespace tells nothing and takes no name")
	}
	for what, fd := range map[string]int{"gate": gateEnd, "control channel": control} {
		if probe(fd) {
			t.Errorf("the %s tells which names are taken here", what)
		}
		if squat(fd, what) {
			t.Errorf("the %s takes names here", what)
		}
	}
}

// TestAttackHostilePeers: what one hostile end sends the other beside the call
// that was made. The control is the right answer.
func TestAttackHostilePeers(t *testing.T) {
	_, mallory, trent := upAttack(t)
	trent.done("serve", "test.v1.Sink")
	end, _ := mallory.open("test.v1.Sink", "trent")
	trent.done("await", 1)
	const slot, gen = 5, 77
	of := func(kind abi.Kind, method uint32, slot, gen uint16, body []byte) string {
		return packet(abi.Header{Kind: kind, Method: method, Slot: slot, Gen: gen}, body)
	}
	ok, secret := []byte{8, 1}, text("secret")
	trent.refused(abi.ReasonNoCall.String(), "send", 0, of(abi.KindReply, take, slot, gen, ok))
	mallory.done("send", end, of(abi.KindCall, take, slot, gen, nil))
	trent.done("receive", 0)
	for _, c := range []struct {
		what   string
		by     *attacker
		end    int
		packet string
		reason abi.Reason
	}{
		{"the looser signature of another method", trent, 0, of(abi.KindReply, tell, slot, gen, secret), abi.ReasonNoCall},
		{"another slot", trent, 0, of(abi.KindReply, take, slot+1, gen, ok), abi.ReasonNoCall},
		{"another generation", trent, 0, of(abi.KindReply, take, slot, gen+1, ok), abi.ReasonNoCall},
		{"a call by the server", trent, 0, of(abi.KindCall, take, slot, gen, nil), abi.ReasonKind},
		{"a stream that the method does not have", trent, 0, of(abi.KindStreamItem, take, slot, gen, ok), abi.ReasonKind},
		{"a reply by the client", mallory, end, of(abi.KindReply, take, slot, gen, ok), abi.ReasonKind},
		{"a second call in the slot", mallory, end, of(abi.KindCall, tell, slot, gen+1, nil), abi.ReasonSlotBusy},
		{"a method that is not there", mallory, end, of(abi.KindCall, 2, slot+1, gen, nil), abi.ReasonMethod},
	} {
		c.by.refused(c.reason.String(), "send", c.end, c.packet)
	}
	for _, a := range []*attacker{mallory, trent} {
		a.refused("resource temporarily unavailable", "receive", 0)
	}
	trent.done("send", 0, of(abi.KindReply, take, slot, gen, ok))
	if got := mallory.done("receive", end); got != of(abi.KindReply, take, slot, gen, ok) {
		t.Errorf("control: received %s", got)
	}
	trent.refused(abi.ReasonNoCall.String(), "send", 0, of(abi.KindReply, take, slot, gen, ok))
}

// TestAttackNames: publishing, withdrawing and looking up what is not one's
// own, also with somebody else's name in the message. The control is one's own.
func TestAttackNames(t *testing.T) {
	_, mallory, _ := upAttack(t)
	const names = "ward.v1.Names"
	const publish, withdraw, lookup = 0, 1, 2
	mallory.refused("does not export", "serve", "test.v1.Echo")
	mallory.refused("does not export", "serve", "test.v1.Sink")
	end, _ := mallory.open(names, "")
	slot := uint16(0)
	send := func(method uint32, body []byte) string {
		slot++
		return packet(abi.Header{Kind: abi.KindCall, Method: method, Slot: slot, Gen: 1}, body)
	}
	const own = "test.v1.Hostile"
	for _, m := range []uint32{publish, withdraw} {
		mallory.refused(abi.ReasonDefault.String(), "send", end, send(m, text("test.v1.Echo")))
		mallory.refused(abi.ReasonUnknownField.String(), "send", end,
			send(m, append(text(own), protowire.AppendString(protowire.AppendTag(nil, 3, protowire.BytesType), "server")...)))
		mallory.refused(abi.ReasonDuplicate.String(), "send", end, send(m, append(text(own), text("test.v1.Echo")...)))
	}
	mallory.refused(abi.ReasonDefault.String(), "send", end, send(lookup, text("test.v1.Secret")))
	mallory.done("send", end, send(publish, text(own)))
	mallory.done("send", end, send(withdraw, text(own)))
	mallory.done("send", end, send(lookup, text("test.v1.Echo")))
}
