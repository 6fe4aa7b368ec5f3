package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/picture/picturev1"
	"ward/gate/grpcgate"
)

const (
	picturesInterface = "picture.v1.Pictures"
	statusInterface   = "picture.v1.Status"
	server            = "picture-manager"
)

// errGot says that an attempt succeeded.
var errGot = errors.New("it was not denied")

// mustFail turns the error of an attempt around: only a denial is well.
func mustFail(err error, codesOfDenial ...codes.Code) error {
	if err == nil {
		return errGot
	}
	for _, c := range codesOfDenial {
		if status.Code(err) == c {
			return nil
		}
	}
	return fmt.Errorf("it failed, but not by a denial: %w", err)
}

func lookUp(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, picturesInterface)
	if err == nil {
		conn.Close()
	}
	return mustFail(err, codes.PermissionDenied)
}

func openGuessed(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, picturesInterface, grpcgate.WithServer(server))
	if err == nil {
		conn.Close()
	}
	return mustFail(err, codes.PermissionDenied)
}

func openUnknown(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, "picture.v1.Backdoor", grpcgate.WithServer(server))
	if err == nil {
		conn.Close()
	}
	return mustFail(err, codes.PermissionDenied, codes.NotFound)
}

// publish would make clients of the pictures come to this program.
func publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s := grpcgate.NewServer()
	picturev1.RegisterPicturesServer(s, picturev1.UnimplementedPicturesServer{})
	defer context.AfterFunc(ctx, s.Stop)()
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return mustFail(s.Serve(lis), codes.PermissionDenied, codes.NotFound)
}

// callForeign uses the generated client of one interface on a connection for
// another; the library then tries to open a gate for the other one.
func callForeign(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, statusInterface)
	if err != nil {
		return fmt.Errorf("no gate to try it on: %w", err)
	}
	defer conn.Close()
	_, err = picturev1.NewPicturesClient(conn).List(ctx, &picturev1.ListRequest{Limit: 1})
	return mustFail(err, codes.Unimplemented, codes.PermissionDenied)
}

func openSocket(context.Context) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil
	}
	unix.Close(fd)
	return errGot
}

func readFile(context.Context) error {
	if _, err := os.ReadFile("/etc/passwd"); err != nil {
		return nil
	}
	return errGot
}

// seeProcesses looks for processes other than its own: there is no /proc, or
// one that shows nothing else.
func seeProcesses(context.Context) error {
	found, _ := filepath.Glob("/proc/[0-9]*")
	if len(found) > 1 {
		return fmt.Errorf("%w: %d processes", errGot, len(found))
	}
	return nil
}
