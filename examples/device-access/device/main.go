// Command device has data behind a login. It checks passwords, and nothing
// else: that only the authenticated read is the policy's business.
package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"ward/examples/device-access/devicev1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s := grpcgate.NewServer()
	devicev1.RegisterDeviceServer(s, device{})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err == nil {
		err = s.Serve(lis)
	}
	if err != nil {
		log.Fatal("device: ", err)
	}
}

type device struct {
	devicev1.UnimplementedDeviceServer
}

// passwords would be elsewhere, and hashed, if this were no example.
var passwords = map[string]string{"operator": "correct horse"}

func (device) Login(_ context.Context, r *devicev1.LoginRequest) (*devicev1.LoginReply, error) {
	password, known := passwords[r.GetUser()]
	same := subtle.ConstantTimeCompare([]byte(password), r.GetPassword()) == 1
	return &devicev1.LoginReply{Accepted: known && same}, nil
}

func (device) Logout(context.Context, *devicev1.LogoutRequest) (*devicev1.LogoutReply, error) {
	return &devicev1.LogoutReply{}, nil
}

func (device) Read(_ context.Context, r *devicev1.ReadRequest) (*devicev1.ReadReply, error) {
	return &devicev1.ReadReply{Data: fmt.Appendf(nil, "block %d", r.GetBlock())}, nil
}
