package gate

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
)

// A Service is an interface that this domain serves: the gates of its clients.
type Service struct {
	domain  *Domain
	iface   string
	handler Handler
	base    context.Context
	publish atomic.Bool

	mu     sync.Mutex
	gates  map[*serverGate]struct{}
	closed bool
	wg     sync.WaitGroup
}

// A Watcher is a Handler that is told when a client's gate begins and when it
// has ended: after its last call, and whatever ended it. A client may have
// several gates at a time.
type Watcher interface {
	Handler
	Begun(client abi.Peer)
	Ended(client abi.Peer)
}

// withdrawal bounds how long the end of a service waits for the name server
// and the monitor.
const withdrawal = time.Second

// Serve serves an interface, named in full: it tells the monitor, which sends
// the gates of clients from then on, and the name server. When ctx ends it
// takes both back, cancels the handlers that run, waits for them, and returns
// nil.
func (d *Domain) Serve(ctx context.Context, iface string, h Handler) error {
	s, err := d.Start(ctx, iface, h)
	if err != nil {
		return err
	}
	<-ctx.Done()
	s.Close()
	return nil
}

// Start is Serve without the wait: the service runs until Close. ctx bounds the
// start, and its values are those of the handlers' contexts.
func (d *Domain) Start(ctx context.Context, iface string, h Handler) (*Service, error) {
	s := &Service{domain: d, iface: iface, handler: h, base: context.WithoutCancel(ctx), gates: map[*serverGate]struct{}{}}
	d.mu.Lock()
	if d.services[iface] != nil {
		d.mu.Unlock()
		return nil, Errorf(FailedPrecondition, "serve %s: this program serves it already", iface)
	}
	d.services[iface] = s // before the request: gates may come right after the answer
	d.mu.Unlock()
	if err := s.announce(ctx); err != nil {
		s.Close()
		e := *AsError(err)
		e.Message = "serve " + iface + ": " + e.Message
		return nil, &e
	}
	return s, nil
}

// announce tells the monitor and the name server. The name server itself has
// nobody to tell.
func (s *Service) announce(ctx context.Context) error {
	a, err := s.domain.ask(ctx, abi.Control{Op: abi.OpServe, Interface: s.iface})
	if err != nil {
		return err
	}
	a.close()
	if a.Op != abi.OpOK {
		e := refusal("the monitor refuses", s.domain.name, &a.Control)
		if a.Reason == abi.ReasonDefault {
			e.Message = "default deny: " + s.domain.name + " does not export it in system.yaml"
		}
		return e
	}
	if s.iface == NamesInterface {
		return nil
	}
	if _, err := s.domain.callNames(ctx, "Publish", interfaceField(s.iface)); err != nil {
		return err
	}
	s.publish.Store(true)
	return nil
}

func interfaceField(iface string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), iface)
}

// accept serves one more gate.
func (s *Service) accept(e End) {
	g, err := newServerGate(s.base, e, s.handler)
	if err != nil {
		return // the end is closed; its client sees that
	}
	g.link.expect()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		g.link.close()
		return
	}
	s.gates[g] = struct{}{}
	s.wg.Add(1)
	if w, ok := s.handler.(Watcher); ok {
		w.Begun(e.Peer)
	}
	go func() {
		defer s.wg.Done()
		g.run()
		if w, ok := s.handler.(Watcher); ok {
			w.Ended(e.Peer)
		}
		s.mu.Lock()
		delete(s.gates, g)
		s.mu.Unlock()
	}()
}

// withdraw takes the publication back and stops the monitor from sending gates.
func (s *Service) withdraw() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	if !first {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), withdrawal)
	defer cancel()
	if s.publish.Swap(false) {
		s.domain.callNames(ctx, "Withdraw", interfaceField(s.iface))
	}
	if a, err := s.domain.ask(ctx, abi.Control{Op: abi.OpUnserve, Interface: s.iface}); err == nil {
		a.close()
	}
	s.domain.mu.Lock()
	if s.domain.services[s.iface] == s {
		delete(s.domain.services, s.iface)
	}
	s.domain.mu.Unlock()
}

// Drain withdraws the interface, refuses new calls, and waits until those that
// run have ended, or ctx has. Close must follow.
func (s *Service) Drain(ctx context.Context) {
	s.withdraw()
	s.mu.Lock()
	gates := make([]*serverGate, 0, len(s.gates))
	for g := range s.gates {
		gates = append(gates, g)
	}
	s.mu.Unlock()
	for _, g := range gates {
		g.drain()
	}
	for _, g := range gates {
		select {
		case <-g.drained:
		case <-ctx.Done():
			return
		}
	}
}

// Close withdraws the interface, closes its gates, and waits for the handlers,
// whose contexts it cancels.
func (s *Service) Close() {
	s.withdraw()
	s.mu.Lock()
	for g := range s.gates {
		go g.fail(nil)
	}
	s.mu.Unlock()
	s.wg.Wait()
}
