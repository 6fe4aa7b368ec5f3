// Command intruder tries to write, append to, read and change the log. It
// exits 1 if anything gets through.
package main

import (
	"context"
	"errors"
	"io/fs"
	"log"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/gate/grpcgate"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	through := 0
	for iface, server := range map[string]string{"log.v1.Log": "logger", "log.v1.Journal": "journal"} {
		for _, how := range [][]grpcgate.DialOption{nil, {grpcgate.WithServer(server)}} {
			conn, err := grpcgate.Dial(ctx, iface, how...)
			if status.Code(err) != codes.PermissionDenied {
				log.Printf("intruder: GOT THROUGH: a gate for %s: %v", iface, err)
				through++
			}
			if err == nil {
				conn.Close()
			}
		}
	}
	for _, file := range []string{"/tmp/journal", "/proc/1/root/tmp/journal"} {
		if _, err := os.ReadFile(file); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			log.Printf("intruder: GOT THROUGH: %s: %v", file, err)
			through++
		}
	}
	log.Printf("intruder: 6 attempts, %d got through", through)
	if through > 0 {
		os.Exit(1)
	}
}
