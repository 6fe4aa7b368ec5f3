package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	"ward/gate"
)

const (
	orderIface = "test.v1.Hostile"
	mailIface  = "test.v1.Letters"
	mailbox    = "box"
)

// mailer writes to a mailbox, and reads it, as the test tells it.
type mailer struct {
	domain *gate.Domain

	mu  sync.Mutex
	out *gate.Outbox
}

func mail(ctx context.Context) error {
	d, err := gate.Self()
	if err != nil {
		return err
	}
	m := &mailer{domain: d}
	return d.Serve(ctx, orderIface, gate.HandlerFunc(func(ctx context.Context, call *gate.ServerCall) error {
		b, err := call.Recv()
		if err != nil {
			return err
		}
		got, err := m.obey(ctx, strings.Fields(texts(b)[1]))
		if err != nil {
			got = "refused: " + err.Error()
		} else {
			got = strings.TrimSpace("done " + got)
		}
		return call.Send(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), got))
	}))
}

// texts are the strings of a message, by field.
func texts(b []byte) map[protowire.Number]string {
	all := map[protowire.Number]string{}
	for len(b) > 0 {
		num, _, n := protowire.ConsumeTag(b)
		s, k := protowire.ConsumeString(b[max(n, 0):])
		if n < 0 || k < 0 {
			break
		}
		all[num], b = s, b[n+k:]
	}
	return all
}

func letter(text string, load int) []byte {
	var b []byte
	if load > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), make([]byte, load))
	}
	return protowire.AppendString(protowire.AppendTag(b, 2, protowire.BytesType), text)
}

func (m *mailer) obey(ctx context.Context, args []string) (string, error) {
	number := func(i int) int {
		if i >= len(args) {
			return 0
		}
		n, _ := strconv.Atoi(args[i])
		return n
	}
	switch args[0] {
	case "post": // TEXT...
		for _, text := range args[1:] {
			if err := m.post(ctx, text, 0); err != nil {
				return "", err
			}
		}
		return "", nil
	case "fill": // "done COUNT": letters of 32 KiB that there was room for
		for n := 0; ; n++ {
			if err := m.post(ctx, "full", 32<<10); errors.Is(err, gate.ErrFull) {
				return fmt.Sprint(n), nil
			} else if err != nil {
				return "", err
			}
		}
	case "anew": // another gate, from now on
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.out != nil {
			m.out.Close()
			m.out = nil
		}
		return "", nil
	case "take": // COUNT letters: "done WRITER:TEXT ..."
		var got []string
		over := errors.New("enough")
		err := m.domain.Receive(ctx, mailbox, func(ctx context.Context, method string, message []byte) error {
			peer, _ := gate.PeerFrom(ctx)
			got = append(got, peer.Name+":"+texts(message)[2])
			if len(got) == number(1) {
				return over
			}
			return nil
		})
		if err == over {
			err = nil
		}
		return strings.Join(got, " "), err
	case "die": // of the next letter
		return "", m.domain.Receive(ctx, mailbox, func(context.Context, string, []byte) error {
			os.Exit(7)
			return nil
		})
	case "pid":
		return fmt.Sprint(os.Getpid()), nil
	}
	return "", errors.New("no such order")
}

func (m *mailer) post(ctx context.Context, text string, load int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out == nil {
		out, err := m.domain.OpenMailbox(ctx, mailIface)
		if err != nil {
			return err
		}
		m.out = out
	}
	return m.out.Post(ctx, "Put", letter(text, load))
}
