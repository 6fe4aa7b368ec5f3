// Command ward is Ward's command line. It has no privilege of its own: what
// needs root is done by wardd, which it starts or talks to, and what people
// wrote is parsed by a confined child.
//
// Exit status: 0 success; 1 a check failed, access was denied, or a domain
// failed; 2 bad usage or bad input.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ward/bench/callbench"
	"ward/bench/nginxbench"
	"ward/bench/upbench"
)

func main() {
	callbench.Peer()     // returns unless `ward bench call` started this process as a server
	upbench.Domain()     // and `ward bench up` as a domain
	nginxbench.Creator() // and `ward bench nginx` as a creator
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	cmd, err := newRoot().ExecuteContextC(ctx)
	return report(os.Stderr, cmd, err)
}

// The two ways to fail. Every error that a command returns is one of the two;
// an error that is neither comes from cobra and is about usage.
const (
	exitFailed = 1 // a check failed, access was denied, or a domain failed
	exitInput  = 2 // bad usage or bad input
)

// exitError is an error with its exit status. A nil err means that all has
// been said.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// failed and badInput wrap an error for report.
func failed(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Errorf(format, args...)}
}

func badInput(format string, args ...any) error {
	return &exitError{exitInput, fmt.Errorf(format, args...)}
}

// report prints the error of cmd, once, and returns the exit status. Who made a
// mistake in the usage of a command reads how that one is used.
func report(w io.Writer, cmd *cobra.Command, err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		fmt.Fprintf(w, "ward: %v\n", err)
		if cmd.Runnable() {
			fmt.Fprintf(w, "Usage: %s\n", cmd.UseLine())
		}
		fmt.Fprintf(w, "Run '%s --help' for more.\n", cmd.CommandPath())
		return exitInput
	case exit.err != nil:
		fmt.Fprintf(w, "ward: %v\n", err)
	}
	return exit.status
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "ward",
		Short: "Privilege separation for Linux programs, enforced by the kernel",
		Long: `Ward starts the programs of a system in protection domains of their own, wires
them together with gates, and hands the policy to the Linux kernel, which checks
every request and every reply before it is delivered.

Exit status: 0 success; 1 a check failed or access was denied; 2 bad usage or bad input.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().Bool("json", false, "print one JSON object a line")
	root.AddCommand(
		newUp(), newDown(), newUpgrade(), newReload(), newRevoke(), newGrant(), newState(), newPs(), newLogs(), newAudit(),
		newCheck(), newExplain(), newTest(), newCompile(), newSchema(), newGraph(), newDiff(),
		newDoctor(), newBench(), newVersion(), newConfined(), newConfinedTest(), newConfinedExplain(), newConfinedLive(),
	)
	// What says nothing of it is completed with nothing, and not with files.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	return root
}

// wantJSON reports whether --json was given.
func wantJSON(cmd *cobra.Command) bool {
	yes, _ := cmd.Flags().GetBool("json")
	return yes
}
