package gate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"ward/abi"
)

// FuzzPackets sends any two packets to a client and to a server. Whatever they
// are, nothing panics, and the call that waits ends.
func FuzzPackets(f *testing.F) {
	seed := func(h abi.Header, body string) []byte {
		b := make([]byte, abi.HeaderSize)
		h.Length = uint32(len(body))
		h.Put(b)
		return append(b, body...)
	}
	f.Add(seed(abi.Header{Kind: abi.KindReply, Gen: 1}, "body"), []byte{})
	f.Add(seed(abi.Header{Kind: abi.KindError, Gen: 1}, "\x08\x05\x12\x01x\x1a\x02\x0a\x00"), []byte{1})
	f.Add(seed(abi.Header{Kind: abi.KindReply, Gen: 1, Flags: abi.FlagMetadata}, "\x03\x00\x0a\x01vbody"), []byte{2})
	f.Add(seed(abi.Header{Kind: abi.KindCall, Gen: 1}, "x"), seed(abi.Header{Kind: abi.KindCancel, Gen: 1}, ""))
	f.Add(seed(abi.Header{Kind: abi.KindCall, Gen: 1, Method: 1}, ""), seed(abi.Header{Kind: abi.KindStreamItem, Gen: 1, Method: 1}, "x"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		if len(first) > abi.MaxMessage+1 || len(second) > abi.MaxMessage+1 {
			return
		}
		methods := []abi.ControlMethod{{Name: "Unary"}, {Name: "Up", ClientStream: true}}
		for _, server := range []bool{false, true} {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			e := End{Interface: "a.B", Socket: fds[0], Page: -1, Methods: methods, Metadata: []string{"k"}}
			for _, p := range [][]byte{first, second} {
				if err := unix.Send(fds[1], p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); err != nil && !errors.Is(err, unix.EMSGSIZE) {
					t.Fatal(err)
				}
			}
			unix.Shutdown(fds[1], unix.SHUT_WR)
			if server {
				ServeEnd(context.Background(), e, HandlerFunc(func(ctx context.Context, c *ServerCall) error {
					for {
						if _, err := c.Recv(); err == io.EOF {
							return c.Send(nil)
						} else if err != nil {
							return err
						}
					}
				}))
			} else {
				c, err := NewClient(e)
				if err != nil {
					t.Fatal(err)
				}
				c.Invoke(context.Background(), "Unary", nil, nil)
				c.Close()
			}
			unix.Close(fds[1])
		}
	})
}

// FuzzStatus: an error that is read is written so that it reads the same.
func FuzzStatus(f *testing.F) {
	f.Add([]byte("\x08\x05\x12\x01x\x1a\x06\x0a\x01t\x12\x01v"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e := parseStatus(b)
		if e.Code == OK {
			t.Fatal("an error that is none")
		}
		out := appendStatus(nil, e)
		if again := appendStatus(nil, parseStatus(out)); !bytes.Equal(out, again) {
			t.Fatalf("%x, read and written again: %x", out, again)
		}
	})
}
