// Command installer installs what the storage has. It does not ask whether
// that was verified: a call that was not would not have reached it. It always
// answers, without a version if it failed: an error would leave the image where it is.
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"ward/examples/secure-update/updatev1"
	"ward/gate/grpcgate"
)

// installed is in the private /tmp of this domain.
const installed = "/tmp/program"

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal("installer: ", err)
	}
}

func serve(ctx context.Context) error {
	conn, err := grpcgate.Dial(ctx, "update.v1.Storage")
	if err != nil {
		return err
	}
	defer conn.Close()
	s := grpcgate.NewServer()
	updatev1.RegisterInstallerServer(s, &installer{storage: updatev1.NewStorageClient(conn)})
	context.AfterFunc(ctx, s.GracefulStop)
	lis, err := grpcgate.Listen()
	if err != nil {
		return err
	}
	return s.Serve(lis)
}

type installer struct {
	updatev1.UnimplementedInstallerServer
	storage updatev1.StorageClient
}

func (i *installer) Install(ctx context.Context, _ *updatev1.InstallRequest) (*updatev1.InstallReply, error) {
	version, err := i.install(ctx)
	if err != nil {
		log.Printf("installer: %v", err)
		return &updatev1.InstallReply{}, nil
	}
	log.Printf("installer: installed %q", version)
	return &updatev1.InstallReply{Version: version}, nil
}

func (i *installer) install(ctx context.Context) (version string, err error) {
	stored, err := i.storage.Get(ctx, &updatev1.GetRequest{})
	if err != nil {
		return "", err
	}
	if version, _, _ = strings.Cut(string(stored.GetImage()), "\n"); version == "" || len(version) > 64 {
		return "", errors.New("an image begins with a line that says its version")
	}
	if err := os.WriteFile(installed+".new", stored.GetImage(), 0o500); err != nil {
		return "", err
	}
	return version, os.Rename(installed+".new", installed)
}
