package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ward/monitor/admin"
)

// rootsSystems holds a directory for each running system that root started.
const rootsSystems = "/run/ward"

// runRoot is the same for the systems of whoever runs this.
var runRoot = ownSystems()

// systemFlag adds the flag that names a running system.
func systemFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVarP(name, "system", "s", "", "name of the system (default: the one that runs)")
	flagWords(cmd, "system", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return runningSystems(), cobra.ShellCompDirectiveNoFileComp
	})
}

// systemDir is the run directory of the named system; of the only one that
// runs if name is empty.
func systemDir(name string) (string, error) {
	if name != "" {
		if name != filepath.Base(name) || name == "." || name == ".." {
			return "", badInput("%q is not the name of a system", name)
		}
		dir := filepath.Join(runRoot, name)
		if _, err := os.Stat(dir); err != nil && runRoot != rootsSystems {
			dir = filepath.Join(rootsSystems, name)
		}
		if _, err := os.Stat(dir); err != nil {
			return "", failed("no system %q runs or ran here (no %s)%s", name, dir, orElse(name, systemsHere(), ""))
		}
		return dir, nil
	}
	running := runningSystems()
	switch len(running) {
	case 0:
		return "", failed("no system runs; start one with 'ward up DIR', or name one with --system")
	case 1:
		return systemDir(running[0])
	}
	return "", badInput("several systems run: %s; choose one with --system", strings.Join(running, ", "))
}

// runningSystems lists the systems that live and have a monitor.
func runningSystems() []string {
	sockets, _ := filepath.Glob(filepath.Join(runRoot, "*", admin.Socket))
	if len(sockets) == 0 {
		sockets, _ = filepath.Glob(filepath.Join(rootsSystems, "*", admin.Socket))
	}
	var names []string
	for _, s := range sockets {
		if !lives(filepath.Dir(s)) { // its holder was killed
			continue
		}
		names = append(names, filepath.Base(filepath.Dir(s)))
	}
	return names
}

// must is for errors that only a mistake in this program can cause.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
