// Command thief may call what the client may, but does not know the password.
// It exits 1 if it gets data.
package main

import (
	"context"
	"log"
	"os"
	"sync"
	"sync/atomic"
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
	conn, err := grpcgate.Dial(ctx, "device.v1.Device")
	if err != nil {
		log.Fatal("thief: ", err)
	}
	defer conn.Close()
	device := devicev1.NewDeviceClient(conn)

	// It guesses, and at the same time reads: perhaps there is a moment.
	var through, tries atomic.Int32
	var wait sync.WaitGroup
	for _, guess := range []string{"password", "horse", "correct", "correct horses"} {
		wait.Go(func() {
			reply, err := device.Login(ctx, &devicev1.LoginRequest{User: "operator", Password: []byte(guess)})
			if err != nil || reply.GetAccepted() {
				log.Printf("thief: the login with %q: %v, %v", guess, reply.GetAccepted(), err)
				through.Add(1)
			}
		})
		wait.Go(func() {
			for block := range uint32(2) {
				tries.Add(1)
				if _, err := device.Read(ctx, &devicev1.ReadRequest{Block: block}); status.Code(err) != codes.PermissionDenied {
					log.Printf("thief: GOT THROUGH: block %d: %v", block, err)
					through.Add(1)
				}
			}
		})
	}
	wait.Wait()
	log.Printf("thief: 4 guesses, %d reads, %d got through", tries.Load(), through.Load())
	if through.Load() > 0 {
		os.Exit(1)
	}
}
