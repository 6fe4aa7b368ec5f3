package callbench

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"ward/abi"
	"ward/bench/callbench/echov1"
	"ward/gate"
	"ward/gate/grpcgate"
)

// echo is the one service that all peers serve.
type echo struct{ echov1.UnimplementedEchoServer }

func (echo) Call(_ context.Context, r *echov1.CallRequest) (*echov1.CallResponse, error) {
	return &echov1.CallResponse{Payload: r.Payload}, nil
}

func dialWard(_ context.Context, o *Options) (*caller, error) {
	if o.Gate == nil {
		return nil, errNoGate
	}
	client, server, remove, err := o.Gate()
	if err != nil {
		return nil, err
	}
	return callGate(client, server, remove)
}

func dialPlain(context.Context, *Options) (*caller, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	e := gate.End{Interface: echov1.Echo_ServiceDesc.ServiceName, Page: -1, Methods: []abi.ControlMethod{{Name: "Call"}}}
	client, server := e, e
	client.Socket, server.Socket = fds[0], fds[1]
	return callGate(client, server, func() {})
}

// callGate serves one end in another process and calls through the other.
func callGate(client, server gate.End, remove func()) (*caller, error) {
	files := []*os.File{os.NewFile(uintptr(server.Socket), "gate")}
	if server.Page >= 0 {
		fd, err := unix.FcntlInt(uintptr(server.Page), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		files = append(files, os.NewFile(uintptr(fd), "page"))
		server.Page = 4
	}
	server.Socket = 3
	text, err := json.Marshal(server)
	if err != nil {
		return nil, err
	}
	stop, err := startPeer(Ward, files, string(text))
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	c, err := gate.NewClient(client)
	if err != nil {
		stop()
		return nil, err
	}
	stub := echov1.NewEchoClient(grpcgate.NewConn(c))
	return &caller{
		call: func(ctx context.Context, _ int, payload []byte) error {
			r, err := stub.Call(ctx, &echov1.CallRequest{Payload: payload})
			return check(r, err, payload)
		},
		close: func() { c.Close(); stop(); remove() },
	}, nil
}

func serveWard(args []string) error {
	var e gate.End
	if err := json.Unmarshal([]byte(args[0]), &e); err != nil {
		return err
	}
	s := grpcgate.NewServer()
	echov1.RegisterEchoServer(s, echo{})
	if err := gate.ServeEnd(context.Background(), e, s.Handler(e.Interface)); err != nil && err != io.EOF {
		return err
	}
	return nil
}

// check compares the answer of a call with what was sent.
func check(r *echov1.CallResponse, err error, payload []byte) error {
	if err != nil {
		return err
	}
	if n := len(r.Payload); n != len(payload) {
		return &sizeError{n, len(payload)}
	}
	return nil
}

type sizeError struct{ got, want int }

func (e *sizeError) Error() string {
	return strconv.Itoa(e.got) + " bytes came back, not " + strconv.Itoa(e.want)
}
