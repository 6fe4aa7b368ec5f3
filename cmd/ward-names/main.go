// Command ward-names is the name server, an ordinary domain that Ward ships
// and starts first. It has no files, no rights, and one interface.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"ward/gate"
	"ward/names"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "ward-names:", err)
		os.Exit(1)
	}
}

func serve() error {
	domain, err := gate.Self()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return domain.Serve(ctx, gate.NamesInterface, new(names.Registry))
}
