// Command downloader gets images from the network, so what it says may come
// from anybody. Here it is hostile first: it tries every way that it has to
// get an image installed that its maker did not sign. Then it is honest.
package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ward/examples/secure-update/updatev1"
	"ward/gate/grpcgate"
)

// What the maker signed, and the signature.
const (
	image     = "version 2.0\nthe new program\n"
	signature = "e4204e67e37a48e8f44d8d8e5e64d803f0d2d997d4b7d041fe369949304f6abb72f454ef92cc7a7d52def630c538b5632e0db1480a685af7c1f6865161fedd03"
	evil      = "version 6.6\nthe program of somebody else\n"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal("downloader: ", err)
	}
}

type downloader struct {
	storage   updatev1.StorageClient
	verifier  updatev1.VerifierClient
	installer updatev1.InstallerClient
	signature []byte
}

func run(ctx context.Context) error {
	d := &downloader{}
	var err error
	if d.signature, err = hex.DecodeString(signature); err != nil {
		return err
	}
	conns := map[string]*grpcgate.Conn{}
	for _, iface := range []string{"update.v1.Storage", "update.v1.Verifier", "update.v1.Installer"} {
		conn, err := grpcgate.Dial(ctx, iface)
		if err != nil {
			return err
		}
		defer conn.Close()
		conns[iface] = conn
	}
	d.storage = updatev1.NewStorageClient(conns["update.v1.Storage"])
	d.verifier = updatev1.NewVerifierClient(conns["update.v1.Verifier"])
	d.installer = updatev1.NewInstallerClient(conns["update.v1.Installer"])
	if err := d.attack(ctx); err != nil {
		return err
	}
	return d.update(ctx)
}

// attack tries to get the evil image installed. All of it must be denied.
func (d *downloader) attack(ctx context.Context) error {
	if err := d.denied(ctx, "before there is an image"); err != nil {
		return err
	}
	if err := d.store(ctx, evil); err != nil {
		return err
	}
	if err := d.denied(ctx, "what nobody checked"); err != nil {
		return err
	}
	if err := d.check(ctx, false); err != nil {
		return err
	}
	if err := d.denied(ctx, "what did not pass the check"); err != nil {
		return err
	}
	if err := d.store(ctx, image); err != nil {
		return err
	}
	if err := d.check(ctx, true); err != nil {
		return err
	}
	if err := d.store(ctx, evil); err != nil {
		return err
	}
	if err := d.denied(ctx, "what was swapped after the check"); err != nil {
		return err
	}
	if err := d.overtake(ctx); err != nil {
		return err
	}
	_, err := d.storage.Get(ctx, &updatev1.GetRequest{})
	return refused("reading the storage", err)
}

// overtake has the image checked while others are on their way to the storage:
// one of them may arrive after the verifier has read the honest one.
func (d *downloader) overtake(ctx context.Context) error {
	for range 5 {
		if err := d.store(ctx, image); err != nil {
			return err
		}
		var late sync.WaitGroup
		for range 4 {
			late.Go(func() { d.store(ctx, evil) }) // admitted or not, that is the policy's
		}
		// Each is denied, or what was checked is what is installed.
		if _, err := d.verifier.Check(ctx, &updatev1.CheckRequest{}); err == nil {
			if reply, err := d.installer.Install(ctx, &updatev1.InstallRequest{}); err == nil && strings.HasPrefix(evil, reply.GetVersion()+"\n") {
				return errors.New("installed what overtook the check")
			}
		}
		late.Wait()
	}
	log.Print("downloader: nothing that overtook a check was installed")
	return nil
}

// update does as it should. A second installation needs a second check.
func (d *downloader) update(ctx context.Context) error {
	if err := d.store(ctx, image); err != nil {
		return err
	}
	if err := d.check(ctx, true); err != nil {
		return err
	}
	reply, err := d.installer.Install(ctx, &updatev1.InstallRequest{})
	if err != nil {
		return err
	}
	if reply.GetVersion() == "" {
		return errors.New("the installer failed")
	}
	log.Printf("downloader: installed %q", reply.GetVersion())
	return d.denied(ctx, "the same once more")
}

func (d *downloader) store(ctx context.Context, image string) error {
	_, err := d.storage.Put(ctx, &updatev1.PutRequest{Image: []byte(image), Signature: d.signature})
	return err
}

func (d *downloader) check(ctx context.Context, want bool) error {
	reply, err := d.verifier.Check(ctx, &updatev1.CheckRequest{})
	if err != nil {
		return err
	}
	if reply.GetGood() != want {
		return fmt.Errorf("the verifier says %v, want %v", reply.GetGood(), want)
	}
	log.Printf("downloader: checked: good %v", want)
	return nil
}

func (d *downloader) denied(ctx context.Context, what string) error {
	_, err := d.installer.Install(ctx, &updatev1.InstallRequest{})
	return refused("installing "+what, err)
}

// refused reports an error unless err is a denial.
func refused(what string, err error) error {
	if status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("%s: want %v, got %v", what, codes.PermissionDenied, err)
	}
	log.Printf("downloader: refused: %s: %v", what, err)
	return nil
}
