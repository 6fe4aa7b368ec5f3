package upbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"ward/audit"
	"ward/gate"
	"ward/holder/link"
	"ward/image"
	"ward/monitor/admin"
)

// A ChildRow is the time from asking for a process to the answer to its first
// call, in nanoseconds.
//
//	exec             fork and exec of the same program, which calls over a plain socket pair
//	child, inherits  a child whose parent has `inherit: all`, and asks for nothing
//	child, asks      a child of a parent that passes on nothing, and asks for the right
//	domain           a whole domain that a reload brings
//
// What is called is a domain of the same system; of exec the measuring program.
type ChildRow struct {
	Bench       string  `json:"bench"` // "spawn-child"
	Peer        string  `json:"peer"`
	N           int     `json:"n"`
	P50         int64   `json:"p50_ns"`
	P90         int64   `json:"p90_ns"`
	Ratio       float64 `json:"ratio"`        // of P50 to that of exec
	RatioDomain float64 `json:"ratio_domain"` // … of a whole domain
}

const childPolicy = `
@id("the measuring program asks for children")
permit (principal == User::"root", action == bench::up::v1::Action::"Maker.Make", resource);
@id("makers make them")
permit (principal is Domain, action == ward::Action::"spawn", resource == Domain::"made");
`

const childProto = `
// Maker is asked for a child; its answer is when it asked itself, and the name.
service Maker {
  rpc Make(GreetRequest) returns (GreetResponse);
}
`

// makers are the parents, by what they say of inheritance.
var makers = []struct{ peer, name, inherit string }{{"child, inherits", "passes", "all"}, {"child, asks", "keeps", "none"}}

func childSystem(program string, late bool) string {
	var y strings.Builder
	fmt.Fprintf(&y, "  server: { program: %q, args: [%s, server], exports: [{interface: %s}] }\n", program, argument, iface)
	fmt.Fprintf(&y, "  made: { program: %q, args: [%s, made], template: true }\n", program, argument)
	for _, m := range makers {
		fmt.Fprintf(&y, "  %s: { program: %q, args: [%s, maker], needs: [server], exports: [{interface: %s, socket: RUN/%s.sock}], children: { number: 1 }, inherit: %s }\n",
			m.name, program, argument, makerIface, m.name, m.inherit)
	}
	if late {
		fmt.Fprintf(&y, "  late: { program: %q, args: [%s, made] }\n", program, argument)
	}
	return y.String()
}

// Children starts a system and has processes made in it n times in each way, in
// turns, after one turn that does not count. It needs root.
func Children(ctx context.Context, o Options, n int) (rows []ChildRow, err error) {
	if n < 1 {
		return nil, fmt.Errorf("upbench: %d children; it must be one at least", n)
	}
	o.Domains = MinDomains + len(makers)
	o.policy, o.proto = childPolicy, childProto
	o.system = func(program string) string { return childSystem(program, false) }
	o.limit = limit + time.Duration(n)*10*time.Second
	o.during = func(ctx context.Context, w *wardd) error {
		rows, err = w.children(ctx, &o, n)
		return err
	}
	_, err = Run(ctx, o)
	return rows, err
}

// A way makes a process, and returns how long it took until its first answer.
type way struct {
	peer string
	once func() (time.Duration, error)
}

func (w *wardd) children(ctx context.Context, o *Options, n int) ([]ChildRow, error) {
	ways := []way{{"exec", func() (time.Duration, error) { return plain(ctx) }}}
	for _, m := range makers {
		c, err := gate.DialSocket(ctx, filepath.Join(w.dir, m.name+".sock"))
		if err != nil {
			return nil, err
		}
		defer c.Close()
		ways = append(ways, way{m.peer, func() (time.Duration, error) { return w.child(ctx, c) }})
	}
	r, err := w.newReloader(ctx, o)
	if err != nil {
		return nil, err
	}
	ways = append(ways, way{"domain", func() (time.Duration, error) { return r.domain(ctx) }})
	times := make([][]int64, len(ways))
	for round := -1; round < n; round++ {
		o.Progress(fmt.Sprintf("%d of %d", max(round, 0), n))
		for i, way := range ways {
			d, err := way.once()
			if err != nil {
				return nil, fmt.Errorf("upbench: %s: %w", way.peer, err)
			}
			if round >= 0 {
				times[i] = append(times[i], d.Nanoseconds())
			}
		}
	}
	var rows []ChildRow
	for i, t := range times {
		slices.Sort(t)
		rows = append(rows, ChildRow{Bench: "spawn-child", Peer: ways[i].peer, N: n, P50: t[n/2], P90: t[n*9/10]})
	}
	for i := range rows {
		rows[i].Ratio = float64(rows[i].P50) / float64(rows[0].P50)
		rows[i].RatioDomain = float64(rows[i].P50) / float64(rows[len(rows)-1].P50)
	}
	return rows, nil
}

