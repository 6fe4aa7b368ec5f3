package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/abi"
	"ward/gate"
)

const framesIface = "test.v1.Frames"

// holder makes memory, opens it, gives it to others and gets it from them, as
// the test tells it. What it has it calls by numbers.
type holder struct {
	domain *gate.Domain

	mu      sync.Mutex
	has     []*gate.Memory
	clients map[string]*gate.Client
}

func memory(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	h := &holder{domain: d, clients: map[string]*gate.Client{}}
	failed := make(chan error, 2)
	go func() { failed <- d.Serve(ctx, framesIface, gate.HandlerFunc(h.serve)) }()
	go func() {
		failed <- d.Serve(ctx, orderIface, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
			b, err := call.Recv()
			if err != nil {
				return err
			}
			got, err := h.obey(ctx, strings.Fields(texts(b)[1]))
			if err != nil {
				got = "refused: " + err.Error()
			} else {
				got = strings.TrimSpace("done " + got)
			}
			return call.Send(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), got))
		}))
	}()
	return <-failed
}

// serve redeems what it is shown, and gives its memory of a number to who wants it.
func (h *holder) serve(ctx context.Context, call *gate.ServerCall) error {
	b, err := call.Recv()
	if err != nil {
		return err
	}
	if call.Method() == "Show" {
		m, err := gate.Redeem(ctx, handleIn(b))
		if err != nil {
			return err
		}
		return call.Send(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), h.keep(m)))
	}
	words := strings.Fields(texts(b)[1])
	m, err := h.mine(words[0])
	if err != nil {
		return err
	}
	handle, err := gate.OfferTo(ctx, m, accessOf(words[1:]))
	if err != nil {
		return err
	}
	return call.Send(frame(handle))
}

func (h *holder) keep(m *gate.Memory) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.has = append(h.has, m)
	return strconv.Itoa(len(h.has) - 1)
}

func (h *holder) mine(number string) (*gate.Memory, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(h.has) {
		return nil, gate.Errorf(gate.NotFound, "no memory %s", number)
	}
	return h.has[n], nil
}

// client opens a gate to a server, once.
func (h *holder) client(ctx context.Context, server string) (*gate.Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.clients[server]; c != nil {
		return c, nil
	}
	c, err := h.domain.Open(ctx, framesIface, gate.At(server))
	if err == nil {
		h.clients[server] = c
	}
	return c, err
}

func accessOf(args []string) gate.Access {
	if len(args) > 0 && args[len(args)-1] == "write" {
		return gate.ReadWrite
	}
	return gate.ReadOnly
}

// frame is a message that carries a handle.
func frame(h gate.Handle) []byte {
	var b []byte
	for i, v := range []uint64{h.ID, uint64(h.Kind), h.Size, protowire.EncodeBool(h.Write)} {
		if v != 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, protowire.Number(i+1), protowire.VarintType), v)
		}
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), b)
}

func handleIn(b []byte) (h gate.Handle) {
	_, _, n := protowire.ConsumeTag(b)
	b, k := protowire.ConsumeBytes(b[max(n, 0):])
	for k > 0 && len(b) > 0 {
		num, _, n := protowire.ConsumeTag(b)
		v, k := protowire.ConsumeVarint(b[max(n, 0):])
		if n < 0 || k < 0 {
			break
		}
		switch b = b[n+k:]; num {
		case 1:
			h.ID = v
		case 2:
			h.Kind = abi.HandleKind(v)
		case 3:
			h.Size = v
		case 4:
			h.Write = v != 0
		}
	}
	return h
}

func (h *holder) obey(ctx context.Context, args []string) (string, error) {
	switch args[0] {
	case "make": // OBJECT SIZE: "done NUMBER"
		size, _ := strconv.Atoi(args[2])
		m, err := h.domain.Make(ctx, args[1], size)
		if err != nil {
			return "", err
		}
		return h.keep(m), nil
	case "open": // OBJECT [write]
		m, err := h.domain.OpenMemory(ctx, args[1], accessOf(args[2:]))
		if err != nil {
			return "", err
		}
		return h.keep(m), nil
	case "fetch": // SERVER ITS-NUMBER [write]: what the server has
		c, err := h.client(ctx, args[1])
		if err != nil {
			return "", err
		}
		reply, err := c.Invoke(ctx, "Fetch", protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), strings.Join(args[2:], " ")), nil)
		if err != nil {
			return "", err
		}
		m, err := c.Redeem(ctx, handleIn(reply))
		if err != nil {
			return "", err
		}
		return h.keep(m), nil
	}
	m, err := h.mine(args[1])
	if err != nil {
		return "", err
	}
	switch args[0] {
	case "write": // NUMBER TEXT
		b, err := m.Bytes()
		if err != nil {
			return "", err
		}
		if !m.Writable() {
			return "", errors.New("it cannot be written")
		}
		copy(b, args[2])
		return "", nil
	case "scribble": // NUMBER: by its descriptor
		_, err := m.File().WriteAt([]byte("x"), 0)
		return "", err
	case "read": // NUMBER: text up to a zero
		b, err := m.Bytes()
		if err != nil {
			return "", err
		}
		s, _, _ := strings.Cut(string(b), "\x00")
		return s, nil
	case "unmap":
		return "", m.Unmap()
	case "close":
		return "", m.Close()
	case "offers": // NUMBER SERVER COUNT: offers that no message carries. "done COUNT WHY"
		c, err := h.client(ctx, args[2])
		if err != nil {
			return "", err
		}
		most, _ := strconv.Atoi(args[3])
		for n := range most {
			if _, err := c.Offer(ctx, m, gate.ReadOnly); err != nil {
				return fmt.Sprint(n, " ", err), nil
			}
		}
		return args[3], nil
	case "show": // NUMBER SERVER [write]: "done ITS-NUMBER"
		c, err := h.client(ctx, args[2])
		if err != nil {
			return "", err
		}
		handle, err := c.Offer(ctx, m, accessOf(args[3:]))
		if err != nil {
			return "", err
		}
		reply, err := c.Invoke(ctx, "Show", frame(handle), nil)
		if err != nil {
			c.Retract(ctx, handle)
			return "", err
		}
		return texts(reply)[1], nil
	}
	return "", errors.New("no such order")
}
