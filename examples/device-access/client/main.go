// Command client uses the device as it is meant, and checks that there is no
// other way: not before the login, not on another gate, not after the logout.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/device-access/devicev1"
	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("client: ", err)
	}
}

func run(ctx context.Context) error {
	first, err := grpcgate.Dial(ctx, "device.v1.Device")
	if err != nil {
		return err
	}
	defer first.Close()
	device := devicev1.NewDeviceClient(first)
	second, err := grpcgate.Dial(ctx, "device.v1.Device")
	if err != nil {
		return err
	}
	defer second.Close()

	if err := denied(ctx, device, "before the login"); err != nil {
		return err
	}
	if err := login(ctx, device, "wrong horse", false); err != nil {
		return err
	}
	if err := denied(ctx, device, "after a login that was refused"); err != nil {
		return err
	}
	if err := login(ctx, device, "correct horse", true); err != nil {
		return err
	}
	for block := range uint32(2) {
		reply, err := device.Read(ctx, &devicev1.ReadRequest{Block: block})
		if err != nil {
			return err
		}
		log.Printf("client: read %q", reply.GetData())
	}
	if err := denied(ctx, devicev1.NewDeviceClient(second), "on a gate without a login"); err != nil {
		return err
	}
	if _, err := device.Logout(ctx, &devicev1.LogoutRequest{}); err != nil {
		return err
	}
	return denied(ctx, device, "after the logout")
}

func login(ctx context.Context, device devicev1.DeviceClient, password string, want bool) error {
	reply, err := device.Login(ctx, &devicev1.LoginRequest{User: "operator", Password: []byte(password)})
	if err != nil {
		return err
	}
	if reply.GetAccepted() != want {
		return fmt.Errorf("a login with %q: accepted %v, want %v", password, reply.GetAccepted(), want)
	}
	log.Printf("client: login with %q: accepted %v", password, want)
	return nil
}

// denied reports an error unless data is refused by the policy.
func denied(ctx context.Context, device devicev1.DeviceClient, when string) error {
	_, err := device.Read(ctx, &devicev1.ReadRequest{Block: 0})
	if status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("reading %s: want %v, got %v", when, codes.PermissionDenied, err)
	}
	log.Printf("client: refused %s: %v", when, err)
	return nil
}
