package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ward/image"
	"ward/kernel"
	"ward/kernel/confine"
)

// A posture says what one of wardd's processes keeps, and why in words.
type posture struct {
	role   string
	calls  string
	files  string
	keeps  confine.Protection
	detail string
}

// makers need everything that a domain is made of; the creator uses it all the
// time, the holder only while it starts a process.
var makers = kernel.CreatorCapabilities | kernel.NetworkCapabilities | kernel.MonitorCapabilities

// postures returns what the processes of a system keep. The image may be nil:
// the holder does not read it. What the monitor is given by it, it has for good.
func postures(o *options, img *image.Image) []posture {
	return []posture{
		{
			role: "holder", calls: "deny-list", files: "not confined",
			keeps:  confine.Protection{Effective: kernel.HolderCapabilities, Permitted: makers, Table: kernel.MakerCalls},
			detail: "raises what it starts processes with, for that moment; under Landlock the creator, its child, could not mount",
		},
		{
			role: "monitor", calls: "allow-list", files: "Landlock: reads /etc, /proc, /sys; writes the run directory and where sockets of exports stand",
			keeps: confine.Protection{
				Effective: kernel.MonitorCapabilities, Table: kernel.MonitorCalls,
				Landlock: true, Read: []string{"/etc", "/proc", "/sys"}, Write: append([]string{o.runDir}, socketPlaces(img)...),
			},
			detail: "loads filters in a network namespace that is empty",
		},
		{
			role: "creator", calls: "the holder's deny-list", files: "not confined",
			keeps:  confine.Protection{Effective: kernel.CreatorCapabilities | kernel.NetworkCapabilities},
			detail: "makes domains; Landlock would forbid its mounts",
		},
		{
			role: "audit", calls: "allow-list", files: "Landlock: writes the run directory",
			keeps:  confine.Protection{Table: kernel.AuditCalls, Landlock: true, Read: []string{"/proc/self"}, Write: []string{o.runDir}},
			detail: "writes records and logs",
		},
	}
}

// protect gives up what the role does not keep.
func protect(role string, o *options, img *image.Image) error {
	for _, p := range postures(o, img) {
		if p.role == role {
			if err := p.keeps.Apply(); err != nil {
				return fmt.Errorf("self-protection of the %s: %w", role, err)
			}
			return nil
		}
	}
	return fmt.Errorf("self-protection: no process %q", role)
}

// closeOthers closes the descriptors above last that this process was started
// with by mistake: all that a program leaves open without close-on-exec, which
// Go never does, would go on to every process of the system.
func closeOthers(last int) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("descriptors of this process: %w", err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= last {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// socketPlaces are the directories in which the monitor puts sockets of
// exports, each as far as it exists.
func socketPlaces(img *image.Image) []string {
	if img == nil {
		return nil
	}
	var places []string
	for i := range img.Domains {
		for _, e := range img.Domains[i].Exports {
			if e.Socket == "" {
				continue
			}
			dir := filepath.Dir(e.Socket)
			for dir != "/" {
				if _, err := os.Lstat(dir); err == nil {
					break
				}
				dir = filepath.Dir(dir)
			}
			if !slices.Contains(places, dir) {
				places = append(places, dir)
			}
		}
	}
	slices.Sort(places)
	return places
}

// printPostures says what each process keeps: `wardd capabilities`.
func printPostures(w io.Writer, o *options) {
	for _, p := range postures(o, nil) {
		fmt.Fprintf(w, "%s\n  capabilities  %s\n", p.role, p.keeps.Effective)
		if more := p.keeps.Permitted &^ p.keeps.Effective; more != 0 {
			fmt.Fprintf(w, "  can raise     %s\n", more)
		}
		fmt.Fprintf(w, "  system calls  %s\n  files         %s\n  %s\n", p.calls, p.files, strings.ToUpper(p.detail[:1])+p.detail[1:]+".")
	}
}
