package difftest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"buf.build/go/protovalidate"
	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/filter"
	"ward/gate"
	"ward/image"
	"ward/kernel"
	"ward/policy/eval"
)

// The level `library` as a whole: messages travel over a gate with classic
// filters, and what the kernel delivers the receiver's library judges. None of
// it needs root.

// envClassic is the number of messages of TestLibraryLevel.
const (
	envClassic     = "WARD_DIFF_CLASSIC"
	defaultClassic = 20_000
)

// over opens a gate of the level `library` on a lane. The lane has no filter in
// eBPF, and no memory: nothing is held.
func (l *lane) over(f *kernel.Classic, img *image.Image) (err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.spec, err = filter.Build(img, uint32(l.index), filter.Atoms{User: -1}); err != nil {
		return err
	}
	l.pending, l.opening, l.buf = map[uint16]packet{}, map[int][]byte{}, make([]byte, abi.MaxMessage)
	l.memory = &memory{plain: newPlain(l.b.res.System.States), words: eval.NewMemory(l.b.img).Words}
	var ends [2]*kernel.ClassicEndpoint
	for i, id := range []abi.DomainID{l.route().Client, l.route().Server} {
		if ends[i], err = f.AddEndpoint(id, 1); err != nil {
			return err
		}
		l.closers = append(l.closers, ends[i].Close)
	}
	one := *img // what other routes need is no obstacle here
	one.Routes = img.Routes[l.index : l.index+1]
	loaded, err := f.Load(&one, 0, ends[0], ends[1])
	if err != nil {
		return err
	}
	l.closers = append(l.closers, loaded.Close)
	g, err := f.Open(loaded)
	if err != nil {
		return err
	}
	for _, s := range []*os.File{g.Client, g.Server} {
		l.closers = append(l.closers, s.Close)
		if err := unix.SetNonblock(int(s.Fd()), true); err != nil {
			return err
		}
	}
	l.closers = append(l.closers, g.Close)
	check, err := gate.NewCheck(int(g.Check().Fd()))
	if err != nil {
		return err
	}
	end := &gate.End{Interface: l.iface().Name, Check: check}
	for i, m := range l.iface().Methods {
		end.Methods = append(end.Methods, abi.ControlMethod{Name: m.Name, ClientStream: m.ClientStream, ServerStream: m.ServerStream, Terse: loaded.Terse(i)})
	}
	l.library = receiver{l.spec, end, g}
	return nil
}

// deliver has a packet travel over the gate and judged by all.
func (l *lane) deliver(p *packet) (bool, error) {
	l.note(step{lane: l.name(), method: l.iface().Methods[p.method].Name, packet: *p})
	want, msg, _, err := l.expect(p)
	if err != nil {
		return false, l.differs(p, err.Error(), want, nil, nil)
	}
	raw := p.bytes()
	passed, err := l.travel(p.dir, raw)
	if err != nil {
		return false, l.differs(p, err.Error(), want, nil, nil)
	}
	l.stats.count(p, want, true)
	if !passed {
		// A body that is too large for its type, or a method that nothing permits.
		l.stats.dropped++
		if want.reason.Allowed() {
			return false, l.differs(p, "the classic filter drops it", want, nil, nil)
		}
	}
	wrong, got, err := l.received(p, raw, want)
	if err != nil {
		wrong = err.Error()
	}
	if wrong != "" {
		return false, l.differs(p, wrong, want, &got, nil)
	}
	l.settled(p, &want)
	if msg != nil {
		if wrong, r := l.b.oracle.agrees(l, p.method, p.dir == abi.Reply, msg, want); wrong != "" {
			return false, l.differs(p, wrong, want, &got, &r)
		}
		l.stats.cedar++
	}
	if err := l.validate(p); err != nil {
		return false, l.differs(p, err.Error(), want, &got, nil)
	}
	return want.reason.Allowed(), nil
}

// travel sends a packet and reports whether it arrives, whole.
func (l *lane) travel(dir abi.Direction, raw []byte) (bool, error) {
	from, to := l.library.gate.Client, l.library.gate.Server
	if dir == abi.Reply {
		from, to = to, from
	}
	if _, err := unix.Write(int(from.Fd()), raw); err != nil {
		return false, fmt.Errorf("write: %w", err)
	}
	n, err := unix.Read(int(to.Fd()), l.buf)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read: %w", err)
	case !slices.Equal(l.buf[:n], raw):
		return false, fmt.Errorf("received %x", l.buf[:n])
	}
	return true, nil
}

// classic makes and runs system i of a seed at the level `library`.
func (x *runner) classic(seed, i uint64) (err error) {
	r := rand.New(rand.NewPCG(seed, i))
	b, err := x.generate(&generator{r: r})
	if err != nil {
		return err
	}
	x.stats.systems++
	for k := range b.img.Routes {
		if b.img.Routes[k].Client == abi.NoDomain || !unheld(b.img, k) || !unheld(b.received, k) {
			continue
		}
		l := &lane{b: b, index: k, validator: x.validator, r: r, stats: &x.stats}
		if err := l.over(kernel.NewClassic(1, false), b.received); err != nil {
			return fmt.Errorf("route %d: %w\n%v", k, err, b.src)
		}
		end := x.stats.messages + x.each
		for err == nil && x.stats.messages < end {
			err = l.call(r.IntN(len(l.iface().Methods)))
		}
		if err = errors.Join(err, l.close()); err != nil {
			return err
		}
	}
	return nil
}

// TestLibraryLevel compares a classic filter and the receiver's library with
// Go, Cedar and protovalidate on random systems.
func TestLibraryLevel(t *testing.T) {
	seed := number64(t, envSeed, rand.Uint64())
	limit := int(min(number64(t, envClassic, defaultClassic), math.MaxInt32))
	t.Logf("%s=%d %s=%d", envSeed, seed, envClassic, limit)
	validator, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	x := &runner{validator: validator, each: perRoute}
	for i := uint64(0); x.stats.messages < limit; i++ {
		if err := x.classic(seed, i); err != nil {
			t.Fatalf("%s=%d, system %d: %v", envSeed, seed, i, err)
		}
	}
	s := &x.stats
	t.Logf("%v; %d dropped by the kernel; no mismatch, %v", s, s.dropped, time.Since(start).Round(100*time.Millisecond))
	if s.permits < s.messages/10 || s.forbids < s.messages/100 || s.defaults < s.messages/20 || s.bodies < s.messages/20 || s.cedar < s.messages/4 ||
		s.library != s.messages || s.dropped == 0 {
		t.Error("the generator is out of balance")
	}
}

// held are the damages to what the level `library` does not have: states,
// rates, and users outside.
var held = []string{"users are nobody", "a state may go anywhere", "only the first permit has its effects", "a token more", "a state is another"}

// TestLibraryLevelCatches is the positive control: a library with a wrong image
// is caught.
func TestLibraryLevelCatches(t *testing.T) {
	for _, c := range wrongs {
		if slices.Contains(held, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			x := &runner{damage: damage{library: c.spoil}, each: perRouteControl}
			for i := uint64(0); x.stats.messages < controlMessages; i++ {
				err := x.classic(2026, i)
				var m *mismatch
				if errors.As(err, &m) {
					t.Logf("caught after %d messages: %s", x.stats.messages, m.what)
					if !strings.Contains(m.what, "library") && !strings.Contains(m.what, "classic") {
						t.Errorf("another oracle is wrong: %v", m)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Fatal("not caught")
		})
	}
}