// child has a child made, which has ended when this returns.
func (w *wardd) child(ctx context.Context, maker *gate.Client) (time.Duration, error) {
	reply, err := maker.Invoke(ctx, "Make", nil, nil)
	if err != nil {
		return 0, err
	}
	_, _, n := protowire.ConsumeTag(reply)
	text, _ := protowire.ConsumeString(reply[max(n, 0):])
	var begin int64
	var name string
	if _, err := fmt.Sscan(text, &begin, &name); err != nil {
		return 0, fmt.Errorf("the maker answers %q", text)
	}
	return w.answered(ctx, name, begin)
}

// answered waits until a domain that was asked for at begin (CLOCK_BOOTTIME)
// says when it had its first answer. Another of its name may have said so before.
func (w *wardd) answered(ctx context.Context, name string, begin int64) (time.Duration, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(filepath.Join(w.dir, audit.LogDir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		// The log of a domain goes on where its last process ended.
		if whole := text[:bytes.LastIndexByte(text, '\n')+1]; len(whole) > 0 {
			line := whole[bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1 : len(whole)-1]
			at, err := strconv.ParseInt(string(line), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s says %q", name, line)
			}
			if at > begin {
				return time.Duration(at - begin), nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// plain starts the program without Ward, and answers it over a socket pair.
func plain(ctx context.Context) (time.Duration, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	go func() {
		b := make([]byte, 256)
		if n, err := ours.Read(b); err == nil {
			ours.Write(b[:n])
		}
	}()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, argument, "plain")
	cmd.ExtraFiles = []*os.File{theirs}
	begin := boottime()
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	at, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return time.Duration(at - begin), err
}

// A reloader brings a domain into the system, and takes it away.
type reloader struct {
	w         *wardd
	base, one *image.Image // the system without it and with it, as they were compiled
	running   *image.Image
}

func (w *wardd) newReloader(ctx context.Context, o *Options) (*reloader, error) {
	encoded, err := admin.Image(ctx, w.dir)
	if err != nil {
		return nil, err
	}
	r := &reloader{w: w}
	if r.running, err = image.Decode(encoded); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for late, to := range map[bool]**image.Image{false: &r.base, true: &r.one} {
		changed := *o
		changed.system = func(program string) string { return childSystem(program, late) }
		if *to, err = makeSystem(filepath.Dir(w.dir), r.running.Name, self, &changed); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// domain reloads the system with one more domain, and then without it.
func (r *reloader) domain(ctx context.Context) (time.Duration, error) {
	begin, err := r.change(ctx, r.one)
	if err != nil {
		return 0, err
	}
	d, err := r.w.answered(ctx, "late", begin)
	if err != nil {
		return 0, err
	}
	_, err = r.change(ctx, r.base)
	return d, err
}

// change puts another image into force, and returns when that was asked for.
func (r *reloader) change(ctx context.Context, fresh *image.Image) (begin int64, err error) {
	next, err := image.Align(r.running, fresh)
	if err != nil {
		return 0, err
	}
	sealed, err := link.Seal(image.Encode(next))
	if err != nil {
		return 0, err
	}
	defer sealed.Close()
	hash := image.Hash(image.Encode(r.running))
	begin = boottime()
	if _, err := (&admin.Change{Kind: admin.Reload, Running: hash, Image: sealed}).Ask(ctx, r.w.dir); err != nil {
		return 0, err
	}
	r.running = next
	return begin, nil
}
